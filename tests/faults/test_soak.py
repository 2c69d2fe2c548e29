"""Hours of jobs while workers and the broker are killed; at night only."""

from __future__ import annotations

import random
import statistics
import time

import psutil
import pytest

from tests.faults.conftest import Begin
from tests.faults.fleet import Fleet
from tests.faults.valkey import Valkey

KILL_WORKER_EVERY_S = 60.0
KILL_BROKER_EVERY_S = 300.0
SHORTEST_TO_JUDGE_S = 1800.0  # a slope of fewer samples says nothing of memory
SAMPLE_EVERY_S = 10.0
WARM_UP = 0.2  #: of the time; memory is not judged in it
MOST_GROWTH_MB_PER_H = 1.0


@pytest.mark.usefixtures("reaper")
def test_f22_soak(
    begin: Begin, fleet: Fleet, server: Valkey, nightly: bool, pytestconfig: pytest.Config
) -> None:
    if not nightly:
        pytest.skip("with --fault-size nightly only")
    seconds = 60 * float(pytestconfig.getoption("--soak-minutes", 120.0))
    fleet.want(2)
    survivor = fleet.workers[0]  # its memory is watched; the other is killed
    scenario = begin("F22", f"soak of {seconds / 60:.0f} min: workers and broker killed")
    chance, start = random.Random(22), time.monotonic()
    samples: list[tuple[float, float]] = []
    worker_s = min(KILL_WORKER_EVERY_S, seconds / 6)
    broker_s = min(KILL_BROKER_EVERY_S, seconds / 3)
    next_worker, next_broker, next_sample = worker_s, broker_s, 0.0
    while (now := time.monotonic() - start) < seconds:
        scenario.submit(seconds=chance.uniform(0.02, 0.6))
        if now > next_worker:
            victim = fleet.workers[1]
            victim.wait_ready()
            victim.kill_tree()
            fleet.replace(victim)
            scenario.fault()
            next_worker += worker_s
        if now > next_broker:
            server.kill()
            scenario.fault()
            server.start()
            next_broker += broker_s
        if now > next_sample:
            samples.append((now, _memory_mb(survivor.process.pid)))
            next_sample += SAMPLE_EVERY_S
        time.sleep(max(0.0, 1.0 - (time.monotonic() - start - now)))  # one job a second
    scenario.finish(limit_s=180)
    assert survivor.alive
    if seconds < SHORTEST_TO_JUDGE_S:
        return
    late = [sample for sample in samples if sample[0] > WARM_UP * seconds]
    slope, _ = statistics.linear_regression(*zip(*late, strict=True))
    assert 3600 * slope < MOST_GROWTH_MB_PER_H, f"memory grows by {3600 * slope:.1f} MB/h"


def _memory_mb(pid: int) -> float:
    """Return what a worker's main process holds; its children are renewed as they should be."""
    return psutil.Process(pid).memory_info().rss / 1e6
