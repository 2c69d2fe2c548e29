"""Where the bottleneck goes: what each resource spends on a job, as a law of its pixels.

A resource spends `fixed + per_pixel · pixels` on a job. The laws are fitted to measured jobs of one
worker process. What they say of more processes on the same machine is checked against
measurements; what they say of a cluster rests on the assumptions of `Cluster`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import nnls

__all__ = ["Cluster", "Laws", "Line", "capacities", "fit", "laws_of", "on_this_machine"]

_WORKER = ("worker", "child")


@dataclass(frozen=True)
class Line:
    """Cost of a job: `fixed` and `per_pixel` times its pixels, in seconds or bytes."""

    fixed: float
    per_pixel: float

    def __call__(self, pixels: float) -> float:
        """Return the cost of a job of so many pixels."""
        return self.fixed + self.per_pixel * pixels


@dataclass(frozen=True)
class Laws:
    """The costs of a job.

    cpu_s: by role. in_worker_s: from its claim to its end, alone on the machine; model_s: of it,
    for how long the model server was at work. moved: bytes, by what is at the other end.
    """

    cpu_s: Mapping[str, Line]
    in_worker_s: Line
    model_s: Line
    moved: Mapping[str, Line]


@dataclass(frozen=True)
class Cluster:
    """What a prediction assumes.

    workers: processes, each with a core as fast as the measured one. gpu_pixels_s: pixels of an
    image that a GPU predicts per second, overlap included. bucket_bytes_s and server_bytes_s: of
    the network, to the whole bucket and to each GPU's server. The broker is one thread on one core.
    """

    workers: int = 100
    gpus: int = 4
    gpu_pixels_s: float = 50e6
    bucket_bytes_s: float = 1.25e9
    server_bytes_s: float = 1.25e9


def fit(points: Iterable[tuple[float, float]]) -> Line:
    """Return the line through (pixels, cost) that is relatively nearest; both terms are ≥ 0.

    Raises ValueError for fewer than two points, or a cost of 0 everywhere.
    """
    kept = [(pixels, cost) for pixels, cost in points if cost > 0]
    if len(kept) < 2:
        raise ValueError("a line needs two points of a cost above 0")
    pixels, costs = np.array(kept, float).T
    unit = pixels.max()  # so that both columns are of one order
    weighted = np.stack([1 / costs, pixels / unit / costs], axis=1)
    (fixed, slope), _ = nnls(weighted, np.ones(len(kept)))
    return Line(float(fixed), float(slope) / float(unit))


def laws_of(costs: Sequence[Mapping[str, Any]]) -> Laws:
    """Return the laws of measured jobs: the facts of the row `sizes`."""

    def line(*path: str) -> Line:
        points = []
        for cost in costs:
            value: Any = cost
            for name in path:
                value = value[name]
            points.append((float(cost["side"]) ** 2, float(value)))
        return fit(points) if sum(value > 0 for _, value in points) > 1 else Line(0.0, 0.0)

    return Laws(
        cpu_s={role: line("cpu_s", role) for role in costs[0]["cpu_s"]},
        in_worker_s=line("in_worker_s"),
        model_s=line("model_s"),
        moved={name: line("bytes", name) for name in costs[0]["bytes"]},
    )


def on_this_machine(laws: Laws, pixels: float, *, processes: int, cores: int) -> dict[str, float]:
    """Return how many jobs per second each bound admits, where all parts share a machine.

    A process has a job in hand from its claim to its end, and the worker's parent hands on the
    next one then. The processors bound the sum of all parts.
    """
    one_job = laws.in_worker_s(pixels) + laws.cpu_s["worker"](pixels)
    all_parts = sum(line(pixels) for line in laws.cpu_s.values())
    return {"worker processes": processes / one_job, "processors": cores / all_parts}


def capacities(laws: Laws, pixels: float, cluster: Cluster) -> dict[str, float]:
    """Return how many jobs per second each resource of a cluster can do.

    A worker process has nothing else to do while its job waits for the GPU and the network.
    """
    to_server, to_bucket = laws.moved["model server"](pixels), laws.moved["bucket"](pixels)
    waits = pixels / cluster.gpu_pixels_s + to_server / cluster.server_bytes_s
    waits += to_bucket / cluster.bucket_bytes_s
    works = sum(laws.cpu_s[role](pixels) for role in _WORKER)
    return {
        "broker": 1 / laws.cpu_s["broker"](pixels),
        "workers": cluster.workers / (works + waits),
        "GPUs": cluster.gpus * cluster.gpu_pixels_s / pixels,
        "network of the GPUs": cluster.gpus * cluster.server_bytes_s / to_server,
        "network of the bucket": cluster.bucket_bytes_s / to_bucket,
    }
