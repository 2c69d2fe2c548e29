"""One queue and its worker pods: jobs run in their order, and again if their pod is killed."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kiosk_tasks.scaling import Pace

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.autoscaling.clock import Clock
    from benchmarks.autoscaling.jobs import Spec
    from benchmarks.autoscaling.model_tier import ModelTier
    from benchmarks.autoscaling.pods import Deployment, Pod

__all__ = ["Job", "Run", "Workers"]

_LONGEST_PAUSE_S = 60.0


@dataclass(eq=False, slots=True)
class Job:
    """What has become of one job. runs: how often one began. children_left: not ended yet."""

    spec: Spec
    parent: Job | None = None
    arrived_s: float = 0.0
    ended_s: float | None = None
    runs: int = 0
    retries: int = 0
    children_left: int = 0


@dataclass(eq=False, slots=True)
class Run:
    """One attempt at a job, on one slot of a pod."""

    job: Job
    pod: Pod
    began_s: float
    model_left_s: float
    served: bool = False
    dead: bool = False


class Workers:
    """The queue, its deployment, and what the ledger knows of it."""

    def __init__(
        self,
        clock: Clock,
        deployment: Deployment,
        models: ModelTier,
        *,
        slots: int,
        grace_s: float,
        back_s: float,
        learns_waits: bool,
        on_end: Callable[[Job], None],
    ) -> None:
        """grace_s, back_s, learns_waits: see `Conditions`."""
        self.deployment = deployment
        self.waiting: deque[Job] = deque()
        self.in_flight = 0
        self.open_jobs = 0
        self.open_megabytes = 0.0
        self.pace = Pace()
        self.kills = 0
        self.busy_seconds = 0.0
        self.lost_seconds = 0.0
        self.away_seconds = 0.0
        self._clock, self._models, self._on_end = clock, models, on_end
        self._slots, self._grace_s, self._back_s = slots, grace_s, back_s
        self._learns_waits = learns_waits
        self._free: deque[Pod] = deque()
        deployment.on_ready = self._pod_ready
        deployment.on_stop = self._pod_stops

    def submit(self, job: Job) -> None:
        """A new job is on the queue."""
        job.arrived_s = self._clock.now_s
        self.open_jobs += 1
        self.open_megabytes += job.spec.megabytes
        self._put(job)

    def outstanding_s(self) -> float:
        """Predicted seconds of all open jobs, as the ledger predicts them."""
        return self.pace.seconds(self.open_jobs, self.open_megabytes)

    def use_of_cpu(self) -> list[float | None]:
        """Return of each ready pod the CPU since it was last asked, over its request."""
        now_s = self._clock.now_s
        return [self._use(pod, now_s) for pod in self.deployment.pods if pod.ready]

    def _use(self, pod: Pod, now_s: float) -> float | None:
        running = sum(min(now_s - run.began_s, run.job.spec.cpu_s) for run in pod.runs)
        pod.cpu_seen = [*pod.cpu_seen[-2:], (now_s, pod.cpu_s + running)]
        (then_s, then_cpu), (_, cpu) = pod.cpu_seen[0], pod.cpu_seen[-1]
        return (cpu - then_cpu) / (now_s - then_s) / self._slots if now_s > then_s else None

    def _put(self, job: Job) -> None:
        if self._free:
            self._begin(job, self._free.popleft())
        else:
            self.waiting.append(job)

    def _begin(self, job: Job, pod: Pod) -> None:
        job.runs += 1
        run = Run(job, pod, self._clock.now_s, job.spec.model_s)
        pod.runs.append(run)
        self.in_flight += 1
        self._clock.after(job.spec.cpu_s, self._cpu_done, run)

    def _cpu_done(self, run: Run) -> None:
        if run.dead:
            return
        if run.job.spec.model_s > 0:
            self._models.ask(run, self._done, self._tired)
        else:
            self._done(run)

    def _done(self, run: Run) -> None:
        job, seconds = run.job, self._clock.now_s - run.began_s
        own_s = job.spec.cpu_s + job.spec.model_s
        self.away_seconds += seconds - own_s
        learnt_s = seconds if self._learns_waits else own_s
        model_s = learnt_s - job.spec.cpu_s
        learnt_s = seconds if self._learns_waits else own_s
        model_s = learnt_s - job.spec.cpu_s
        self.pace = self.pace.after(job.spec.megabytes, learnt_s, model_s=model_s)
        self.open_jobs -= 1
        self.open_megabytes -= job.spec.megabytes
        job.ended_s = self._clock.now_s
        self._leave(run)
        self._on_end(job)

    def _tired(self, run: Run) -> None:
        """No model server in time: the job makes room and comes again after a pause."""
        job = run.job
        self.away_seconds += self._clock.now_s - run.began_s
        self._leave(run)
        self._clock.after(0.75 * min(2.0**job.retries, _LONGEST_PAUSE_S), self._put, job)
        job.retries += 1

    def _leave(self, run: Run) -> None:
        pod = run.pod
        run.dead = True
        pod.runs.remove(run)
        pod.cpu_s += run.job.spec.cpu_s
        self.in_flight -= 1
        self.busy_seconds += self._clock.now_s - run.began_s
        if pod.stopping:
            if not pod.runs:
                self.deployment.remove(pod)
        elif self.waiting:
            self._begin(self.waiting.popleft(), pod)
        else:
            self._free.append(pod)

    def _pod_ready(self, pod: Pod) -> None:
        for _ in range(self._slots):
            if self.waiting:
                self._begin(self.waiting.popleft(), pod)
            else:
                self._free.append(pod)

    def _pod_stops(self, pod: Pod) -> None:
        self._free = deque(free for free in self._free if free is not pod)
        if pod.runs:
            self._clock.after(self._grace_s, self._kill, pod)
        else:
            self.deployment.remove(pod)

    def _kill(self, pod: Pod) -> None:
        if pod.gone:
            return
        now_s = self._clock.now_s
        for run in pod.runs:
            run.dead = True
            self.kills += 1
            self.in_flight -= 1
            self.busy_seconds += now_s - run.began_s
            self.lost_seconds += now_s - run.began_s
            self._clock.after(self._back_s, self._put, run.job)
        pod.runs.clear()
        self.deployment.remove(pod)
