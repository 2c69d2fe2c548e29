"""The checker itself: each broken promise must be noticed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.faults.conftest import Begin
from tests.faults.fleet import Fleet
from tests.faults.scenario import Scenario
from tests.faults.table import ROWS


def _left_its_end(scenario: Scenario, job: str) -> None:
    _rewrite(scenario, job, status="failed")


def _ended_twice(scenario: Scenario, job: str) -> None:
    _rewrite(scenario, job, finished_at="2020-01-01T00:00:00+00:00")


def _second_output(scenario: Scenario, job: str) -> None:
    scenario.site.bucket.put(f"output/{job}/other.bin", b"")


def _other_bytes(scenario: Scenario, job: str) -> None:
    key = scenario.watcher.ends[job].output
    scenario.site.bucket.delete(key)
    scenario.site.bucket.put(key, b"other")


def _no_output(scenario: Scenario, job: str) -> None:
    scenario.site.bucket.delete(scenario.watcher.ends[job].output)


def _stray_artifact(scenario: Scenario, job: str) -> None:
    folder = scenario.site.folder / "workspace" / job
    folder.mkdir(parents=True)
    (folder / "predict.artifact").touch()


def _stray_message(scenario: Scenario, _: str) -> None:
    with scenario.site.broker() as broker:
        broker.lpush("a-list", "a message")


def _too_many_attempts(scenario: Scenario, job: str) -> None:
    scenario.watcher.stop()
    scenario.watcher.ends[job] = replace(scenario.watcher.ends[job], attempts=5)


BREAKS: dict[str, Callable[[Scenario, str], None]] = {
    "I2": _left_its_end,
    "I2 .*2020": _ended_twice,
    "I3 .* has the outputs .*other": _second_output,
    "I3 the output of": _other_bytes,
    r"I3 .* has the outputs \[\]": _no_output,
    "I4": _stray_message,
    "I5": _stray_artifact,
    "I6": _too_many_attempts,
}


@pytest.mark.parametrize("noticed", BREAKS)
def test_broken_promise_is_noticed(
    begin: Begin, fleet: Fleet, monkeypatch: pytest.MonkeyPatch, noticed: str
) -> None:
    monkeypatch.setattr("tests.faults.scenario._SETTLE_LIMIT_S", 0.5)
    fleet.want(1)
    scenario = begin("self-test", "the checker")
    (job,) = scenario.submit()
    assert scenario.wait_ended(30)
    BREAKS[noticed](scenario, job)
    with pytest.raises(AssertionError, match=noticed):
        scenario.finish()
    ROWS.pop()
    scenario.site.empty()
    scenario.sound = True


def test_job_without_an_end_is_noticed(
    begin: Begin, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.have()
    scenario = begin("self-test", "the checker")
    scenario.submit()
    monkeypatch.setattr("tests.faults.scenario._SETTLE_LIMIT_S", 0.5)
    with pytest.raises(AssertionError, match="I1"):
        scenario.finish(limit_s=0.5)
    assert ROWS.pop().lost == 1


def _rewrite(scenario: Scenario, job: str, **fields: str) -> None:
    site = scenario.site
    with site.valkey.client(site.database + 1) as ledger:
        ledger.hset(f"{scenario.client.settings.key_prefix}job:{job}", mapping=fields)
