"""What the doctor says of queues."""

from __future__ import annotations

import pytest

from kiosk_tasks import service
from kiosk_tasks.cli import doctor
from kiosk_tasks.settings import Settings


def test_stages_of_archives_may_have_queues_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "consumers", lambda: {"predict": 2})
    monkeypatch.setenv("KIOSK_STAGE_QUEUES", '{"pack_results": "packing"}')
    said = [finding.text for finding in doctor._workers(Settings.load())]
    assert "queue predict is consumed by 2 worker(s)" in said
    assert any("no worker consumes the queue packing" in text for text in said)


def test_a_queue_without_workers_is_no_mistake_where_they_come_with_the_jobs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "consumers", lambda: {"predict": 2})
    monkeypatch.setenv("KIOSK_AUTOSCALED", "true")
    findings = doctor._workers(Settings.load())
    assert all(finding.ok for finding in findings)
    said = [finding.text for finding in findings]
    assert "queue predict is consumed by 2 worker(s)" in said
    assert "queue track has no worker now; one is started when a job comes" in said
