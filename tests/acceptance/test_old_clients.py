"""The old Kiosk's Python client, as it is published, and the calls of its ImageJ plugin."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import httpx
import numpy as np
import pytest
import tifffile

from kiosk_tasks.imaging import io
from kiosk_tasks.storage.local import LocalStorage
from models.multiplex.tissue import draw_tissue
from models.nuclear.scoring import count_matches
from tests.acceptance.conftest import SAMPLES
from tests.conftest import wait_for
from tests.kiosk_up import Kiosk
from tests.processes import child
from tests.simulated_movies import MovieParams, simulate

NUCLEI = SAMPLES / "nuclei_512.tif"
SUMMARY = (
    *("status", "created_at", "finished_at", "download_url", "total_time", "upload_time"),
    *("prediction_time", "postprocess_time", "predict_retries", "job_id"),
)
"""What the Python client writes into its report of each job."""
OLD_NAMES = ("image", "segmentation", "tracking", "caliban", "multiplex", "mesmer", "polaris")

LIMIT_S = 180.0


@dataclass(frozen=True)
class Finished:
    """What the Python client has left: its report of the one job, and the result it fetched."""

    report: Mapping[str, Any]
    files: Mapping[str, bytes]

    def labels(self, end: str) -> Any:
        """Return the pixels of the one file whose name ends so."""
        (data,) = (data for name, data in self.files.items() if name.endswith(end))
        return tifffile.imread(BytesIO(data))


def python_client(
    file: Path, job_type: str, host: str, folder: Path, *options: str
) -> subprocess.CompletedProcess[str]:
    """Run `python -m kiosk_client` as a person does, in a folder of its own."""
    folder.mkdir()
    often = ["--update-interval", "1", "--refresh-rate", "1", "--start-delay", "0"]
    asked = [str(file), "-j", job_type, "-t", host, "--output-dir", str(folder)]
    return subprocess.run(
        [sys.executable, "-m", "kiosk_client", *asked, *often, *options],
        cwd=folder,
        env={**os.environ, "LOG_FILE": str(folder / "client.log")},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def finished(done: subprocess.CompletedProcess[str], folder: Path) -> Finished:
    """Return what it left; fail if it is not one job that was done."""
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "ERROR" not in said
    (report,) = (json.loads(path.read_text()) for path in folder.glob("*jobs_*.json"))
    (job,) = report["job_data"]
    assert job["status"] == "done", said
    (result,) = folder.glob("*.zip")
    assert job["download_url"].endswith(f"/{result.name}")
    with ZipFile(result) as archive:
        return Finished(job, {name: archive.read(name) for name in archive.namelist()})


def test_python_client_segmentation(kiosk: Kiosk, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    got = finished(python_client(NUCLEI, "segmentation", kiosk.url, folder), folder)
    assert [field for field in SUMMARY if got.report[field] in (None, "None", "")] == []
    assert got.report["total_time"] > 0
    assert (folder / "nuclei_512.zip").exists()
    truth = io.read(SAMPLES / "nuclei_512_truth.tif", name="truth").data
    labels = got.labels("nuclei_512_labels.ome.tif")
    assert count_matches(truth.squeeze(), labels).f1[0] > 0.8


def test_python_client_mesmer(kiosk: Kiosk, tmp_path: Path) -> None:
    tissue = draw_tissue(np.random.default_rng(771_000_003))
    path, folder = tmp_path / "tissue.tif", tmp_path / "out"
    channels = np.moveaxis(tissue.image, -1, 0)
    tifffile.imwrite(path, channels, imagej=True, metadata={"axes": "CYX"})
    got = finished(python_client(path, "mesmer", kiosk.url, folder), folder)
    labels = got.labels("_labels.ome.tif")
    assert labels.shape == tissue.whole_cell.shape
    assert count_matches(tissue.whole_cell, labels).f1[0] > 0.8


def test_python_client_tracking(kiosk: Kiosk, tmp_path: Path) -> None:
    movie = simulate(MovieParams(frames=4, side=256, cells=12), seed=23)
    path, folder = tmp_path / "movie.tif", tmp_path / "out"
    tifffile.imwrite(path, movie.pixels, imagej=True, metadata={"axes": "TYX"})
    got = finished(python_client(path, "tracking", kiosk.url, folder), folder)
    labels = got.labels("movie_tracked.ome.tif")
    assert labels.shape == movie.labels.shape
    for found, truth in zip(labels, movie.labels, strict=True):
        assert len(np.unique(found)) == pytest.approx(len(np.unique(truth)), rel=0.2)
    assert set(labels[0].ravel()) & set(labels[-1].ravel()) > {0}
    assert "movie.trk" in got.files


def test_python_client_tells_why_a_job_failed(kiosk: Kiosk, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    done = python_client(NUCLEI, "mesmer", kiosk.url, folder)
    assert done.returncode == 0
    assert "Found final status `failed`: " in done.stdout
    assert "nuclei in channel 0 and the membranes in channel 1" in done.stdout
    assert list(folder.glob("*.zip")) == []


def test_python_client_several_files(kiosk: Kiosk, tmp_path: Path) -> None:
    """An archive of two, and its own name for the model and its version."""
    archive, folder = tmp_path / "two.zip", tmp_path / "out"
    pixels = io.read(NUCLEI, name="nuclei").data[:160, :160]
    with ZipFile(archive, "w") as two:
        for name in ("a.tif", "b.tif"):
            buffer = BytesIO()
            tifffile.imwrite(buffer, pixels)
            two.writestr(name, buffer.getvalue())
    options = ("-m", "NuclearSegmentation:1", "-s", "1.0", "-l", "0")
    done = python_client(archive, "segmentation", kiosk.url, folder, *options)
    got = finished(done, folder)
    assert got.report["total_jobs"] == 2
    assert len(got.report["prediction_time"]) == 2
    assert {"a_labels.ome.tif", "b_labels.ome.tif", "summary.csv"} <= got.files.keys()


def test_python_client_benchmark(kiosk: Kiosk, tmp_path: Path) -> None:
    """As many jobs as it asks for, all of one file that somebody has put into the bucket."""
    bucket, folder = LocalStorage(kiosk.home / "bucket"), tmp_path / "out"
    buffer = BytesIO()
    tifffile.imwrite(buffer, io.read(NUCLEI, name="nuclei").data[:160, :160])
    bucket.put("uploads/mine.tif", buffer.getvalue())
    options = ("--benchmark", "-c", "3", "--no-download-results")
    done = python_client(Path("mine.tif"), "image", kiosk.url, folder, *options)
    assert done.returncode == 0, done.stdout
    (report,) = (json.loads(path.read_text()) for path in folder.glob("3jobs_*.json"))
    assert [job["status"] for job in report["job_data"]] == ["done"] * 3
    assert len({job["job_id"] for job in report["job_data"]}) == 3


class Plugin:
    """What the ImageJ plugin does: addresses end in a slash, and each POST is tried three times."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def post(self, path: str, *, lost: int = 0, **content: Any) -> Any:
        """Return the answer to the first POST of three whose answer is not lost on its way."""
        if lost > 1:
            self._cut_off(path, **content)
        if lost > 0:
            assert self.http.post(path, **content).status_code == 200
        answer = self.http.post(path, **content)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def _cut_off(self, path: str, **content: Any) -> None:
        """Send a request whole, and be gone when the answer comes."""
        request = self.http.build_request("POST", path, **content)
        body = request.read()
        lines = [f"POST {path} HTTP/1.1", *(f"{name}: {v}" for name, v in request.headers.items())]
        place = (request.url.host, request.url.port)
        with socket.create_connection(place, timeout=10) as connection:
            connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)

    def value(self, job: str, key: str) -> str | None:
        """Return a field of a job's hash."""
        value = self.post("/api/redis/", json={"hash": job, "key": key})["value"]
        assert value is None or isinstance(value, str)
        return value

    def end_of(self, job: str) -> str | None:
        """Return the status with which a job ends."""
        wait_for(
            lambda: self.value(job, "status") in ("done", "failed"),
            limit_s=LIMIT_S,
            what="the job has ended",
        )
        return self.value(job, "status")

    def upload(self, name: str = "cells.tif", *, lost: int = 0) -> str:
        files = {"file": (name, NUCLEI.read_bytes(), "image/tiff")}
        answer = self.post("/api/upload/", lost=lost, files=files)
        assert answer.keys() == {"imageURL", "uploadedName"}
        return str(answer["uploadedName"])


