"""Cancelling: a job that waits never starts, one that runs stops soon, neither leaves anything."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from kiosk_tasks.service import cancel
from tests.faults.conftest import Begin
from tests.faults.fleet import Fleet, Kind
from tests.faults.site import Site

pytestmark = pytest.mark.usefixtures("reaper")

Size = Callable[[Any, Any], Any]
_SOON_S = 2.0
"""A running job stops between two of its steps within that time."""


def test_waiting_jobs_never_start(begin: Begin, fleet: Fleet) -> None:
    fleet.have()
    scenario = begin("cancel", "jobs that wait")
    jobs = scenario.submit(30)
    assert all(cancel(job) for job in jobs[::2])
    assert not any(cancel(job) for job in jobs[::2])
    fleet.want(2)
    scenario.finish(cancelled=jobs[::2], max_reruns=0)
    assert [scenario.started(job) for job in jobs[::2]] == [0] * 15


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_running_job_stops(begin: Begin, fleet: Fleet, site: Site, pool: str) -> None:
    scenario = begin("cancel", f"jobs that run ({pool} pool)")
    fleet.have(Kind(options=("--pool", pool)))
    for _ in range(2):
        (job,) = scenario.submit(1, seconds=60, steps=600)
        scenario.wait_running([job], 1)
        assert cancel(job)
        (after,) = scenario.submit(1)
        began = time.monotonic()
        if pool == "solo":  # nothing else runs until it has stopped
            scenario.wait(lambda after=after: scenario.started(after), what="it stopped")
            assert time.monotonic() - began < _SOON_S
        scenario.wait(lambda job=job: _left(site, job), limit_s=_SOON_S, what="it stopped")
    cancelled = [job for job, params in scenario.jobs.items() if "steps" in params]
    scenario.finish(cancelled=cancelled, max_reruns=0)
    _, ended = site.count_runs()
    assert [ended[job] for job in cancelled] == [0, 0]


def _left(site: Site, job: str) -> bool:
    """Tell whether a worker has said that it left the job."""
    return any(f"left job_id={job}" in log.read_text() for log in site.folder.glob("w*.log"))
