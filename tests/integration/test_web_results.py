"""Results over HTTP: whole, by file, by range; what a client is told where there is none."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest

from tests.conftest import Broker
from tests.web_service import WebService, packed, web_service

PNG = b"\x89PNG\r\n\x1a\n" + bytes(99)
FILES = {
    "n_labels.ome.tif": bytes(range(256)) * 9000,
    "n_overlay.png": PNG,
    "n_cells.csv": b"label,y,x\n1,2,3\n",
    "n_report.html": b"<script>alert(1)</script>",
}


@pytest.fixture
def web(broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebService]:
    with web_service(broker, tmp_path, monkeypatch) as service:
        yield service


@pytest.fixture
def done(web: WebService) -> str:
    """A job that is done; its result is `FILES`."""
    job_id = web.submit()
    web.finish(job_id, result=packed(FILES))
    return job_id


def test_the_whole_result_is_named_after_the_input(web: WebService, done: str) -> None:
    answer = web.http.get(f"/jobs/{done}/result")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"].startswith('attachment; filename="n.zip"')
    with zipfile.ZipFile(BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert [*FILES, "n_job.json"] == archive.namelist()


def test_a_download_that_broke_off_goes_on_where_it_was(web: WebService, done: str) -> None:
    whole = web.http.get(f"/jobs/{done}/result")
    had = whole.content[:1_000_003]
    headers = {"Range": f"bytes={len(had)}-", "If-Range": whole.headers["etag"]}
    rest = web.http.get(f"/jobs/{done}/result", headers=headers)
    assert rest.status_code == 206
    assert had + rest.content == whole.content


def test_files_are_listed_and_each_comes_with_its_bytes(web: WebService, done: str) -> None:
    listed = web.http.get(f"/jobs/{done}/files").json()["files"]
    assert [(one["name"], one["bytes"]) for one in listed][:-1] == [
        (name, len(data)) for name, data in FILES.items()
    ]
    for one, data in zip(listed, FILES.values(), strict=False):
        answer = web.http.get(one["url"])
        assert answer.content == data
        assert answer.headers["content-type"] == one["media_type"]
    part = web.http.get(listed[0]["url"], headers={"Range": "bytes=300-309"})
    assert (part.status_code, part.content) == (206, FILES["n_labels.ome.tif"][300:310])


def test_a_browser_shows_pictures_and_runs_nothing(web: WebService, done: str) -> None:
    table, page = (web.http.get(f"/jobs/{done}/files/n_{e}") for e in ("cells.csv", "report.html"))
    assert table.headers["content-type"] == "text/csv; charset=utf-8"
    assert page.headers["content-type"] == "application/octet-stream"
    for answer in (table, page):
        assert answer.headers["content-disposition"].startswith("attachment")
        assert answer.headers["x-content-type-options"] == "nosniff"
    picture = web.http.get(f"/jobs/{done}/overlay.png")
    assert (picture.content, picture.headers["content-type"]) == (PNG, "image/png")
    assert picture.headers["content-disposition"].startswith("inline")


def test_what_a_client_has_is_not_sent_again(web: WebService, done: str) -> None:
    for path in ("result", "overlay.png", "files/n_cells.csv"):
        first = web.http.get(f"/jobs/{done}/{path}")
        assert "private" in first.headers["cache-control"]
        headers = {"If-None-Match": first.headers["etag"]}
        again = web.http.get(f"/jobs/{done}/{path}", headers=headers)
        assert (again.status_code, again.content) == (304, b"")
    other = web.submit()
    web.finish(other, result=packed({**FILES, "n_overlay.png": PNG + b"x"}))
    answer = web.http.get(f"/jobs/{other}/overlay.png", headers=headers)
    assert answer.status_code == 200


@pytest.mark.parametrize("path", ["result", "files", "files/n_cells.csv", "overlay.png"])
def test_where_there_is_no_result_a_sentence_says_why(web: WebService, path: str) -> None:
    waits, failed, lost = web.submit(), web.submit("dark.tif"), web.submit()
    web.finish(failed, reason="Traceback…\nthe image is constant.")
    key = web.finish(lost, result=packed(FILES))
    web.bucket.delete(key)
    expected = {
        waits: ("NoResult", "no result yet: it is new, 0 %"),
        failed: ("NoResult", "the image is constant."),
        lost: ("NoResult", "gone from the bucket"),
        "0" * 32: ("UnknownJob", "it may have expired"),
    }
    for job_id, (kind, said) in expected.items():
        answer = web.http.get(f"/jobs/{job_id}/{path}")
        assert answer.status_code == 404
        assert answer.json()["error"] == kind
        assert said in answer.json()["message"]
        assert "Traceback" not in answer.text


def test_a_file_that_the_result_has_not_is_404(web: WebService, done: str) -> None:
    for name in ("none.csv", "../../secret", "n_labels.ome.tif/", "%00"):
        answer = web.http.get(f"/jobs/{done}/files/{quote(name, safe='')}")
        assert answer.status_code == 404, name
        assert answer.json()["error"] == "NoResult"


def test_names_of_all_alphabets_come_back(web: WebService) -> None:
    names = ["plate 1/a#b?c%d.csv", "клетка/β_cells.csv", "1:2.csv", "細胞.csv"]
    job_id = web.submit()
    web.finish(job_id, result=packed({name: name.encode() for name in names}))
    for one in web.http.get(f"/jobs/{job_id}/files").json()["files"][:-1]:
        assert web.http.get(one["url"]).content.decode() == one["name"]


def test_a_result_that_is_no_archive_is_its_own_only_file(web: WebService) -> None:
    job_id = web.submit()
    web.finish(job_id, result=b"II*\0abc", key=f"output/{job_id}/n.tif")
    (one,) = web.http.get(f"/jobs/{job_id}/files").json()["files"]
    assert (one["name"], one["media_type"]) == ("n.tif", "image/tiff")
    assert web.http.get(one["url"]).content == b"II*\0abc"
    assert web.http.get(f"/jobs/{job_id}/result").content == b"II*\0abc"
    assert "no overlay" in web.http.get(f"/jobs/{job_id}/overlay.png").json()["message"]


def test_an_archive_of_many_images_has_no_overlay_of_its_own(web: WebService) -> None:
    job_id = web.submit("plate.zip", type_name="predict-zip")
    web.finish(job_id, result=packed(FILES))
    answer = web.http.get(f"/jobs/{job_id}/overlay.png")
    assert answer.status_code == 404
    assert "/files lists" in answer.json()["message"]


def test_a_local_bucket_has_no_link_to_send_a_client_to(web: WebService, done: str) -> None:
    answer = web.http.get(f"/jobs/{done}/result?redirect=1")
    assert answer.status_code == 200


def test_a_bucket_in_the_cloud_has_a_link_and_sends_its_bytes_too(
    web: WebService, done: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def url(key: str, *, name: str | None = None) -> str:
        return f"https://bucket.example.org/{key}?name={name}&signature=1"

    monkeypatch.setattr(web.bucket, "url", url)
    answer = web.http.get(f"/jobs/{done}/result?redirect=1")
    assert answer.status_code == 307
    assert answer.headers["location"] == (
        f"https://bucket.example.org/output/{done}/n.zip?name=n.zip&signature=1"
    )
    assert web.http.get(f"/jobs/{done}/result").content.startswith(b"PK")


def test_a_large_result_costs_no_memory(web: WebService, tmp_path: Path) -> None:
    size = 400 * 2**20
    job_id = web.submit()
    key = web.finish(job_id, result=packed({}))
    whole = tmp_path / "bucket" / key
    with whole.open("r+b") as file:  # a hole; nothing is written
        file.truncate(size)
    before = psutil.Process().memory_info().rss
    most = got = 0
    with web.http.stream("GET", f"/jobs/{job_id}/result") as answer:
        for chunk in answer.iter_bytes(2**20):
            got += len(chunk)
            most = max(most, psutil.Process().memory_info().rss)
    assert got == size
    assert most - before < 60 * 2**20