@pytest.fixture(scope="module")
def plugin(kiosk: Kiosk) -> Iterator[Plugin]:
    with httpx.Client(base_url=kiosk.url, follow_redirects=False, timeout=30) as http:
        yield Plugin(http)


def jobs_on(plugin: Plugin, uploaded: str) -> int:
    """How many jobs there are whose input is that file."""
    listed = plugin.http.get("/jobs", params={"limit": 100}).json()["jobs"]
    return sum(job["input"] == uploaded for job in listed)


def test_imagej_plugin_one_job_and_not_three(plugin: Plugin) -> None:
    uploaded = plugin.upload(lost=2)
    submission = {"jobType": "segmentation", "imageName": "cells.tif", "uploadedName": uploaded}
    job = plugin.post("/api/predict/", lost=2, json={**submission, "dataRescale": "1"})["hash"]
    assert plugin.end_of(job) == "done"
    assert plugin.value(job, "progress") == "100"
    assert plugin.value(job, "reason") is None
    url = plugin.value(job, "output_url")
    assert url
    with ZipFile(BytesIO(plugin.http.get(url).content)) as result:
        assert tifffile.imread(BytesIO(result.read("cells_labels.ome.tif"))).max() > 50
    assert plugin.post("/api/predict", json={**submission, "dataRescale": "1"})["hash"] == job
    assert jobs_on(plugin, uploaded) == 1
    other = plugin.post("/api/predict/", json={**submission, "dataRescale": "0.5"})["hash"]
    assert other != job
    assert plugin.post("/api/redis/expire/", json={"hash": job, "expireIn": 0}) == {"value": 1}
    assert plugin.value(job, "status") is None
    gone = plugin.http.post("/api/redis/expire/", json={"hash": job, "expireIn": 3600})
    assert (gone.status_code, gone.json()) == (404, {"value": 0})


