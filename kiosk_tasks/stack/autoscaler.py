"""As many workers as the scaling law wants, on this machine: from none to some and back.

The rules are those of a cluster: `kiosk_tasks.queues.look` says what each queue wants, `Damper`
lets it shrink slowly, `shares` keeps the sum below what the machine has, and `Crew` does it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from kiosk_tasks.errors import BrokerUnavailable
from kiosk_tasks.queues import QueueState
from kiosk_tasks.scaling import Damper
from kiosk_tasks.stack.crew import Crew, Loss
from kiosk_tasks.stack.shares import Need, shares

__all__ = ["Autoscaler", "Scale"]

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
LONGEST_PAUSE_S = 60.0
"""Between two attempts to start a worker of a queue whose workers end while they start."""


@dataclass(frozen=True)
class Scale:
    """Bounds. most: processes of all workers together. slots: of one worker of each queue.

    window_s: how long workers stay after they were last wanted.
    """

    most: int
    slots: Mapping[str, int]
    window_s: float


@dataclass
class _Trouble:
    """Workers of a queue that ended while they started, one after the other.

    last_s: when the last of them ended. next_s: when another may be tried.
    """

    times: int = 0
    last_s: float = 0.0
    next_s: float = 0.0


@dataclass
class Autoscaler:
    """Call `step` again and again, from the thread that the supervisor belongs to.

    look: the state of every queue; raises BrokerUnavailable.
    say: told a line for each change.
    """

    crew: Crew
    look: Callable[[], Sequence[QueueState]]
    scale: Scale
    say: Callable[[str], None]
    _dampers: dict[str, Damper] = field(init=False, default_factory=dict)
    _trouble: dict[str, _Trouble] = field(init=False, default_factory=dict)
    _next_s: float = field(init=False, default=0.0)

    def step(self) -> None:
        """Look, and act on it, if the last look is a second ago."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + LOOK_EVERY_S
        try:
            states = self.look()  # first: without a broker no worker can be asked either
        except BrokerUnavailable as exc:
            log.warning("the queues cannot be seen: %s", exc)
            return
        for loss in self.crew.look_after():
            self._mourn(loss, now_s)
        goals = shares([self._need(state, now_s) for state in states], self.scale.most)
        for state in states:
            self._resize(state, goals[state.queue], now_s)

    def _need(self, state: QueueState, now_s: float) -> Need:
        queue = state.queue
        damper = self._dampers.setdefault(queue, Damper(self.scale.window_s))
        kept = damper.damped(now_s, state.wanted_workers)
        # the least that a queue without work is to have takes no process from one that has some
        wanted = state.wanted_workers if state.waiting or state.in_flight else 0
        return Need(queue, wanted, kept, self.scale.slots[queue], state.oldest_wait_s)

    def _resize(self, state: QueueState, goal: int, now_s: float) -> None:
        queue = state.queue
        before = self.crew.staying(queue)
        goal = min(goal, max(before, state.wanted_workers))  # none is started only to be kept
        trouble = self._trouble.get(queue)
        if trouble and self.crew.last_start_s(queue) > trouble.last_s:
            del self._trouble[queue]
        elif trouble and now_s < trouble.next_s:
            goal = min(goal, before)
        self.crew.resize(queue, goal, most=self.scale.most)
        after = self.crew.staying(queue)
        if after != before:
            noun = "worker" if after == 1 else "workers"
            self.say(f"{queue}: {before} → {after} {noun}, {_work(state)}")

    def _mourn(self, loss: Loss, now_s: float) -> None:
        """Say what has happened; where workers end while they start, wait before the next."""
        self.say(loss.reason)
        if loss.was_ready:
            return
        trouble = self._trouble.setdefault(loss.queue, _Trouble())
        trouble.times += 1
        trouble.last_s = now_s
        pause_s = min(2.0**trouble.times, LONGEST_PAUSE_S)
        trouble.next_s = now_s + pause_s
        self.say(f"{loss.queue}: the next worker is tried in {pause_s:.0f} s")


def _work(state: QueueState) -> str:
    """Say what is to be done."""
    seconds = f"about {state.outstanding_s:.0f} s of work"
    if state.waiting:
        return f"{_jobs(state.waiting)} wait{'s' if state.waiting == 1 else ''}, {seconds}"
    if state.in_flight:
        return f"{_jobs(state.in_flight)} run{'s' if state.in_flight == 1 else ''}, {seconds}"
    return "no job is open"


def _jobs(number: int) -> str:
    return "1 job" if number == 1 else f"{number} jobs"
