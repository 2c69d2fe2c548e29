"""The old frontend's API over HTTP, where a test plays the worker."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4
from zipfile import ZipFile

import pytest

from kiosk_tasks.bridge import job_id_of
from kiosk_tasks.job import Status, new_job
from kiosk_tasks.jobs import find
from tests.conftest import Broker
from tests.s3_server import bucket_url, s3_server
from tests.web_service import WebService, packed, web_service

RESULT = packed({"n_labels.ome.tif": b"labels"})


@pytest.fixture
def web(broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebService]:
    with web_service(broker, tmp_path, monkeypatch) as service:
        yield service


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3_server(tmp_path_factory.mktemp("s3") / "log") as url:
        yield url


def read(web: WebService, key: str, field: Any) -> Any:
    """Poll as a client does."""
    return web.http.post("/api/redis", json={"hash": key, "key": field}).json()["value"]


def test_result_has_an_address_that_ends_in_its_name(web: WebService) -> None:
    """The Python client calls its copy so; a query behind it would be part of the name."""
    job = web.submit()
    assert read(web, job, "output_url") is None
    web.finish(job, result=RESULT)
    url = read(web, job, "output_url")
    assert url.startswith(f"{web.url}/api/files/")
    assert urlsplit(url).query == ""
    assert url.rpartition("/")[2] == "n.zip"
    with ZipFile(BytesIO(web.http.get(url).content)) as archive:
        assert archive.read("n_labels.ome.tif") == b"labels"
    for wrong in (url.replace("/n.zip", "/m.zip"), url.replace("/api/files/", "/api/files/1")):
        assert web.http.get(wrong).status_code == 403


def test_result_in_a_cloud_bucket_is_behind_the_same_kind_of_address(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, s3: str
) -> None:
    bucket = bucket_url(s3, monkeypatch)
    with web_service(broker, tmp_path, monkeypatch, BUCKET=bucket) as web:
        job = web.submit()
        web.finish(job, result=RESULT)
        url = read(web, job, "output_url")
        assert url.rpartition("/")[2] == "n.zip"
        signed = web.http.get(url)
        assert signed.status_code == 302
        assert signed.headers["location"].startswith(s3)
        assert web.http.get(url, follow_redirects=True).content == RESULT


def test_cancelled_job_has_failed_for_a_client_that_knows_no_other_word(web: WebService) -> None:
    job = web.submit()
    web.ledger.finish(job, Status.CANCELLED, {"reason": "it was cancelled."})
    assert read(web, job, ["status", "reason"]) == ["failed", "it was cancelled."]
    assert web.http.post("/api/status/", json={"hash": job}).json() == {"status": "failed"}


def test_a_job_of_a_frontend_is_found_by_its_key(web: WebService) -> None:
    key = f"segmentation:n.tif:{uuid4()}"
    fields = {"input_file_name": "uploads/n.tif"}
    web.ledger.submit(new_job(find("segmentation"), fields, job_id=job_id_of(key)), lane="lane")
    assert read(web, key, ["status", "original_name"]) == ["new", "n.tif"]


def test_clients_read_nothing_that_is_not_for_them(web: WebService) -> None:
    job = web.submit()
    claim = web.claim(job)
    fields = ["token", "submission", "lane", "params", "artifact", "mirror", "note:x"]
    assert claim.record.fields["token"]
    assert read(web, job, fields) == [None] * len(fields)
    assert read(web, f"x{web.ledger.scripts.prefix}job:{job}", "status") is None


def test_expiry_is_the_clients_but_for_a_job_that_runs(web: WebService, broker: Broker) -> None:
    job = web.submit()
    name = f"{broker.prefix}job:{job}"

    def expire(seconds: Any) -> tuple[int, Any]:
        body = {"hash": job, "expireIn": seconds}
        answer = web.http.post("/api/redis/expire", json=body)
        return answer.status_code, answer.json().get("value")

    assert expire(0) == (200, 1)
    assert broker.client.ttl(name) == -1
    web.finish(job, result=RESULT)
    assert expire("100") == (200, 1)
    assert 0 < int(broker.client.ttl(name)) <= 100
    assert expire(1e18) == (200, 1)
    assert 100 < int(broker.client.ttl(name)) <= web.ledger.expires_s
    for nonsense in ("", "soon", "inf", "nan"):
        assert expire(nonsense)[0] == 400
    assert expire(None)[0] == 400
    assert expire(-5) == (200, 1)
    assert expire(3600) == (404, 0)


NO_REQUESTS = {
    b"": "no JSON",
    b"\xff": "no JSON",
    b"[" * 50_000: "no JSON",
    b'"text"': "JSON object",
    b'{"hash": 1}': "no 'hash'",
    b'{"hash": "' + b"x" * 2**16 + b'"}': "too long",
}
NOBODYS_KEYS = ("\ud800", "a:\udfff", "\0", "a" * 1000, "*", "job:x")


def test_requests_that_are_none_and_keys_that_nobody_has(web: WebService) -> None:
    for content, sentence in NO_REQUESTS.items():
        answer = web.http.post("/api/status", content=content)
        assert (answer.status_code, sentence in answer.json()["message"]) == (400, True)
    for key in NOBODYS_KEYS:
        content = f'{{"hash": {_json(key)}}}'.encode("ascii")
        answer = web.http.post("/api/status", content=content)
        assert (answer.status_code, answer.json()) == (200, {"status": None})


def _json(text: str) -> str:
    return '"' + "".join(f"\\u{ord(letter):04x}" for letter in text) + '"'


def test_upload_that_is_none(web: WebService) -> None:
    for content in ({"data": {"a": "b"}}, {"files": {"other": ("x.tif", b"x")}}):
        assert web.http.post("/api/upload", **content).status_code == 400
    assert list(web.bucket.list()) == []


def test_two_uploads_of_one_file_have_keys_of_their_own(web: WebService) -> None:
    files = {"file": ("folder/x y.tif", b"pixels")}
    first, second = (web.http.post("/api/upload/", files=files).json() for _ in range(2))
    assert first["uploadedName"] != second["uploadedName"]
    assert web.bucket.get(first["uploadedName"]) == b"pixels"
    assert web.http.get(first["imageURL"]).content == b"pixels"
