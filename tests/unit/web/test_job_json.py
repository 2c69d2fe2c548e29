"""A record as clients see it."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import Request

from kiosk_tasks.errors import StorageDenied
from kiosk_tasks.job import new_job
from kiosk_tasks.jobs import find
from kiosk_tasks.ledger import Record
from kiosk_tasks.ledger.records import new_fields
from kiosk_tasks.settings import Settings
from kiosk_tasks.signed_links import Signer
from kiosk_tasks.web.job_json import JobJson, job_json
from kiosk_tasks.web.site import Site

RESULT = "output/1/größe.zip"


def shown(
    *,
    type_name: str = "predict",
    url: str = "file:///secret/place/größe.zip",
    base: str = "http://127.0.0.1:8000",
    **more: str,
) -> JobJson:
    given = {"input_file_name": "uploads/1/a.tif", "original_name": "a.tif", "mpp": "0.5"}
    job = new_job(find(type_name), given, job_id="1")
    storage: Any = SimpleNamespace(url=lambda _key, *, name: answer(url, name))
    site = Site(
        settings=Settings.load(),
        storage=storage,
        ledger=None,  # type: ignore[arg-type]  # not asked
        signer=Signer("s", seconds=60),
        uploads=None,  # type: ignore[arg-type]
    )
    scheme, _, host = base.partition("://")
    scope = {
        "type": "http",
        "scheme": scheme,
        "path": "/jobs/1",
        "query_string": b"",
        "headers": [(b"host", host.encode())],
        "root_path": "",
    }
    record = Record("1", {**new_fields(job, mirror=""), **more})
    return job_json(record, site, Request(scope))


def answer(url: str, name: str) -> str:
    """Return what a bucket says of the result."""
    assert name == "größe.zip"
    if not url:
        raise StorageDenied("these credentials cannot sign.")
    return url


def test_a_bucket_that_cannot_sign_is_read_through_the_service() -> None:
    link = shown(status="done", output_file_name=RESULT, url="").output_url
    assert link is not None
    assert link.startswith("http://127.0.0.1:8000/files/")


def test_a_new_job_has_nothing_yet() -> None:
    job = shown()
    assert job.params == {"mpp": 0.5}
    assert job.units is job.started_at is job.finished_at is job.reason is job.user is None
    assert job.output_url is job.urls.result is job.urls.files is job.urls.view is None
    assert job.urls.events == "/jobs/1/events"
    assert not job.ended


def test_a_running_job_counts() -> None:
    job = shown(status="predicting", progress="25", units_done="3", units_total="12", user="ann")
    assert job.units is not None
    assert (job.units.done, job.units.total, job.progress, job.user) == (3, 12, 25, "ann")


def test_a_job_that_is_done() -> None:
    job = shown(
        status="done",
        output_file_name=RESULT,
        created_at="2026-01-02T03:04:05.5+00:00",
        prediction_time="1.5",
        total_time="2",
    )
    assert job.created_at == "2026-01-02T03:04:05.5Z"
    assert job.seconds == {"predict": 1.5}
    assert job.urls.view == "/jobs/1/view"
    assert job.output_url is not None
    assert job.output_url.startswith("http://127.0.0.1:8000/files/output/1/gr%C3%B6%C3%9Fe.zip?")
    assert "secret" not in json.dumps(job.model_dump(mode="json"))


def test_an_archive_has_files_but_nothing_to_draw() -> None:
    failures = "b.tif=not+an+image&c%26d.tif=empty"
    job = shown(type_name="predict-zip", status="done", output_file_name=RESULT, failures=failures)
    assert job.failures == {"b.tif": "not an image", "c&d.tif": "empty"}
    assert job.urls.files == "/jobs/1/files"
    assert job.urls.overlay is job.urls.view is None


def test_a_failed_job_has_no_result_whatever_its_record_names() -> None:
    job = shown(status="failed", reason="too large", output_file_name=RESULT)
    assert (job.reason, job.ended) == ("too large", True)
    assert job.output_url is job.urls.result is None


def test_a_buckets_own_link_is_passed_on() -> None:
    url = "https://bucket.s3/x.zip?X-Amz-Signature=1"
    assert shown(status="done", output_file_name=RESULT, url=url).output_url == url


@pytest.mark.parametrize(
    ("public", "asked", "link"),
    [
        ("", "http://127.0.0.1:8000", "http://127.0.0.1:8000/"),
        ("https://k.org", "http://127.0.0.1:8000", "https://k.org/"),
        ("https://k.org", "https://k.org", "https://k.org/"),
        ("http://127.0.0.1:8000", "http://localhost:8000", "http://localhost:8000/"),
        ("http://127.0.0.1:8000", "http://192.168.1.5:8000", "http://127.0.0.1:8000/"),
    ],
)
def test_links_lead_where_the_browser_came_from_or_is_meant_to(
    monkeypatch: pytest.MonkeyPatch, public: str, asked: str, link: str
) -> None:
    monkeypatch.setenv("KIOSK_PUBLIC_URL", public)
    url = shown(status="done", output_file_name=RESULT, base=asked).output_url
    assert url is not None
    assert url.startswith(f"{link}files/")
