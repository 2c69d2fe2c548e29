"""Time: jobs longer than the broker's patience, and a worker whose clock is wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.faults.client import Client, client_of
from tests.faults.conftest import Begin
from tests.faults.fleet import PLAIN, Fleet, Kind, Reaper, Worker
from tests.faults.scenario import Scenario
from tests.faults.site import Site, new_site, startup
from tests.faults.valkey import Valkey

Size = Callable[[Any, Any], Any]

PATIENCE_S = 4.0  # the visibility timeout of F18
SKEW_S = 600
SWEEP_S = 10.0  # the broker's clients look for messages to restore this often


@pytest.fixture
def impatient(server: Valkey, tmp_path: Path) -> Iterator[tuple[Site, Client, Fleet]]:
    """A site whose messages are given to another worker after `PATIENCE_S` without a sign."""
    site = new_site(tmp_path / "site", server, database=2, KIOSK_VISIBILITY_TIMEOUT=str(PATIENCE_S))
    fleet, reaper = Fleet(site), Reaper(site)
    try:
        with client_of(site) as client:
            yield site, client, fleet
        reaper.check()
    finally:
        fleet.stop()
        reaper.stop()


def test_f18_longer_than_the_visibility_timeout(
    impatient: tuple[Site, Client, Fleet], fleet: Fleet, size: Size
) -> None:
    fleet.want(0)  # of the shared site: two cores
    site, client, own = impatient
    own.want(2)
    scenario = Scenario("F18", "jobs 3.5 × longer than the visibility timeout", client)
    seconds = PATIENCE_S + SWEEP_S  # every run sees a sweep that could restore it
    scenario.submit(size(2, 6), seconds=seconds, steps=100)
    scenario.submit(4, seconds=0.1)
    scenario.fault(size(2, 6))
    oldest_s = 0.0
    with site.broker() as broker:
        while scenario.watcher.open_count():
            keys = [key for key in broker.scan_iter("*unacked_index*")]
            for key in keys:
                for _, delivered in broker.zrange(key, 0, 0, withscores=True):
                    oldest_s = max(oldest_s, time.time() - float(delivered))
            time.sleep(0.2)  # between two looks
    scenario.finish(limit_s=60, max_reruns=0)
    assert 0 < oldest_s < PATIENCE_S, "a message was about to be restored, or never seen"


def test_f18_while_a_worker_waits_for_its_jobs(
    impatient: tuple[Site, Client, Fleet], fleet: Fleet
) -> None:
    """Without REMAP_SIGTERM a worker takes no more, but what it runs is still its own."""
    fleet.want(0)  # of the shared site: two cores
    site, client, own = impatient
    (leaving,) = own.have(Kind(children=1, env={"REMAP_SIGTERM": ""}))
    scenario = Scenario("F18", "worker told to stop runs on past the visibility timeout", client)
    jobs = scenario.submit(1, seconds=PATIENCE_S + SWEEP_S, steps=100)
    scenario.wait_running(jobs, 1)
    leaving.terminate()
    scenario.fault()
    own.workers.append(Worker(site, PLAIN))
    own.workers[-1].wait_ready()
    assert leaving.alive, "it did not wait"
    scenario.submit(2, seconds=0.1)
    scenario.finish(limit_s=60, max_reruns=0)
    assert leaving.wait_gone() == 0


@pytest.mark.usefixtures("reaper")
def test_f21_wrong_clocks(begin: Begin, fleet: Fleet, site: Site, size: Size) -> None:
    """Workers ten minutes off take nothing from another, and lose nothing to it."""
    scenario = begin("F21", f"workers' clocks {SKEW_S} s ahead and behind")
    fleet.have(PLAIN, *(Kind(env=_skewed(site, skew)) for skew in (SKEW_S, -SKEW_S)))
    scenario.fault(2)
    scenario.submit(6, seconds=SWEEP_S + 2.0, steps=60)
    scenario.submit(size(30, 50), seconds=0.1)
    scenario.finish(limit_s=90, max_reruns=0)
    assert all(end.attempts == 1 for end in scenario.watcher.ends.values())
    ended = [datetime.fromisoformat(end.finished_at) for end in scenario.watcher.ends.values()]
    assert max(ended) - min(ended) > timedelta(seconds=1.5 * SKEW_S), "the clocks were not wrong"


def _skewed(site: Site, skew_s: int) -> dict[str, str]:
    return startup(site, "skewed_clock", FAULT_CLOCK_SKEW=str(skew_s))
