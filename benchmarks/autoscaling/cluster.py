"""One simulated day of one cluster under one policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from benchmarks.autoscaling.clock import Clock
from benchmarks.autoscaling.conditions import MODELS, Conditions, Scaler, View
from benchmarks.autoscaling.jobs import QUEUES, Trace
from benchmarks.autoscaling.model_tier import ModelTier
from benchmarks.autoscaling.pods import Deployment
from benchmarks.autoscaling.workers import Job, Workers

__all__ = ["DAY_S", "Cluster", "Outcome"]

DAY_S = 86_400.0
LONGEST_S = 1.5 * DAY_S


@dataclass(frozen=True)
class Outcome:
    """A day's end. jobs: all, ended or not; workers, models: what ran them."""

    jobs: list[Job]
    workers: Mapping[str, Workers]
    models: ModelTier
    end_s: float

    def waits(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Seconds from a job's arrival to its end, less its own service time."""
        return np.array(
            [
                job.ended_s - job.arrived_s - job.spec.cpu_s - job.spec.model_s
                for job in self.jobs
                if job.ended_s is not None
            ]
        )


class Cluster:
    """Queues with their workers, the model servers, and a scaler for each.

    Model servers without a scaler are one that is always there.
    """

    def __init__(
        self, trace: Trace, scalers: Mapping[str, Scaler | None], conditions: Conditions
    ) -> None:
        self._clock = Clock()
        self._conditions = conditions
        self._scalers = {
            name: scaler
            for name, scaler in scalers.items()
            if scaler is not None and not (conditions.gpu_stays and name == MODELS)
        }
        self._jobs: list[Job] = []
        self._to_come = len(trace.roots)
        self._open = 0
        self._scraped: dict[str, View] = {}
        self._gpu_use = 0.0
        servers = self._deployment(0, self._node_start_s)
        self._models = ModelTier(
            self._clock,
            servers,
            at_once=conditions.at_once,
            patience_s=conditions.model_patience_s,
        )
        if MODELS not in self._scalers:
            servers.warm(1)
        self._workers = {
            queue: self._make_workers(number + 1) for number, queue in enumerate(QUEUES)
        }
        for root in trace.roots:
            self._clock.after(root.at_s, self._arrive, Job(root))

    def run(self) -> Outcome:
        """Live through the day, and until the last job is done."""
        clock, phases = self._clock, np.random.default_rng((self._conditions.seed, 99))
        clock.after(0.0, self._scrape)
        for name in (*QUEUES, MODELS):
            poll, sync = phases.uniform(0, 1, 2)
            if name not in self._scalers:
                continue
            scaler = self._scalers[name]
            self._deployed(name).warm(scaler.least)
            clock.after(float(poll) * scaler.poll_s, self._poll, name, scaler)
            clock.after(float(sync) * self._conditions.sync_s, self._sync, name, scaler)
        while clock.now_s < DAY_S or (self._left and clock.now_s < LONGEST_S):
            clock.step()
        for workers in self._workers.values():
            workers.deployment.close()
        self._models.deployment.close()
        return Outcome(self._jobs, self._workers, self._models, clock.now_s)

    @property
    def _left(self) -> bool:
        return self._to_come + self._open > 0

    def _deployment(
        self, number: int, start_s: Callable[[np.random.Generator], float]
    ) -> Deployment:
        return Deployment(self._clock, start_s=start_s, seed=(self._conditions.seed, number))

    def _make_workers(self, number: int) -> Workers:
        return Workers(
            self._clock,
            self._deployment(number, self._pod_start_s),
            self._models,
            slots=self._conditions.slots,
            grace_s=self._conditions.grace_s,
            back_s=self._conditions.back_s,
            learns_waits=self._conditions.learns_waits,
            on_end=self._ended,
        )

    def _pod_start_s(self, random: np.random.Generator) -> float:
        usual = self._conditions.pod_start_s * float(random.uniform(0.75, 1.25))
        return usual + self._conditions.slow_start_s * (random.uniform() < 0.1)

    def _node_start_s(self, random: np.random.Generator) -> float:
        return self._conditions.node_start_s * float(random.uniform(0.9, 1.1))

    def _arrive(self, job: Job) -> None:
        self._to_come -= 1
        self._submit(job)

    def _submit(self, job: Job) -> None:
        self._open += 1
        self._jobs.append(job)
        self._workers[job.spec.queue].submit(job)

    def _ended(self, job: Job) -> None:
        self._open -= 1
        job.children_left = len(job.spec.children)
        for child in job.spec.children:
            self._submit(Job(child, job))
        if not job.spec.children:
            self._go_on(job)
        if job.parent is not None and job.spec is not job.parent.spec.then:
            job.parent.children_left -= 1
            if job.parent.children_left == 0:
                self._go_on(job.parent)

    def _go_on(self, job: Job) -> None:
        if job.spec.then is not None:
            self._submit(Job(job.spec.then, job))

    def _poll(self, name: str, scaler: Scaler) -> None:
        if self._open or self._deployed(name).replicas:
            self._set(name, scaler.poll(self._view(name, scaler)))
        self._clock.after(scaler.poll_s, self._poll, name, scaler)

    def _sync(self, name: str, scaler: Scaler) -> None:
        if self._deployed(name).replicas:
            use = list if name == MODELS else self._workers[name].use_of_cpu
            self._set(name, scaler.sync(self._view(name, scaler), use))
        self._clock.after(self._conditions.sync_s, self._sync, name, scaler)

    def _scrape(self) -> None:
        self._gpu_use = self._models.use()
        self._scraped = {
            name: self._look(name) for name, scaler in self._scalers.items() if scaler.stale
        }
        self._clock.after(self._conditions.scrape_s, self._scrape)

    def _set(self, name: str, replicas: int | None) -> None:
        if replicas is not None:
            self._deployed(name).scale(replicas)

    def _deployed(self, name: str) -> Deployment:
        return self._models.deployment if name == MODELS else self._workers[name].deployment

    def _view(self, name: str, scaler: Scaler) -> View:
        if not scaler.stale:
            return self._look(name)
        seen, deployment = self._scraped[name], self._deployed(name)
        return seen._replace(
            now_s=self._clock.now_s,
            replicas=deployment.replicas,
            ready=deployment.ready,
        )

    def _look(self, name: str) -> View:
        queues = list(self._workers.values()) if name == MODELS else [self._workers[name]]
        deployment, wrong = self._deployed(name), self._conditions.misprediction
        seconds = [queue.outstanding_s() * wrong for queue in queues]
        model_s = sum(s * queue.pace.model_share for s, queue in zip(seconds, queues, strict=True))
        return View(
            self._clock.now_s,
            sum(len(queue.waiting) for queue in queues),
            sum(queue.open_jobs - queue.in_flight for queue in queues),
            sum(queue.in_flight for queue in queues),
            sum(seconds),
            model_s,
            deployment.replicas,
            deployment.ready,
            self._gpu_use,
        )
