"""The web service over a real broker and a bucket in a folder; the test itself plays the worker."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from kiosk_tasks.job import Status, new_job
from kiosk_tasks.jobs import find
from kiosk_tasks.ledger import Claim, Ledger
from kiosk_tasks.ports import Storage
from kiosk_tasks.run.links import ADMIT, lane_of
from kiosk_tasks.settings import Settings
from kiosk_tasks.web.app import create_app
from kiosk_tasks.wiring import adapters
from tests.conftest import Broker
from tests.served import served

__all__ = ["WebService", "packed", "web_service"]


@dataclass(frozen=True)
class WebService:
    """A running service, and what a worker does with its jobs."""

    url: str
    http: httpx.Client
    ledger: Ledger
    bucket: Storage

    def submit(self, name: str = "n.tif", *, type_name: str = "predict") -> str:
        """Write a job's record; return the job's id."""
        fields = {"input_file_name": f"uploads/1/{name}", "original_name": name}
        job = new_job(find(type_name), fields)
        assert self.ledger.submit(job, lane=lane_of(find(type_name).queue, ADMIT))
        return job.id

    def claim(self, job_id: str) -> Claim:
        """Begin to run a job."""
        claim = self.ledger.claim(job_id, stage_index=0)
        assert claim is not None
        return claim

    def finish(
        self, job_id: str, *, result: bytes | None = None, key: str = "", reason: str = ""
    ) -> str:
        """End a job: done with a result, else failed; return the result's key."""
        key = key or f"output/{job_id}/n.zip"
        if result is None:
            self.ledger.finish(job_id, Status.FAILED, {"reason": reason})
        else:
            self.bucket.put(key, result)
            url = self.bucket.url(key)
            done = {"output_file_name": key, "output_url": url, "progress": "100"}
            self.ledger.finish(job_id, Status.DONE, done)
        return key


@contextmanager
def web_service(
    broker: Broker, folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: str
) -> Iterator[WebService]:
    """Serve with these settings, by the names of their variables without KIOSK_."""
    given = {
        "BROKER_URL": broker.url,
        "KEY_PREFIX": broker.prefix,
        "BUCKET": (folder / "bucket").as_uri(),
        **settings,
    }
    for name, value in given.items():
        monkeypatch.setenv(f"KIOSK_{name}", value)
    outside = adapters()
    with (
        served(create_app(Settings.load(), outside=outside)) as url,
        httpx.Client(base_url=url, trust_env=False, timeout=20) as http,
    ):
        yield WebService(url, http, outside.ledger, outside.storage)


def packed(files: Mapping[str, bytes]) -> bytes:
    """Return a result as workers write it."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        for name, data in {**files, "n_job.json": json.dumps({}).encode()}.items():
            archive.writestr(name, data)
    return made.getvalue()
