"""The model servers: they share one line of requests, and take a while to start."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.autoscaling.clock import Clock
    from benchmarks.autoscaling.pods import Deployment, Pod
    from benchmarks.autoscaling.workers import Run

__all__ = ["ModelTier"]


_TURN_S = 1.0


class ModelTier:
    """So many requests at once per server; the others wait in line.

    A job's predictions are many requests: after a second of them the job queues up again, so that
    a large movie does not keep the small images away.
    """

    def __init__(
        self, clock: Clock, deployment: Deployment, *, at_once: int, patience_s: float
    ) -> None:
        """patience_s: how long a run waits for a server while none is ready."""
        self.deployment = deployment
        self.busy_seconds = 0.0
        self._busy = 0
        self._busy_since_s = 0.0
        self._asked = (0.0, 0.0)
        self._clock = clock
        self._at_once = at_once
        self._patience_s = patience_s
        self._line: deque[tuple[Run, Callable[[Run], None]]] = deque()
        deployment.on_ready = self._became_ready

    def use(self) -> float:
        """How busy the servers were since this was last asked, 0 to 1: a GPU's use, roughly."""
        self._account()
        (then_s, then), now_s = self._asked, self._clock.now_s
        self._asked = (now_s, self.busy_seconds)
        capacity = self.deployment.ready * self._at_once * (now_s - then_s)
        return min(1.0, (self.busy_seconds - then) / capacity) if capacity else 0.0

    def ask(self, run: Run, done: Callable[[Run], None], tired: Callable[[Run], None]) -> None:
        """Serve a run's predictions when it is its turn; `tired` if no server comes in time."""
        self._line.append((run, done))
        if self.deployment.ready == 0:
            self._clock.after(self._patience_s, self._lose_patience, run, tired)
        self._serve()

    def _became_ready(self, _pod: Pod) -> None:
        self._serve()

    def _lose_patience(self, run: Run, tired: Callable[[Run], None]) -> None:
        if not run.served and not run.dead and self.deployment.ready == 0:
            tired(run)

    def _serve(self) -> None:
        while self._line and self._busy < self.deployment.ready * self._at_once:
            run, done = self._line.popleft()
            if run.dead:
                continue
            run.served = True
            self._account()
            self._busy += 1
            turn_s = min(_TURN_S, run.model_left_s)
            run.model_left_s -= turn_s
            self._clock.after(turn_s, self._answer, run, done)

    def _answer(self, run: Run, done: Callable[[Run], None]) -> None:
        self._account()
        self._busy -= 1
        if not run.dead and run.model_left_s > 1e-9:
            self._line.append((run, done))
        elif not run.dead:
            done(run)
        self._serve()

    def _account(self) -> None:
        self.busy_seconds += self._busy * (self._clock.now_s - self._busy_since_s)
        self._busy_since_s = self._clock.now_s
