"""Many writers, readers meanwhile, and writers that die: over every bucket."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from kiosk_tasks.errors import InvalidKey, MissingObject, StorageUnavailable
from kiosk_tasks.ports import Storage
from kiosk_tasks.storage import from_url
from kiosk_tasks.storage.local import LocalStorage
from kiosk_tasks.storage.memory import MemoryStorage
from tests.gcs_server import gcs_bucket_url, gcs_server
from tests.http_faults import FaultyProxy, Hold, Request
from tests.s3_server import bucket_url, s3_server
from tests.storage_writers import race

WRITERS = range(1, 33)
SIZE = 300_000
PART = 5 * 2**20


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3_server(tmp_path_factory.mktemp("s3") / "log") as url:
        yield url


@pytest.fixture
def proxy(s3: str) -> Iterator[FaultyProxy]:
    # S3 decides on one write after the other; moto looks and writes in two steps.
    with FaultyProxy(s3, one_at_a_time=True) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with gcs_server(tmp_path_factory.mktemp("gcs") / "log") as url:
        yield url


@pytest.fixture(params=["local", "s3", "gcs"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A bucket that other processes reach, too."""
    if request.param == "local":
        return (tmp_path / "bucket").as_uri()
    if request.param == "gcs":
        return gcs_bucket_url(request.getfixturevalue("gcs"), monkeypatch, part_bytes=PART)
    server, proxy = request.getfixturevalue("s3"), request.getfixturevalue("proxy")
    return bucket_url(server, monkeypatch, via=proxy.url, part_bytes=PART)


