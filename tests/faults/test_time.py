"""Time: jobs longer than the broker's patience, and a worker whose clock is wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.client import Client, client_of
from tests.faults.conftest import Begin
from tests.faults.fleet import Fleet, Reaper, Worker
from tests.faults.scenario import Scenario
from tests.faults.site import Site, new_site, startup
from tests.faults.valkey import Valkey

Size = Callable[[Any, Any], Any]

PATIENCE_S = 4.0  # the visibility timeout of F18
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


@pytest.mark.usefixtures("reaper")
@pytest.mark.parametrize("skew_s", [600, -600], ids=["ahead", "behind"])
def test_f21_wrong_clock(begin: Begin, fleet: Fleet, site: Site, size: Size, skew_s: int) -> None:
    """A worker ten minutes off takes nothing from another, and loses nothing to it."""
    scenario = begin("F21", f"one worker's clock {skew_s:+d} s off")
    fleet.only()
    skewed = startup(site, "skewed_clock", FAULT_CLOCK_SKEW=str(skew_s))
    fleet.only(Worker(site), Worker(site, env=skewed))
    scenario.fault()
    scenario.submit(4, seconds=SWEEP_S + 2.0, steps=60)
    scenario.submit(size(30, 50), seconds=0.1)
    scenario.finish(limit_s=90, max_reruns=0)
    assert all(end.attempts == 1 for end in scenario.watcher.ends.values())
    fleet.only()
