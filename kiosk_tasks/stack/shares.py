"""How a machine's processes are shared out among the queues: pure numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Need", "shares"]


@dataclass(frozen=True)
class Need:
    """How many workers a queue would have if it were alone.

    wanted: for the work that it has now. kept: by what it wanted lately; not less than `wanted`.
    slots: processes of one worker.
    """

    queue: str
    wanted: int
    kept: int
    slots: int
    oldest_wait_s: float


def shares(needs: Sequence[Need], most: int) -> dict[str, int]:
    """Return how many workers each queue gets.

    most: processes of all workers together. The queue whose oldest job has waited longest comes
    first: where there are fewer processes than queues with work, each has its turn. Each that has
    work gets one worker, then more in proportion to what it wants; what is left over goes to queues
    that only keep workers.
    """
    given = {need.queue: 0 for need in needs}
    in_turn = sorted(needs, key=lambda need: (-need.oldest_wait_s, need.queue))
    for goal in (_one, _wanted, _kept):
        while (need := _next(in_turn, given, goal, most)) is not None:
            given[need.queue] += 1
            most -= need.slots
    return given


Goal = Callable[[Need], int]


def _one(need: Need) -> int:
    return min(need.wanted, 1)


def _wanted(need: Need) -> int:
    return need.wanted


def _kept(need: Need) -> int:
    return need.kept


def _next(needs: Sequence[Need], given: dict[str, int], goal: Goal, left: int) -> Need | None:
    """Return the need that is least met and for which enough is left; of equal ones the first."""
    short = [need for need in needs if given[need.queue] < goal(need) and need.slots <= left]
    return min(short, key=lambda need: given[need.queue] / goal(need), default=None)