@pytest.fixture(params=["memory", "local", "local-without-links", "s3", "gcs"])
def bucket(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    if request.param == "memory":
        return MemoryStorage()
    if request.param == "gcs":
        server = request.getfixturevalue("gcs")
        return from_url(gcs_bucket_url(server, monkeypatch, part_bytes=PART))
    if request.param == "s3":
        server, proxy = request.getfixturevalue("s3"), request.getfixturevalue("proxy")
        return from_url(bucket_url(server, monkeypatch, via=proxy.url, part_bytes=PART))
    if request.param == "local-without-links":
        monkeypatch.setattr(os, "link", refuse_links)
    return LocalStorage(tmp_path / "bucket")


def refuse_links(*_: object) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


@contextmanager
def reader(storage: Storage, key: str, *, size: int) -> Iterator[None]:
    """Read again and again meanwhile: nothing, or one writer's whole object, and then only that."""
    stop = Event()

    def read() -> None:
        seen = None
        while not stop.is_set():
            try:
                data = storage.get(key)
            except MissingObject:
                assert seen is None
                continue
            assert len(data) == size
            assert data.count(data[0]) == size
            assert seen in (None, data[0])
            seen = data[0]

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        try:
            yield
        finally:
            stop.set()
        reading.result()


def start(*argv: object) -> subprocess.Popen[str]:
    """Start writers as a process, which ends at the latest when its input does."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.storage_writers", *map(str, argv)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def say(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin
    process.stdin.write(line + "\n")
    process.stdin.flush()


def hear(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


@contextmanager
def killed(process: subprocess.Popen[str]) -> Iterator[None]:
    with process:
        try:
            yield
        finally:
            process.kill()


def test_of_many_threads_one_writes(bucket: Storage) -> None:
    with reader(bucket, "a/key", size=SIZE):
        won = race(bucket, "a/key", size=SIZE, writers=WRITERS)
    assert len(won) == 1
    assert bucket.get("a/key") == bytes(won) * SIZE
    assert bucket.remove_partials(-60) == 0
    assert list(bucket.list()) == ["a/key"]


def test_of_many_processes_one_writes(url: str) -> None:
    storage = from_url(url)
    processes = [start("race", url, "a/key", SIZE, first, 8) for first in WRITERS[::8]]
    with reader(storage, "a/key", size=SIZE):
        for process in processes:
            assert hear(process) == "ready"
        for process in processes:
            say(process, "go")
        won = [number for process in processes for number in json.loads(hear(process))]
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    assert len(won) == 1
    assert storage.get("a/key") == bytes(won) * SIZE
    assert list(storage.list()) == ["a/key"]
    assert storage.remove_partials(-60) == 0


def test_of_many_large_files_one_is_written(bucket: Storage, tmp_path: Path) -> None:
    size = 2 * PART + 1
    sources = [tmp_path / str(number) for number in range(1, 4)]
    for number, source in enumerate(sources, 1):
        source.write_bytes(bytes([number]) * size)
    with reader(bucket, "a/key", size=size), ThreadPoolExecutor(len(sources)) as pool:
        told = list(pool.map(lambda source: bucket.upload_new("a/key", source), sources))
    assert sum(told) == 1
    assert bucket.get("a/key") == sources[told.index(True)].read_bytes()
    assert bucket.remove_partials(-60) == 0


def test_a_reader_sees_the_old_or_the_new_object(bucket: Storage, tmp_path: Path) -> None:
    size = 2 * PART + 1
    bucket.put("key", b"\1" * size)
    source = tmp_path / "source"
    source.write_bytes(b"\2" * size)
    uploaded = Event()

    def read() -> set[bytes]:
        seen = set()
        while not uploaded.is_set():
            data = bucket.get("key")
            assert data == data[:1] * size
            seen.add(data[:1])
        return seen

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        try:
            bucket.upload("key", source)
        finally:
            uploaded.set()
    assert reading.result() <= {b"\1", b"\2"}
    assert bucket.get("key") == source.read_bytes()


def test_writers_and_deleters_of_neighbours_do_not_meet(bucket: Storage) -> None:
    rounds = 200 if isinstance(bucket, LocalStorage) else 5

    def work(number: int) -> None:
        for _ in range(rounds):
            key = f"folder/deep/{number}"
            bucket.put(key, b"x")
            assert bucket.get(key) == b"x"
            assert key in bucket.list("folder/")
            bucket.delete(key)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert list(bucket.list()) == []


def test_killed_local_writer_leaves_a_part_that_is_removed(tmp_path: Path) -> None:
    root = tmp_path / "bucket"
    storage = LocalStorage(root)
    dead = start("stall", root.as_uri(), "a/dead", SIZE)
    alive = start("stall", root.as_uri(), "b/alive", SIZE)
    with killed(alive):
        with killed(dead):
            assert hear(dead) == hear(alive) == "half"
            parts = list(root.rglob("a/.*"))
        assert [part.stat().st_size for part in parts] == [SIZE // 2]
        assert not storage.exists("a/dead")
        assert list(storage.list()) == []
        assert storage.remove_partials(3600) == 0
        for part in parts:
            os.utime(part, (time.time() - 7200,) * 2)
        assert storage.remove_partials(3600) == 1
        assert storage.remove_partials(3600) == 0
        assert not (root / "a").exists()
        say(alive, "go on")
        assert alive.wait() == 0
    assert storage.get("b/alive") == b"x" * SIZE
    assert list(storage.list()) == ["b/alive"]


def test_killed_s3_writer_leaves_an_upload_that_is_removed(
    s3: str, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = Hold(after_bytes=1000)
    url = bucket_url(s3, monkeypatch, via=proxy.url, prefix="p", part_bytes=PART)
    storage = from_url(url)
    storage.exists("a/key")
    elsewhere = from_url(url.replace("/p?", "/other?"))
    proxy.plan = lambda request: hold if "partNumber=2" in request.path else None
    writer = start("race", url, "a/key", 2 * PART + 1, 1, 1)
    with killed(writer):
        assert hear(writer) == "ready"
        say(writer, "go")
        assert hold.reached.wait(20)
    hold.release.set()
    assert not storage.exists("a/key")
    assert list(storage.list()) == []
    assert elsewhere.remove_partials(-60) == 0
    assert storage.remove_partials(3600) == 0
    assert storage.remove_partials(-60) == 1
    assert storage.remove_partials(-60) == 0
    assert storage.put_new("a/key", b"next")


def test_killed_gcs_writer_leaves_nothing_to_see(gcs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hold = Hold(after_bytes=1000)
    with FaultyProxy(gcs) as proxy:
        url = gcs_bucket_url(gcs, monkeypatch, via=proxy.url, part_bytes=PART)
        storage = from_url(url)
        second = f"bytes {PART}-"
        proxy.plan = lambda request: (
            hold if request.headers.get("content-range", "").startswith(second) else None
        )
        writer = start("race", url, "a/key", 2 * PART + 1, 1, 1)
        with killed(writer):
            assert hear(writer) == "ready"
            say(writer, "go")
            assert hold.reached.wait(20)
        hold.release.set()
        assert not storage.exists("a/key")
        assert list(storage.list()) == []
        assert storage.remove_partials(-60) == 0
        assert storage.put_new("a/key", b"next")
        assert storage.get("a/key") == b"next"


def test_upload_that_ends_while_remains_are_looked_for(
    s3: str, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = from_url(bucket_url(s3, monkeypatch, via=proxy.url, part_bytes=PART))
    hold = Hold()
    proxy.plan = lambda request: hold if is_completion(request) else None
    with ThreadPoolExecutor(1) as pool:
        upload = pool.submit(storage.put_new, "key", b"x" * (PART + 1))
        assert hold.reached.wait(20)

        def end_it(request: Request) -> None:
            if request.method == "GET" and "uploadId=" in request.path:
                hold.release.set()
                assert upload.result()

        proxy.plan = end_it
        assert storage.remove_partials(-60) == 0
    assert storage.get("key") == b"x" * (PART + 1)


def is_completion(request: Request) -> bool:
    return request.method == "POST" and "uploadId=" in request.path


@pytest.mark.parametrize("link", [os.link, refuse_links])
def test_folder_is_no_place_for_an_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: Callable[..., None]
) -> None:
    monkeypatch.setattr(os, "link", link)
    bucket = LocalStorage(tmp_path)
    bucket.put("a/b", b"kept")
    writes: list[Callable[[str, bytes], object]] = [bucket.put, bucket.put_new]
    for write in writes:
        for key in ("a", "a/b/c"):
            with pytest.raises(InvalidKey, match="another"):
                write(key, b"x")
    assert list(bucket.list()) == ["a/b"]
    assert bucket.remove_partials(-60) == 0


def test_link_that_was_made_though_its_answer_was_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def twice(source: Path, target: Path) -> None:
        link(source, target)
        link(source, target)

    monkeypatch.setattr(os, "link", twice)
    bucket = LocalStorage(tmp_path)
    assert bucket.put_new("key", b"ours")
    assert not bucket.put_new("key", b"theirs")
    assert bucket.get("key") == b"ours"


def test_link_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "link", broken)
    with pytest.raises(StorageUnavailable, match="Input/output error"):
        LocalStorage(tmp_path).put_new("key", b"x")