def test_page_of_the_old_kiosk_polls_a_list(plugin: Plugin) -> None:
    keys = ["status", "progress", "output_url", "reason", "failures", "dim_order"]
    form = {"scale": "1", "selectedChannels": "0,,", "dimensionOrder": "XY", "segmentationType": ""}
    submission = {
        **{"jobType": "segmentation", "imageName": "x.tif", "uploadedName": plugin.upload()},
        **{"imageUrl": "", "jobForm": form, "unheard": "of"},
    }
    job = plugin.post("/api/predict", json=submission)["hash"]

    def polled() -> list[str | None]:
        values: list[str | None] = plugin.post("/api/redis", json={"hash": job, "key": keys})[
            "value"
        ]
        return values

    wait_for(lambda: polled()[0] in ("done", "failed"), limit_s=LIMIT_S, what="the job has ended")
    status, progress, url, reason, failures, dim_order = polled()
    assert (status, progress, reason, failures, dim_order) == ("done", "100", None, None, "YX")
    assert url
    assert plugin.post("/api/status/", json={"hash": job}) == {"status": "done"}
    assert plugin.post("/api/status", json={"hash": "nobody's"}) == {"status": None}
    assert plugin.post("/api/redis", json={"hash": "nobody's", "key": keys})["value"] == [None] * 6


