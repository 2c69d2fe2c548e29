"""The workers that an autoscaler has started, and how one leaves without harm to its jobs.

A worker that is to go first takes no more from its queue. Once it has ended what it held, and only
then, it is asked to end: no run is ended or put back. One that is needed again meanwhile stays.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import count
from typing import Protocol

from kiosk_tasks.stack.errors import PartDied, PartNotReady
from kiosk_tasks.stack.remote import Remote
from kiosk_tasks.stack.workers import node_of

__all__ = ["Crew", "Loss", "Process"]

log = logging.getLogger(__name__)

SETTLE_S = 1.5
"""A worker must have held nothing for so long: the broker may still be answering an older wish of
its for a message, which takes up to a second."""
END_LIMIT_S = 10.0


class Process(Protocol):
    """What a `stack.process.Running` does here."""

    @property
    def has_ended(self) -> bool:
        """Whether it is gone."""

    @property
    def fate(self) -> str:
        """A sentence on how it ended."""

    def ask(self) -> bool:
        """Whether it is ready; raises PartDied and PartNotReady."""

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""

    def ask_to_end(self) -> None:
        """Send the signal at which it puts running jobs back."""


class _Phase(Enum):
    STARTING = auto()
    WORKING = auto()
    LEAVING = auto()
    ENDING = auto()


@dataclass
class _Worker:
    """since: of its phase. idle_since: when it was first seen to hold nothing while it leaves."""

    queue: str
    number: int
    process: Process
    since: float
    phase: _Phase = _Phase.STARTING
    agreed: bool = False
    idle_since: float | None = None
    node: str = field(init=False)

    def __post_init__(self) -> None:
        self.node = node_of(self.queue, self.number)

    def turn(self, phase: _Phase, now_s: float) -> None:
        self.phase, self.since, self.agreed, self.idle_since = phase, now_s, False, None


@dataclass(frozen=True)
class Loss:
    """A worker that ended, or had to be ended, without having been asked to.

    was_ready: it had begun to work.
    """

    queue: str
    reason: str
    was_ready: bool


class Crew:
    """All workers of an autoscaler, whatever their queues.

    start: starts the worker of that queue and number. remove: forgets it, and kills what is left.
    slots: processes of a worker of each queue.
    job_limit_s: by then any run has ended; a worker that still does not leave puts its jobs back.
    """

    def __init__(
        self,
        start: Callable[[str, int], Process],
        remove: Callable[[str, int], None],
        remote: Remote,
        *,
        slots: Mapping[str, int],
        job_limit_s: float,
    ) -> None:
        """Begin with no worker."""
        self._start, self._remove, self._remote = start, remove, remote
        self._slots, self._job_limit_s = slots, job_limit_s
        self._workers: list[_Worker] = []

    @property
    def processes(self) -> int:
        """Slots of all that run, also of those that leave."""
        return sum(self._slots[worker.queue] for worker in self._workers)

    def staying(self, queue: str) -> int:
        """Return how many workers a queue has, without those that leave."""
        return len(self._of(queue, _Phase.STARTING, _Phase.WORKING))

    def last_start_s(self, queue: str) -> float:
        """Return when the last of its workers began to work; 0 if none works."""
        return max((worker.since for worker in self._of(queue, _Phase.WORKING)), default=0.0)

    def resize(self, queue: str, goal: int, *, most: int) -> None:
        """Call workers back, start some or let some leave, until the queue has so many.

        most: processes of all queues together. Where that many run, or those that should leave
        have only just been started, less is done; the next call does more.
        """
        missing = goal - self.staying(queue)
        if missing < 0:
            self._dismiss(queue, -missing)
        if missing > 0:
            missing -= self._call_back(queue, missing)
        while missing > 0 and self.processes + self._slots[queue] <= most:
            missing -= 1
            self._hire(queue)

    def look_after(self) -> list[Loss]:
        """Bring what is known of each worker up to date; return those that were lost."""
        now_s = time.monotonic()
        losses = [loss for worker in list(self._workers) if (loss := self._see(worker, now_s))]
        self._see_off(now_s)
        return losses

    def _hire(self, queue: str) -> None:
        taken = {worker.number for worker in self._of(queue, *_Phase)}
        number = next(number for number in count(1) if number not in taken)
        process = self._start(queue, number)
        self._workers.append(_Worker(queue, number, process, time.monotonic()))

    def _call_back(self, queue: str, missing: int) -> int:
        leaving = self._of(queue, _Phase.LEAVING)[:missing]
        agreed = self._remote.rejoin(queue, [worker.node for worker in leaving]) if leaving else ()
        back = [worker for worker in leaving if worker.node in agreed]
        for worker in back:
            worker.turn(_Phase.WORKING, time.monotonic())
        return len(back)

    def _dismiss(self, queue: str, surplus: int) -> None:
        """Let those leave that hold the fewest jobs."""
        working = self._of(queue, _Phase.WORKING)
        if len(working) > surplus:
            held = self._remote.held([worker.node for worker in working])
            busiest = max(held.values(), default=0) + 1  # that is, one that does not answer
            working.sort(key=lambda worker: (held.get(worker.node, busiest), -worker.number))
        for worker in working[:surplus]:
            worker.turn(_Phase.LEAVING, time.monotonic())
        self._ask_to_leave(queue)

    def _ask_to_leave(self, queue: str) -> None:
        asked = [worker for worker in self._of(queue, _Phase.LEAVING) if not worker.agreed]
        agreed = self._remote.leave(queue, [worker.node for worker in asked]) if asked else ()
        for worker in asked:
            worker.agreed = worker.node in agreed

    def _see(self, worker: _Worker, now_s: float) -> Loss | None:
        """Notice that a worker is ready, or gone."""
        was_ready = worker.phase is not _Phase.STARTING
        if worker.phase is _Phase.ENDING:
            if worker.process.has_ended or now_s - worker.since > 2 * END_LIMIT_S:
                self._forget(worker)
            elif now_s - worker.since > END_LIMIT_S:
                worker.process.ask_to_end()
            return None
        try:
            if worker.process.ask() and not was_ready:
                worker.turn(_Phase.WORKING, now_s)
        except (PartDied, PartNotReady) as exc:
            self._forget(worker)
            reason = f"{worker.process.fate} What it ran is run again." if was_ready else str(exc)
            return Loss(worker.queue, reason, was_ready)
        return None

    def _see_off(self, now_s: float) -> None:
        """Ask those that leave, and hold nothing any more, to end."""
        leaving = [worker for worker in self._workers if worker.phase is _Phase.LEAVING]
        for queue in {worker.queue for worker in leaving}:
            self._ask_to_leave(queue)
        held = self._remote.held([worker.node for worker in leaving]) if leaving else {}
        for worker in leaving:
            idle = worker.agreed and held.get(worker.node) == 0
            worker.idle_since = (worker.idle_since or now_s) if idle else None
            if worker.idle_since is not None and now_s - worker.idle_since >= SETTLE_S:
                worker.process.send(signal.SIGINT)  # Celery's warm shutdown: at once, if idle
                worker.turn(_Phase.ENDING, now_s)
            elif now_s - worker.since > self._job_limit_s:
                log.warning("worker %s does not leave: its jobs are put back", worker.node)
                worker.process.ask_to_end()
                worker.turn(_Phase.ENDING, now_s)

    def _forget(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        self._remove(worker.queue, worker.number)

    def _of(self, queue: str, *phases: _Phase) -> list[_Worker]:
        return [w for w in self._workers if w.queue == queue and w.phase in phases]
