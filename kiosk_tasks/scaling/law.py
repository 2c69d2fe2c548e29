"""The scaling law: so many workers that what is outstanding is done in time."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Policy", "wanted_workers"]


@dataclass(frozen=True)
class Policy:
    """What is wanted of one queue's workers.

    target_drain_s: seconds in which all that is outstanding now should be done; of the order of
        what a worker takes to start, for less is not worth another one.
    slots: jobs that one worker does at once.
    least, most: bounds of the number of workers; `least` is 0 where they may all go.
    """

    target_drain_s: float = 10.0
    slots: int = 1
    least: int = 0
    most: int = 10

    def __post_init__(self) -> None:
        """Refuse bounds that contradict each other."""
        if self.target_drain_s <= 0 or self.slots < 1:
            raise ValueError("a target of more than 0 s and at least one slot are needed.")
        if not 0 <= self.least <= self.most:
            raise ValueError(f"at least {self.least} and at most {self.most} workers: which?")


def wanted_workers(policy: Policy, *, outstanding_s: float, waiting: int, in_flight: int) -> int:
    """Return how many workers the queue wants now.

    outstanding_s: predicted seconds of work of all open jobs, on one slot.
    waiting, in_flight: open jobs, by whether a run has one. As long as there is any, one worker
        stays; and no fewer than what is in flight fills, so that no running job is in the way.
    """
    by_work = math.ceil(outstanding_s / policy.target_drain_s / policy.slots)
    by_jobs = math.ceil((waiting + in_flight) / policy.slots)  # a job cannot be shared out
    least = max(policy.least, math.ceil(in_flight / policy.slots), 1 if waiting else 0)
    return min(max(min(by_work, by_jobs), least), policy.most)