@pytest.mark.parametrize("end", ["", "/"])
def test_what_can_be_asked_with_and_without_a_slash(plugin: Plugin, end: str) -> None:
    answers = {
        name: plugin.http.get(f"/api/{name}{end}")
        for name in ("health-check", "jobtypes", "models", "swagger.json")
    }
    assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(
        answers, 200
    )
    assert answers["health-check"].json() == {"message": "OK"}
    types = answers["jobtypes"].json()["jobTypes"]
    assert {*OLD_NAMES, *(f"{name}-zip" for name in OLD_NAMES)} <= set(types)
    assert answers["models"].json()["models"]["NuclearSegmentation"] == ["1"]
    assert "/api/predict" in answers["swagger.json"].json()["paths"]
    assert plugin.http.get("/").status_code == 200


@pytest.mark.parametrize("end", ["", "/"])
@pytest.mark.parametrize(
    ("path", "body", "sentence"),
    [
        ("predict", {"imageName": "x.tif"}, "no 'jobType'"),
        ("predict", {"jobType": "segmentation"}, "no 'imageName'"),
        ("predict", {"jobType": "washing", "imageName": "x.tif"}, '"washing"'),
        ("predict", [], "JSON object"),
        ("status", {}, "no 'hash'"),
        ("redis", {"hash": "x"}, "'key'"),
        ("redis", {"hash": "x", "key": [1]}, "'key'"),
        ("redis/expire", {"hash": "x", "expireIn": "soon"}, "'expireIn'"),
        ("upload", {}, "'file'"),
    ],
)
def test_what_cannot_be_done_is_told(
    plugin: Plugin, path: str, body: Any, sentence: str, end: str
) -> None:
    answer = plugin.http.post(f"/api/{path}{end}", json=body)
    assert answer.status_code == 400
    assert sentence in answer.json()["message"]


def test_three_posts_at_once_are_one_job(plugin: Plugin) -> None:
    """As a client sends them that gives up waiting before the answer comes."""
    uploaded = plugin.upload()
    submission = {"jobType": "segmentation", "imageName": "x.tif", "uploadedName": uploaded}

    def submit(_: int) -> str:
        return str(plugin.post("/api/predict/", json=submission)["hash"])

    with ThreadPoolExecutor(3) as pool:
        (job,) = set(pool.map(submit, range(3)))
    assert jobs_on(plugin, uploaded) == 1
    assert plugin.end_of(job) == "done"


@pytest.fixture
def closed(kiosk: Kiosk, tmp_path: Path) -> Iterator[str]:
    """URL of another web service beside the stack, which wants a token."""
    command = [sys.executable, "-m", "kiosk_tasks", "web", "--port", "0"]
    env = {**kiosk.env, "KIOSK_API_TOKENS": "alice:tok1"}
    log = tmp_path / "web.log"
    with child(command, log=log, env=env) as process:

        def address() -> str | None:
            assert process.poll() is None, log.read_text()
            found = re.search(r"serving url=(\S+)\n", log.read_text())
            return found and found[1]

        yield wait_for(address, limit_s=60, what="kiosk web serves")


def test_python_client_with_a_token(closed: str, tmp_path: Path) -> None:
    """It can send none, so its host says it; a name and a password before an @ are not for it."""
    folder = tmp_path / "out"
    assert httpx.post(f"{closed}/api/predict", json={}).status_code == 401
    assert httpx.get(f"{closed}/as/alice:other").status_code == 401
    host = f"{closed}/as/alice:tok1"
    got = finished(python_client(NUCLEI, "segmentation", host, folder), folder)
    assert "tok1" not in got.report["download_url"]
    jobs = httpx.get(f"{closed}/jobs", auth=("alice", "tok1")).json()["jobs"]
    assert jobs[0]["user"] == "alice"
    assert got.labels("nuclei_512_labels.ome.tif").max() > 50
