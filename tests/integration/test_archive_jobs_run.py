"""Archives through a real broker and a real worker: children, one result, what old clients read."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Iterator
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
import redis

from kiosk_tasks.bridge.bridge import make_bridge
from kiosk_tasks.bridge.events import job_id_of
from kiosk_tasks.errors import InvalidParameter, UnreadableArchive
from kiosk_tasks.job import Status
from kiosk_tasks.service import cancel
from tests.conftest import wait_for
from tests.integration.test_chain import (
    LONGEST_MESSAGE,
    Client,
    Site,
    client_of,
    new_site,
    running_worker,
)
from tests.unit.imaging.zips import zipped

NO_MODEL_SERVER = "127.0.0.1:1"

PLUGIN = '''
"""A job type of someone else's package: counts the bytes of a file, slowly if asked to."""

import time

from pydantic import Field

from kiosk_tasks.errors import UnusableImage
from kiosk_tasks.job import JobType, Params
from kiosk_tasks.outputs import OutputFile, stem_of
from kiosk_tasks.stages import store


class CountParams(Params):
    seconds: float = Field(0.0, ge=0)
    plain: bool = False


def read(_, ctx):
    end = time.monotonic() + ctx.params.seconds
    while time.monotonic() < end:
        ctx.report.check()
        time.sleep(0.02)
    data = ctx.storage.get(ctx.job.source.input_file_name)
    if data == b"bad":
        raise UnusableImage(f"{ctx.job.source.name} cannot be counted.")
    return data


def write(data, ctx):
    if ctx.params.plain:
        key = f"output/{ctx.job.id}/count.txt"
        ctx.storage.put_new(key, str(len(data)).encode())
        return {"output_file_name": key, "output_url": ""}
    ctx.report.note(spots=len(data))
    stem = stem_of(ctx.job.source.name)
    return store([OutputFile(f"{stem}_count.txt", str(len(data)).encode())], ctx)


