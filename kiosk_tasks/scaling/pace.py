"""How long jobs of one kind take, by the size of their input; learned from those that are done.

A line is fitted to seconds over megabytes, in which the jobs of long ago count ever less: each new
one makes all before it count 2 % less, so that about the last 50 decide. The ledger keeps the sums
that this takes; `scripts/common.lua` adds to them.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DECAY", "Pace"]

DECAY = 0.98
"""What a job still counts after the next one."""
_UNKNOWN_S, _UNKNOWN_S_PER_MB = 1.0, 0.1
"""Before the first job is done: a guess, of the order of what the job types here take on a CPU."""
_SHRINK = 0.01
"""Where sizes differ by less than a tenth (its square) they cannot tell what a larger file costs:
the line then leans to the one through the origin, on which twice the size takes twice the time."""


@dataclass(frozen=True)
class Pace:
    """Decayed sums over jobs: their count, megabytes u, seconds s, u², u·s, and the model's share.

    model_s: seconds of `s` that were spent in predictions.
    """

    n: float = 0.0
    u: float = 0.0
    s: float = 0.0
    uu: float = 0.0
    us: float = 0.0
    model_s: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Pace:
        """Read what the ledger keeps: the six sums, separated by spaces."""
        return cls(*map(float, text.split()))

    def after(self, megabytes: float, seconds: float, *, model_s: float = 0.0) -> Pace:
        """Return the sums with one more job in them."""
        return Pace(
            self.n * DECAY + 1,
            self.u * DECAY + megabytes,
            self.s * DECAY + seconds,
            self.uu * DECAY + megabytes**2,
            self.us * DECAY + megabytes * seconds,
            self.model_s * DECAY + model_s,
        )

    def seconds(self, jobs: int, megabytes: float) -> float:
        """Predict how long jobs take together, one after the other.

        megabytes: of their inputs together.
        """
        each, per_mb = self._line()
        return each * jobs + per_mb * megabytes

    @property
    def model_share(self) -> float:
        """The part of the time that is spent in predictions, 0 to 1."""
        return min(1.0, self.model_s / self.s) if self.s > 0 else 0.0

    def _line(self) -> tuple[float, float]:
        """Return seconds per job and per megabyte; neither is negative."""
        if self.n <= 0:
            return _UNKNOWN_S, _UNKNOWN_S_PER_MB
        u, s = self.u / self.n, self.s / self.n
        if u <= 0:
            return s, 0.0
        shrink = _SHRINK * u * u
        spread = max(self.uu / self.n - u * u, 0.0)
        together = self.us / self.n - u * s
        per_mb = min(max((together + shrink * s / u) / (spread + shrink), 0.0), s / u)
        return s - per_mb * u, per_mb
