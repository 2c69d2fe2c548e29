"""Inputs that would take the worker down, inputs that are broken, and runs that never end."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from kiosk_tasks.ledger import Record
from tests.faults.conftest import Begin
from tests.faults.fleet import Fleet, Kind, Worker
from tests.faults.hostile import DAMAGED, FOLDER, HARMFUL, MORE_HARMFUL, SOUND, Input, lay_out
from tests.faults.scenario import Scenario
from tests.faults.site import Site

pytestmark = pytest.mark.usefixtures("reaper")

Size = Callable[[Any, Any], Any]

STEADY = Kind(options=("--max-tasks-per-child", "100000"))  # a child that ends has died
LIMITS_S = {"soft_time_limit": 2, "time_limit": 3}
_NOT_FOR_PEOPLE = re.compile(
    r"Traceback|unforeseen|\b\w+(Error|Exception|Exceeded)\b|<class|0x[0-9a-f]{6}|\n"
)


@pytest.fixture
def worker(fleet: Fleet) -> Iterator[Worker]:
    """A worker that must be the same afterwards."""
    (one,) = fleet.have(STEADY)
    yield one
    fleet.site.bucket.delete_all(FOLDER)
    assert fleet.exits() == []


@pytest.mark.parametrize(
    ("what", "harmful", "growth"),
    [
        ("MemoryError, giant headers, bombs, traversal, pickles", HARMFUL, 1.5),
        # image files may have 16 MiB of metadata, which are read before they are refused
        ("every other trap for the readers of images", MORE_HARMFUL, 1.75),
    ],
    ids=["harmful", "traps"],
)
def test_f11_harmful_inputs(
    begin: Begin, worker: Worker, size: Size, what: str, harmful: list[Input], growth: float
) -> None:
    """growth: of a child's memory at its highest, over that after good jobs."""
    scenario = begin("F11", what)
    lay_out([*SOUND, *harmful], scenario.site.bucket)
    children = _warm_up(scenario, worker)
    memory = [_Memory(child) for child in children]
    bad = []
    for _ in range(size(1, 10)):
        bad += scenario.submit(job_type="file", act="memory", **SOUND[0].job)
        bad += scenario.submit(act="memory")
        for one, sound in zip(harmful, SOUND * len(harmful), strict=False):
            bad += scenario.submit(job_type="file", original_name=one.name, **one.job)
            scenario.submit(job_type="file", **sound.job)
    scenario.fault(len(bad))
    scenario.finish(failed=bad, max_reruns=0)
    assert worker.children() == children
    assert max(one.peak / one.before for one in memory) < growth
    for job in bad:
        record = scenario.client.ledger.record(job)
        assert _seconds(record) < 5, record
        _check_reason(record)


def test_f12_damaged_inputs(begin: Begin, worker: Worker, site: Site) -> None:
    scenario = begin("F12", "damaged files, NaN, no pixels, wrong axes")
    lay_out([*SOUND, *DAMAGED], site.bucket)
    children = worker.children()
    bad = []
    for one, sound in zip(DAMAGED, SOUND * len(DAMAGED), strict=False):
        bad += scenario.submit(job_type="file", original_name=one.name, **one.job)
        scenario.submit(job_type="file", **sound.job)
    scenario.fault(len(bad))
    scenario.finish(failed=bad, max_reruns=0)
    assert worker.children() == children
    for job in bad:
        record = scenario.client.ledger.record(job)
        assert (record.attempts, record.retries) == (1, 0)
        _check_reason(record)


@pytest.mark.parametrize("act", ["hang", "stop"])
def test_run_that_never_ends(begin: Begin, worker: Worker, size: Size, act: str) -> None:
    """hang: the soft limit ends it. stop: it does not hear of it, and its process is killed."""
    what = {"hang": "hangs, and hears its soft time limit", "stop": "is frozen until its hard one"}
    scenario = begin("limit", f"a run that {what[act]}")
    bad = []
    for _ in range(size(1, 10)):
        given: dict[str, Any] = {"number": len(scenario.jobs), "act": act, "scratch": True}
        bad.append(scenario.client.submit("fault", options=LIMITS_S, **given))
        scenario.accept(bad[-1], **given)
        scenario.submit(5, seconds=0.1)
    scenario.wait_running(bad, 1)
    scenario.fault(len(bad))
    scenario.wait_ended(60)
    scenario.wait(lambda: len(worker.children()) == STEADY.children, what="the pool is whole")
    scenario.wait(lambda: not scenario.site.leftovers(), what="scratch is swept")
    scenario.finish(failed=bad, max_reruns=0, max_recovery_s=size(8, 60))
    for job in bad:
        record = scenario.client.ledger.record(job)
        assert _seconds(record) < 8
        assert "took longer than" in _check_reason(record)


class _Memory:
    """Resident memory of a process: before, and at its highest since then, bytes."""

    def __init__(self, process: psutil.Process) -> None:
        self.before: int = process.memory_info().rss
        self._folder = Path("/proc", str(process.pid))
        if not (self._folder / "clear_refs").exists():
            pytest.skip("only Linux tells the highest memory of a process")
        (self._folder / "clear_refs").write_text("5")  # forget the highest

    @property
    def peak(self) -> int:
        found = re.search(r"VmHWM:\s+(\d+) kB", (self._folder / "status").read_text())
        assert found
        return 1024 * int(found[1])


def _warm_up(scenario: Scenario, worker: Worker) -> list[psutil.Process]:
    """Let every child of the pool run good jobs of all kinds; return the children."""
    children = worker.children()
    while len(_ran(scenario)) < len(children):
        for sound in SOUND * 3:
            scenario.submit(job_type="file", seconds=0.05, **sound.job)
        assert scenario.wait_ended(30)
    return children


def _ran(scenario: Scenario) -> set[str]:
    """Return the processes that ran this scenario's jobs."""
    lines = scenario.site.runs.read_text().splitlines() if scenario.site.runs.exists() else []
    return {line.split()[2] for line in lines if line.split()[1] in scenario.jobs}


def _seconds(record: Record) -> float:
    """From the start of a job to its end."""
    started, finished = (
        datetime.fromisoformat(record.fields[name]) for name in ("started_at", "finished_at")
    )
    return (finished - started).total_seconds()


def _check_reason(record: Record) -> str:
    """Hold a job's reason to what a person can use; return it."""
    reason = record.fields["reason"]
    assert not _NOT_FOR_PEOPLE.search(reason), reason
    assert reason.endswith("."), reason
    assert len(reason) < 400, reason
    return reason
