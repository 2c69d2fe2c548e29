"""Many small files of an archive, through a real broker and a real worker."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Iterator
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kiosk_tasks.job import Status
from kiosk_tasks.ledger import Record
from kiosk_tasks.service import cancel
from tests.conftest import wait_for
from tests.fakes import png_bytes
from tests.integration.test_archive_jobs_run import NO_MODEL_SERVER
from tests.integration.test_chain import Client, Site, client_of, new_site, running_worker
from tests.unit.imaging.zips import zipped

FILES = 40
PLUGIN = '''
"""A job type whose small files are done together: it counts bytes, and dies where it is told to."""

import os
import signal
import time
from pathlib import Path

from pydantic import Field

from kiosk_tasks.errors import UnusableImage
from kiosk_tasks.job import JobType, Params
from kiosk_tasks.outputs import OutputFile, stem_of
from kiosk_tasks.stages import store


class TinyParams(Params):
    seconds: float = Field(0.0, ge=0)
    mark: str = ""


def download(_, ctx):
    ctx.report.check()
    time.sleep(ctx.params.seconds)
    name, mark = ctx.job.source.name, ctx.params.mark
    if name == "20.png" and mark and not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "bad.png":
        raise UnusableImage("bad.png cannot be counted.")
    return ctx.storage.get(ctx.job.source.input_file_name)


def upload(data, ctx):
    ctx.report.note(spots=len(data), image={"axes": "YX"})
    name = f"{stem_of(ctx.job.source.name)}_count.txt"
    return store([OutputFile(name, str(len(data)).encode())], ctx)


job_type = JobType("tiny", "Counts", "predict", TinyParams, (download, upload), many=True)
'''


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-plugin")
    (folder / "tiny_job.py").write_text(PLUGIN)
    info = folder / "tiny_job-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-job\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[kiosk_tasks.job_types]\ntiny = tiny_job:job_type\n")
    return folder


@pytest.fixture(scope="module")
def busy(valkey: str, plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with (
        new_site(valkey, NO_MODEL_SERVER, plugin, tmp_path_factory.mktemp("many")) as site,
        running_worker(site, "predict,cpu"),
    ):
        yield site


@pytest.fixture
def client(busy: Site, plugin: Path) -> Iterator[Client]:
    with client_of(busy, plugin) as one:
        yield one


def crops(more: dict[str, bytes] | None = None) -> bytes:
    crop = png_bytes(np.zeros((8, 8), np.uint8))
    return zipped({**{f"a/{number:02d}.png": crop for number in range(FILES)}, **(more or {})})


def sent(client: Client, data: bytes, **params: Any) -> Any:
    client.site.bucket.put("uploads/crops.zip", data)
    return client.task("tiny").delay(input_file_name="uploads/crops.zip", **params)


def result_of(client: Client, answer: dict[str, str]) -> dict[str, bytes]:
    packed = client.site.bucket.get(answer["output_file_name"])
    with zipfile.ZipFile(BytesIO(packed)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def children_of(client: Client, job_id: str) -> list[Record]:
    return client.ledger.records(client.ledger.children(job_id))


def test_old_clients_read_of_each_file(client: Client) -> None:
    large = png_bytes(np.zeros((400, 400), np.uint8))
    bad = png_bytes(np.zeros((8, 8), np.uint8))
    result = sent(client, crops({"bad.png": bad, "large.png": large, "last.png": bad}))
    files = result_of(client, result.get(timeout=60))
    assert files["large_count.txt"] == str(len(large)).encode()
    rows = list(csv.DictReader(StringIO(files["summary.csv"].decode())))
    expected = [f"a/{number:02d}.png" for number in range(FILES)]
    assert [row["file"] for row in rows] == [*expected, "bad.png", "large.png", "last.png"]
    assert files["failures.csv"] == b"file,reason\nbad.png,bad.png cannot be counted.\n"

    fields = client.record(result.id).fields
    done, failed = fields["children:done"].split(","), fields["children:failed"].split(",")
    assert (fields["total_jobs"], fields["progress"]) == (str(FILES + 3), "100")
    assert (len(done), len(failed)) == (FILES + 2, 1)
    assert sorted([*done, *failed]) == sorted(fields["children"].split(","))
    assert len(set(fields["children"].split(","))) == FILES + 3
    assert fields["dim_order"] == ",".join(["YX"] * (FILES + 2))
    assert len(fields["download_time"].split(",")) == FILES + 2
    kinds = [child.fields["job_type"] for child in children_of(client, result.id)]
    assert kinds == ["tiny_many", "tiny_many", "tiny"]

    def left() -> list[str]:
        return [*client.site.bucket.list("parts/"), *client.site.bucket.list("output/")]

    own = result.get()["output_file_name"]
    wait_for(lambda: left() == [own], what="tidy")
    client.site.bucket.delete(own)
    assert client.ledger.open_count() == 0


def test_a_batch_whose_worker_was_killed_is_done_again(client: Client, tmp_path: Path) -> None:
    mark = tmp_path / "killed"
    result = sent(client, crops(), mark=str(mark))
    files = result_of(client, result.get(timeout=120))
    assert mark.exists()
    assert sum(name.endswith("_count.txt") for name in files) == FILES
    assert "failures.csv" not in files


def test_cancelling_ends_a_batch_between_two_files(client: Client) -> None:
    result = sent(client, crops(), seconds=0.3)
    wait_for(
        lambda: any(c.fields.get("units_done", "0") > "0" for c in children_of(client, result.id)),
        what="a file is done",
    )
    assert cancel(result.id)
    batch = children_of(client, result.id)[0]
    wait_for(lambda: not list(client.site.bucket.list("parts/")), what="tidy")
    fields = client.record(batch.id).fields
    assert fields["status"] == Status.CANCELLED
    assert 0 < int(fields["units_done"]) < int(fields["files"])
