"""Parts of a job by themselves: the round trip to the model server, and the deep watershed."""

from __future__ import annotations

import tempfile
import time

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.figures import Figure, Result
from benchmarks.grpc_roundtrip import measure
from benchmarks.runs import Effort
from benchmarks.stack import KEPT_MODELS, Site
from kiosk_tasks.imaging.labels import WatershedParams, deep_watershed
from kiosk_tasks.serving.launch import ModelServerProcess
from tests.built_models import built
from tests.plain_watershed import draw_heads, plain_deep_watershed

__all__ = ["round_trip", "watershed"]

SHAPE = (1, 2048, 2048, 1)
ROUND_TRIP_GOAL_S = 0.2
WATERSHED_GOAL_S = 1.2  #: CPU time
SIDE = 2048


def round_trip(_site: Site, effort: Effort) -> Result:
    """An identity model, for both forms of reply."""
    models = built("toy_models", KEPT_MODELS)
    figures = []
    for reply, options in (("tensor_content", ()), ("float_val", ("--typed-values",))):
        with (
            tempfile.TemporaryFile() as log,
            ModelServerProcess([models], options=options, log=log) as server,
        ):
            walls, cpu_s = measure(server.target, SHAPE, effort.of(9, 3))
        figures += [
            Figure(f"wall, {reply}", "s", tuple(walls), ROUND_TRIP_GOAL_S),
            Figure(f"client CPU, {reply}", "s", (cpu_s,)),
        ]
    return Result(tuple(figures))


def watershed(_site: Site, effort: Effort) -> Result:
    """The nuclear parameters on a crowded plane, with labels equal to the plain composition's."""
    inner, _outer, foreground, _count = draw_heads(effort.of(SIDE, 512), seed=0)
    params, cpus, walls = WatershedParams.nuclear(), [], []
    with threadpool_limits(1):
        for _ in range(effort.rounds):
            wall, cpu = time.perf_counter(), time.process_time()
            labels = deep_watershed(inner, foreground, params=params)
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
        np.testing.assert_array_equal(
            labels, plain_deep_watershed(inner, foreground, params=params)
        )
    return Result(
        (
            Figure("CPU", "s", tuple(cpus), WATERSHED_GOAL_S),
            Figure("wall", "s", tuple(walls)),
        )
    )