job_type = JobType("count", "Counts", "predict", CountParams, (read, write), aliases=("tally",))
'''

FILES = {"a/x.tif": b"four", "b/x.tif": b"eight888", "top.tif": b"0", "a/bad.tif": b"bad"}


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "count_job.py").write_text(PLUGIN)
    info = folder / "count_job-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: count-job\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[kiosk_tasks.job_types]\ncount = count_job:job_type\n")
    return folder


@pytest.fixture(scope="module")
def busy(valkey: str, plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with (
        new_site(valkey, NO_MODEL_SERVER, plugin, tmp_path_factory.mktemp("archives")) as site,
        running_worker(site, "predict,cpu"),
    ):
        yield site


@pytest.fixture
def client(busy: Site, plugin: Path) -> Iterator[Client]:
    with client_of(busy, plugin) as one:
        yield one


def put(site: Site, files: dict[str, bytes], name: str = "x.zip") -> str:
    key = f"uploads/{name}"
    site.bucket.put(key, zipped(files))
    return key


def members(site: Site, answer: dict[str, str]) -> dict[str, bytes]:
    with zipfile.ZipFile(BytesIO(site.bucket.get(answer["output_file_name"]))) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_an_archive_is_done_file_by_file(client: Client) -> None:
    site = client.site
    before = sorted(site.bucket.list("parts/")) + sorted(site.bucket.list("output/"))
    key = put(site, FILES)
    result = client.task("count").delay(input_file_name=key, original_name="my photos.zip")
    answer = result.get(timeout=60)
    assert answer["output_file_name"] == f"output/{result.id}/my photos.zip"
    files = members(site, answer)
    assert {name for name in files if name.endswith(".txt")} == {
        "a/x_count.txt",
        "b/x_count.txt",
        "top_count.txt",
    }
    assert (files["a/x_count.txt"], files["b/x_count.txt"]) == (b"4", b"8")
    rows = list(csv.DictReader(StringIO(files["summary.csv"].decode())))
    assert [(row["file"], row["spots"]) for row in rows if row["result"] == "done"] == [
        ("a/x.tif", "4"),
        ("b/x.tif", "8"),
        ("top.tif", "1"),
    ]
    failed = {"a/bad.tif": "bad.tif cannot be counted."}
    assert files["failures.csv"].decode() == "file,reason\na/bad.tif,bad.tif cannot be counted.\n"
    assert dict(parse_qsl(answer["failures"])) == failed

    fields = client.record(result.id).fields
    assert (fields["status"], fields["job_type"]) == ("done", "count-zip")
    assert (fields["progress"], fields["total_jobs"]) == ("100", "4")
    assert fields["failures"] == answer["failures"]
    children = fields["children"].split(",")
    assert children == client.ledger.children(result.id)
    assert fields["children:failed"].split(",") == children[3:]
    assert fields["children:done"].split(",") == children[:3]

    def left() -> list[str]:
        return [*site.bucket.list("parts/"), *site.bucket.list("output/")]

    wait_for(lambda: sorted(left()) == sorted([*before, answer["output_file_name"]]), what="tidy")
    assert list(site.workspace.list()) == []
    assert client.ledger.open_count() == 0


def test_an_archive_sent_by_name_only(client: Client) -> None:
    key = put(client.site, FILES)
    result = client.app.send_task("count", kwargs={"input_file_name": key}, queue="predict")
    assert result.get(timeout=60)["output_file_name"] == f"output/{result.id}/x.zip"
    assert client.record(result.id).fields["job_type"] == "count-zip"


def test_results_that_are_no_archives_are_files(client: Client) -> None:
    key = put(client.site, {"a/x.tif": b"four"})
    result = client.task("count").delay(input_file_name=key, plain=True)
    assert members(client.site, result.get(timeout=60))["a/x_count.txt"] == b"4"


def test_wrong_parameters_are_told_at_once(client: Client) -> None:
    with pytest.raises(InvalidParameter, match="did you mean 'seconds'"):
        client.task("count").delay(input_file_name="uploads/x.zip", second=1)


def test_a_zip_of_zips_is_one_sentence_and_the_worker_lives(client: Client) -> None:
    inner = zipped({"x.tif": b"four"})
    key = put(client.site, {"one.zip": inner, "two.zip": inner})
    count = client.task("count")
    result = count.delay(input_file_name=key)
    with pytest.raises(UnreadableArchive, match="none of the 2 files in"):
        result.get(timeout=60)
    reason = client.record(result.id).fields["reason"]
    assert reason.count("\n") == 0
    assert "one.zip in x.zip is an archive itself; send its files instead." in reason
    assert list(client.site.bucket.list("parts/")) == []
    client.site.bucket.put("uploads/y.tif", b"1")
    assert count.delay(input_file_name="uploads/y.tif").get(timeout=60)


def test_a_cancelled_archive_takes_its_children_along(client: Client) -> None:
    site, ledger = client.site, client.ledger
    key = put(site, {f"{number}.tif": b"x" for number in range(6)})
    outputs = sorted(site.bucket.list("output/"))
    result = client.task("count").delay(input_file_name=key, seconds=1.0)
    wait_for(lambda: client.record(result.id).progress > 0, what="a child is done")
    assert client.record(result.id).status is Status.WAITING
    assert cancel(result.id)
    children = ledger.records(ledger.children(result.id))
    assert len(children) == 6
    assert sum(child.status is Status.CANCELLED for child in children) >= 3
    assert all(child.status.terminal for child in children)
    wait_for(lambda: sorted(site.bucket.list("output/")) == outputs, what="no output is left")
    assert list(site.bucket.list("parts/")) == []
    assert ledger.open_count() == 0


def test_an_old_clients_archive(client: Client, valkey: str) -> None:
    with redis.Redis.from_url(valkey, decode_responses=True) as frontend:
        key = f"tally-zip:{client.site.prefix}photos.zip:1"
        fields: dict[Any, Any] = {
            **{"original_name": "photos.zip", "input_file_name": put(client.site, FILES)},
            **{"status": "new", "created_at": "2026-01-01", "channels": "", "label": ""},
        }
        frontend.hset(key, mapping=fields)
        bridge = make_bridge("archives")
        bridge.accept(key)
        bridge._inbox.close()

        def polled() -> Any:
            answer: Any = frontend.hgetall(key)
            return answer if Status(answer["status"]).terminal else None

        hash_ = wait_for(polled, limit_s=60, what="the archive is done")
        frontend.delete(key)
    assert (hash_["status"], hash_["progress"]) == ("done", "100")
    assert dict(parse_qsl(hash_["failures"])) == {"a/bad.tif": "bad.tif cannot be counted."}
    assert len(hash_["children:done"].split(",")) == 3
    assert hash_["output_url"].endswith(f"output/{job_id_of(key)}/photos.zip")


def test_messages_of_an_archive_stay_small(valkey: str, plugin: Path, tmp_path: Path) -> None:
    """The parent's message names no file, and neither do its children's."""
    with (
        new_site(valkey, NO_MODEL_SERVER, plugin, tmp_path) as site,
        client_of(site, plugin) as client,
    ):
        names = [f"{'folder' * 20}/{'k' * 100}{number}.tif" for number in range(40)]
        key = put(site, dict.fromkeys(names, b"x"))
        result = client.task("count").delay(input_file_name=key, seconds=60)
        with running_worker(site, "predict,cpu"):
            wait_for(lambda: client.record(result.id).status is Status.WAITING)
            messages = client.waiting("predict")
            cancel(result.id)
    assert len(messages) >= 38
    assert max(map(len, messages)) < LONGEST_MESSAGE
    assert not any(b"k" * 20 in message for message in messages)
