"""Pods of one deployment: they start after a while, and which is stopped nobody chooses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from benchmarks.autoscaling.clock import Clock
    from benchmarks.autoscaling.workers import Run

__all__ = ["Deployment", "Pod"]


@dataclass(eq=False, slots=True)
class Pod:
    """One pod. cpu_s: seconds of CPU of the runs that it has ended."""

    created_s: float
    ready: bool = False
    stopping: bool = False
    gone: bool = False
    cpu_s: float = 0.0
    runs: list[Run] = field(default_factory=list)
    cpu_seen: list[tuple[float, float]] = field(default_factory=list)


class Deployment:
    """Replicas that follow a number. Pods cost from their creation until they are gone."""

    def __init__(
        self,
        clock: Clock,
        *,
        start_s: Callable[[np.random.Generator], float],
        seed: tuple[int, ...],
    ) -> None:
        self.pods: list[Pod] = []
        self.pod_seconds = 0.0
        self.timeline: list[tuple[float, int]] = [(0.0, 0)]
        self.turns = 0
        self.most = 0
        self.on_ready: Callable[[Pod], None] = _nothing
        self.on_stop: Callable[[Pod], None] = self.remove
        self._clock = clock
        self._start_s = start_s
        self._random = np.random.default_rng(seed)
        self._alive: dict[Pod, None] = {}
        self._direction = 0

    @property
    def replicas(self) -> int:
        """The number asked for: pods that are not being stopped."""
        return len(self.pods)

    @property
    def ready(self) -> int:
        """Of those, the ones that are ready."""
        return sum(pod.ready for pod in self.pods)

    def scale(self, replicas: int) -> None:
        """Start or stop pods. Those that never got ready go first, else chance chooses."""
        change = replicas - len(self.pods)
        self.most = max(self.most, replicas)
        direction = (change > 0) - (change < 0)
        self.turns += direction != 0 and direction == -self._direction
        self._direction = direction or self._direction
        for _ in range(change):
            self._start()
        for _ in range(-change):
            starting = [pod for pod in self.pods if not pod.ready]
            choice = starting or self.pods
            pod = choice[int(self._random.integers(len(choice)))]
            self.pods.remove(pod)
            pod.stopping = True
            self.on_stop(pod)

    def warm(self, replicas: int) -> None:
        """Have pods that are ready from the start."""
        self.scale(replicas)
        for pod in self.pods:
            pod.ready = True
            self.on_ready(pod)

    def remove(self, pod: Pod) -> None:
        """The pod is gone."""
        if pod.gone:
            return
        pod.gone = True
        self.pod_seconds += self._clock.now_s - pod.created_s
        del self._alive[pod]
        self.timeline.append((self._clock.now_s, len(self._alive)))

    def close(self) -> None:
        """Settle the account at the end of the day."""
        for pod in list(self._alive):
            self.remove(pod)

    def _start(self) -> None:
        pod = Pod(self._clock.now_s)
        self.pods.append(pod)
        self._alive[pod] = None
        self.timeline.append((self._clock.now_s, len(self._alive)))
        self._clock.after(self._start_s(self._random), self._become_ready, pod)

    def _become_ready(self, pod: Pod) -> None:
        if not pod.stopping and not pod.ready:
            pod.ready = True
            self.on_ready(pod)


def _nothing(_pod: Pod) -> None:
    pass
