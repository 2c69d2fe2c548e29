"""How much waits on each queue, and how many workers that wants: what scalers and metrics ask."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from kiosk_tasks.ledger import Ledger
from kiosk_tasks.ledger.numbers import Numbers, QueueLoad, read_numbers
from kiosk_tasks.run.links import ADMIT, CONTINUE, lane_of
from kiosk_tasks.scaling import Policy, wanted_workers

__all__ = ["QueueState", "look", "model_servers_wanted", "numbers_of", "states_of"]


@dataclass(frozen=True)
class QueueState:
    """One queue: what `QueueLoad` says, and how many workers its policy makes of that."""

    queue: str
    waiting: int
    in_flight: int
    oldest_wait_s: float
    outstanding_s: float
    model_s: float
    wanted_workers: int


def look(
    ledger: Ledger, queues: Sequence[str], policy_of: Callable[[str], Policy]
) -> list[QueueState]:
    """Return the state of each queue, all seen at one moment. Raises BrokerUnavailable."""
    return states_of(numbers_of(ledger, queues), policy_of)


def numbers_of(ledger: Ledger, queues: Sequence[str]) -> Numbers:
    """Return the ledger's counts for these queues, over their lists of all priorities."""
    lanes = [lane_of(queue, priority) for queue in queues for priority in (CONTINUE, ADMIT)]
    return read_numbers(ledger, queues, lanes=lanes)


def states_of(numbers: Numbers, policy_of: Callable[[str], Policy]) -> list[QueueState]:
    """Return the state of each queue that the numbers tell of."""
    return [_state(load, policy_of(load.queue)) for load in numbers.queues]


def model_servers_wanted(states: Iterable[QueueState], *, target_drain_s: float, most: int) -> int:
    """Return how many model servers are wanted: at least one as long as any job is open.

    target_drain_s: seconds in which they should have made all predictions that are outstanding.
    """
    states = list(states)
    if not any(state.waiting or state.in_flight for state in states):
        return 0
    seconds = sum(state.model_s for state in states)
    return min(max(1, math.ceil(seconds / target_drain_s)), most)


def _state(load: QueueLoad, policy: Policy) -> QueueState:
    wanted = wanted_workers(
        policy,
        outstanding_s=load.outstanding_s,
        waiting=load.waiting,
        in_flight=load.in_flight,
    )
    return QueueState(
        load.queue,
        load.waiting,
        load.in_flight,
        load.oldest_wait_s,
        load.outstanding_s,
        load.model_s,
        wanted,
    )
