"""Eight days. Service times are those measured for this project on a CPU, see docs/scaling.md."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from benchmarks.autoscaling.jobs import Spec, Trace

__all__ = ["all_traces"]

HOUR_S = 3600.0
_NOISE = 0.25
_FRAME_MB = 0.52  # 512², 16 bits
_BATCH = 16


class _Draw:
    """Jobs of each kind; the time that one takes scatters around that of its size."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)

    def _job(self, at_s: float, queue: str, megabytes: float, cpu_s: float, model_s: float) -> Spec:
        noise = float(self.random.lognormal(-(_NOISE**2) / 2, _NOISE))
        return Spec(at_s, queue, megabytes, cpu_s * noise, model_s * noise)

    def crop(self, at_s: float) -> Spec:
        """64 px: 0.08 s."""
        return self._job(at_s, "predict", 0.008, 0.05, 0.03)

    def image(self, at_s: float, side: int = 512, slower: float = 1.0) -> Spec:
        """0.5 s for 512²."""
        area = (side / 512) ** 2
        return self._job(at_s, "predict", 0.52 * area, 0.22 * area * slower, 0.3 * area * slower)

    def mesmer(self, at_s: float, side: int = 512) -> Spec:
        """1.5 s for two channels of 512²."""
        area = (side / 512) ** 2
        return self._job(at_s, "mesmer", 1.05 * area, 0.7 * area, 0.83 * area)

    def movie(self, at_s: float, frames: int = 40, side: int = 512) -> Spec:
        """0.3 s a frame on `predict`, in batches; then 3.5 s and 0.02 s a frame for the links."""
        area = (side / 512) ** 2
        megabytes = frames * _FRAME_MB * area
        if frames * area <= _BATCH:
            return self._job(at_s, "track", megabytes, 3.5 + 0.12 * frames, 0.18 * frames)
        sizes = [min(_BATCH, frames - done) for done in range(0, frames, _BATCH)]
        batches = tuple(
            self._job(at_s, "predict", n * _FRAME_MB * area, 0.12 * n * area, 0.18 * n * area)
            for n in sizes
        )
        links = self._job(at_s, "track", megabytes, 3.5 + 0.022 * frames * area, 0.0)
        return Spec(at_s, "track", megabytes, 0.002 * frames * area, 0.0, batches, links)

    def any(self, at_s: float) -> Spec:
        """What an office submits: mostly images."""
        kind = float(self.random.uniform())
        if kind < 0.70:
            return self.image(at_s, 512 if self.random.uniform() < 0.8 else 1024)
        if kind < 0.90:
            return self.mesmer(at_s, 512 if self.random.uniform() < 0.8 else 1024)
        if kind < 0.98:
            return self.movie(at_s, int(self.random.integers(8, 60)))
        return self.movie(at_s, 40, 2048)

    def _alike(self, first: Spec, at_s: float) -> Spec:
        if first.queue == "predict":
            return self.image(at_s)
        return self.mesmer(at_s) if first.queue == "mesmer" else self.movie(at_s)

    def moments(self, start_h: float, end_h: float, per_hour: float) -> list[float]:
        """Return when someone submits something, at random, seconds."""
        count = int(self.random.poisson((end_h - start_h) * per_hour))
        return sorted(float(t) for t in self.random.uniform(start_h, end_h, count) * HOUR_S)

    def sessions(self, start_h: float, end_h: float, per_hour: float) -> list[Spec]:
        """People who submit 1 to 40 jobs of one kind at once."""
        jobs = []
        for at_s in self.moments(start_h, end_h, per_hour):
            first = self.any(at_s)
            heavy = first.queue == "track"
            count = int(self.random.integers(1, 4 if heavy else 41))
            jobs.append(first)
            for n in range(1, count):
                jobs.append(self._alike(first, at_s + 0.2 * n))
        return jobs


@cache
def all_traces(seed: int = 6) -> tuple[Trace, ...]:
    """Return the days, the same for the same seed."""
    makers = (_office, _plates, _movie, _archive, _idle, _cold, _crowd, _drift)
    return tuple(make(_Draw(seed * 100 + number)) for number, make in enumerate(makers))


def _office(draw: _Draw) -> Trace:
    hours = [(8, 9, 6), (9, 12, 18), (12, 13, 4), (13, 17, 18), (17, 19, 5)]
    jobs = [job for start, end, rate in hours for job in draw.sessions(start, end, rate)]
    return Trace("office", "sessions of 1 to 40 jobs, 8 to 19 h, few at lunch", tuple(jobs))


def _plates(draw: _Draw) -> Trace:
    jobs = draw.sessions(8, 19, 3)
    for hour in range(0, 24, 2):
        jobs += [draw.crop(hour * HOUR_S + 0.01 * n) for n in range(6000)]
    return Trace("plates", "6000 crops of 64 px every two hours, a few sessions", tuple(jobs))


def _movie(draw: _Draw) -> Trace:
    jobs = []
    for at_s in draw.moments(8, 18, 120):
        jobs += [draw.crop(at_s + 0.05 * n) for n in range(int(draw.random.integers(1, 21)))]
    jobs.append(draw.movie(11 * HOUR_S, 600))
    return Trace("movie", "crops of 64 px all day, one movie of 600 frames at 11 h", tuple(jobs))


def _archive(draw: _Draw) -> Trace:
    files = tuple(draw.image(0.0) for _ in range(4000))
    archive = Spec(20 * HOUR_S, "predict", 2000.0, 40.0, 0.0, files, draw.image(0.0))
    jobs = [*draw.sessions(9, 17, 4), archive]
    return Trace("archive", "4000 images in one archive at 20 h, few sessions before", tuple(jobs))


def _idle(draw: _Draw) -> Trace:
    jobs = [draw.image((hour + 0.5) * HOUR_S) for hour in range(24)]
    return Trace("idle", "one image an hour", tuple(jobs))


def _cold(draw: _Draw) -> Trace:
    jobs = []
    for hour in (9.0, 12.5, 16.0):
        jobs += [draw.image(hour * HOUR_S + 0.2 * n) for n in range(60)]
        jobs += [draw.mesmer(hour * HOUR_S + 0.2 * n) for n in range(20)]
    return Trace("cold GPU", "80 jobs at 9, 12:30 and 16 h, nothing between", tuple(jobs))


def _crowd(draw: _Draw) -> Trace:
    jobs = draw.sessions(8, 18, 6)
    for at_s in draw.moments(10.5, 10.6, 2000):
        jobs += [draw.any(at_s + 0.5 * n) for n in range(5)]
    return Trace("flash crowd", "200 people with 5 jobs each within 6 minutes", tuple(jobs))


def _drift(draw: _Draw) -> Trace:
    jobs = []
    for at_s in draw.moments(0, 24, 1800):
        slower = math.exp(math.log(6) * at_s / (24 * HOUR_S))
        jobs.append(draw.image(at_s, slower=slower))
    return Trace("drift", "an image every 2 s; each takes 6 times as long at the end", tuple(jobs))
