"""Movies whose frames are jobs of their own: the parent goes on once, whatever dies meanwhile."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from kiosk_tasks.job import Status
from kiosk_tasks.service import cancel
from tests.faults.conftest import Begin
from tests.faults.fleet import Fleet, Kind, Reaper
from tests.faults.site import Site

pytestmark = pytest.mark.usefixtures("reaper")

Size = Callable[[Any, Any], Any]


def test_f15_fan_out(begin: Begin, fleet: Fleet, size: Size) -> None:
    fleet.want(2)
    scenario = begin("F15", "fan-out; a frame fails in some")
    movies, frames = size((4, 60), (20, 1000))
    scenario.submit(movies, job_type="movie", frames=frames, seconds=0.01)
    scenario.submit(1, job_type="movie", frames=0)
    bad = scenario.submit(2, job_type="movie", frames=20, seconds=0.01, bad=7)
    scenario.fault(2)
    scenario.finish(limit_s=size(90, 900), failed=bad, max_reruns=0)
    for job in bad:
        reason = scenario.client.ledger.record(job).fields["reason"]
        assert reason == "frames failed: frame7.bin (nothing can be found in it.)"


def test_f15_workers_killed_during_the_fan_out(begin: Begin, fleet: Fleet, size: Size) -> None:
    fleet.want(2)
    scenario = begin("F15", "SIGKILL a child or a worker during the fan-out")
    chance = random.Random(15)
    jobs = scenario.submit(
        size(3, 20), job_type="movie", frames=size(30, 200), seconds=0.05, gather_seconds=1.0
    )
    for number in range(size(4, 20)):
        begun = sum(scenario.site.count_runs()[0].values())
        scenario.wait(
            lambda begun=begun: (
                sum(scenario.site.count_runs()[0].values()) > begun + 5
                or not scenario.watcher.open_count()
            ),
            what="frames are run",
        )
        victim = fleet.workers[number % 2]
        victim.wait_ready()
        if number % 2:
            scenario.fault(victim.kill_child(chance))
        else:
            victim.kill_tree()
            scenario.fault()
            fleet.replace(victim)
    scenario.finish(limit_s=size(90, 600))
    _, ended = scenario.site.count_runs()
    assert {ended[job] for job in jobs} == {1}


def test_f15_last_frame_is_lost(begin: Begin, fleet: Fleet, reaper: Reaper, site: Site) -> None:
    """The message of the last frame vanishes; so does the one that would wake the parent."""
    scenario = begin("F15", "message of the last frame, and of the parent, lost")
    fleet.have()
    (job,) = scenario.submit(1, job_type="movie", frames=12, seconds=0.01)
    with reaper.frozen():
        (worker,) = fleet.want(1, Kind(children=1))
        scenario.wait(lambda: len(scenario.client.ledger.children(job)) == 12)
        worker.kill_tree()
        with site.broker() as broker:
            broker.flushdb()
        scenario.fault()
    fleet.want(1, Kind(children=1))
    scenario.wait(lambda: scenario.client.ledger.record(job).progress >= 50)
    with reaper.frozen(), site.broker() as broker:
        scenario.wait(lambda: scenario.client.ledger.record(job).progress >= 50)
        broker.flushdb()
        scenario.fault()
    scenario.finish(limit_s=60, max_recovery_s=60)


def test_cancelled_parent_takes_its_frames_along(begin: Begin, fleet: Fleet) -> None:
    fleet.want(2)
    scenario = begin("cancel", "a parent of 100 frames")
    (job,) = scenario.submit(1, job_type="movie", frames=100, seconds=0.2)
    ledger = scenario.client.ledger
    scenario.wait(lambda: ledger.record(job).status is Status.WAITING)
    assert cancel(job)
    children = ledger.records(ledger.children(job))
    assert len(children) == 100
    assert all(child.status.terminal for child in children)
    assert sum(child.status is Status.CANCELLED for child in children) > 50
    scenario.finish(cancelled=[job], limit_s=20)
