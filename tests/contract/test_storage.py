"""One suite over every bucket."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from kiosk_tasks.errors import (
    FileTooLarge,
    InvalidKey,
    InvalidParameter,
    KioskError,
    MissingObject,
    StorageDenied,
    StorageFull,
    StorageUnavailable,
    UnsupportedByBucket,
)
from kiosk_tasks.ports import Storage
from kiosk_tasks.storage import from_url
from kiosk_tasks.storage.local import LocalStorage
from kiosk_tasks.storage.memory import MemoryStorage
from tests.gcs_server import gcs_bucket_url, gcs_server, service_account
from tests.s3_server import bucket_url, s3_server

STREAM_PART = 5 * 2**20
"""The least that S3 takes."""

ESCAPES = [
    "",
    "/",
    "/etc/passwd",
    "..",
    "../x",
    "a/../../x",
    "a//b",
    "a/./b",
    "a/",
    "a\\b",
    "a\0b",
    "a/" + "x" * 300,
    f"a/.x.{'0' * 32}.part",
    "a/undecodable \udc80",
    "a/line\n",
    "a/\x7f",
    "/".join(["x" * 200] * 6),
]

ODD = [
    *("a b+c%2Fd", "q?x=1&y=2#z", "'\"<>&;", "~.-_!*()", "trailing.", ".hidden", "Größe 3µ 雪.tif"),
    *(
        "e\u0301",
        "\u00e9",
        "narrow\u202fand\u00a0hard spaces",
        "{}[]^`|$",
        "-rf",
        "CON",
        "%",
        "x" * 200,
    ),
]


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3_server(tmp_path_factory.mktemp("s3") / "log") as url:
        yield url


@pytest.fixture(scope="module")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with gcs_server(tmp_path_factory.mktemp("gcs") / "log") as url:
        yield url


@pytest.fixture(scope="module")
def account(gcs: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return service_account(tmp_path_factory.mktemp("account"), gcs)


@pytest.fixture(
    params=["local", "local-relative", "memory", "s3", "s3-prefix", "gcs", "gcs-prefix"]
)
def bucket(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    if request.param == "memory":
        return MemoryStorage()
    if request.param == "local":
        return LocalStorage(tmp_path / "a bucket")
    if request.param == "local-relative":
        monkeypatch.chdir(tmp_path)
        return LocalStorage(Path("bucket"))
    server, _, prefixed = request.param.partition("-")
    more: dict[str, Any] = {"part_bytes": STREAM_PART}
    if prefixed:
        more["prefix"] = "a/prefix µ+"
    if server == "s3":
        return from_url(bucket_url(request.getfixturevalue("s3"), monkeypatch, **more))
    if prefixed:  # with rights of its own, and signed links
        more["credentials"] = request.getfixturevalue("account")
    return from_url(gcs_bucket_url(request.getfixturevalue("gcs"), monkeypatch, **more))


def test_put_then_get(bucket: Storage) -> None:
    bucket.put("a/b.bin", b"one")
    assert bucket.get("a/b.bin") == b"one"
    bucket.put("a/b.bin", b"two")
    assert bucket.get("a/b.bin") == b"two"


def test_empty_object(bucket: Storage) -> None:
    bucket.put("empty", b"")
    assert bucket.exists("empty")
    assert bucket.get("empty") == b""


def test_put_new_leaves_what_is_there(bucket: Storage, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"from a file")
    assert bucket.put_new("a/key", b"one")
    assert not bucket.put_new("a/key", b"two")
    assert not bucket.upload_new("a/key", source)
    assert bucket.get("a/key") == b"one"
    assert bucket.upload_new("a/other", source)
    assert not bucket.put_new("a/other", b"two")
    assert bucket.get("a/other") == b"from a file"
    bucket.delete("a/key")
    assert bucket.put_new("a/key", b"")
    assert not bucket.put_new("a/key", b"two")
    assert list(bucket.list()) == ["a/key", "a/other"]


def test_delete_all(bucket: Storage) -> None:
    for key in ("j/1", "j/2/3", "j10/1", "k"):
        bucket.put(key, b"")
    assert bucket.delete_all("j/") == 2
    assert bucket.delete_all("j/") == 0
    assert list(bucket.list()) == ["j10/1", "k"]
    for prefix in ("", "../", "/"):
        with pytest.raises(InvalidKey):
            bucket.delete_all(prefix)
    assert bucket.delete_all("j") == 1
    assert list(bucket.list()) == ["k"]


def test_whole_objects_are_no_partials(bucket: Storage) -> None:
    assert bucket.remove_partials(0) == 0
    for key in ("a.part", "b/.hidden.part", "b/.x.0123.part"):
        bucket.put(key, b"x")
    assert bucket.remove_partials(0) == 0
    assert list(bucket.list()) == ["a.part", "b/.hidden.part", "b/.x.0123.part"]


def test_upload_then_download(bucket: Storage, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(range(256)) * 1000)
    bucket.upload("deep/er/key µ.tif", source)
    target = tmp_path / "target"
    bucket.download("deep/er/key µ.tif", target)
    assert target.read_bytes() == source.read_bytes()


@pytest.mark.parametrize("size", [0, 1000, STREAM_PART, STREAM_PART + 1, 2 * STREAM_PART + 7])
def test_size_is_told_before_anything_is_downloaded(
    bucket: Storage, tmp_path: Path, size: int
) -> None:
    data = (bytes(range(251)) * (size // 251 + 1))[:size]
    bucket.put("key", data)
    target, told = tmp_path / "target", list[tuple[int, bool]]()

    def refuse(size_bytes: int) -> None:
        told.append((size_bytes, target.exists()))
        raise FileTooLarge("too large")

    with pytest.raises(FileTooLarge):
        bucket.download("key", target, check=refuse)
    assert list(tmp_path.glob("target*")) == []
    bucket.download("key", target, check=lambda size_bytes: told.append((size_bytes, False)))
    assert target.read_bytes() == data
    assert told == [(size, False)] * 2


@pytest.mark.parametrize("size", [0, 1, STREAM_PART, STREAM_PART + 1, 2 * STREAM_PART + 7])
def test_write_then_open(bucket: Storage, size: int) -> None:
    whole = (bytes(range(251)) * (size // 251 + 1))[:size]
    step = 700_001  # no part is made of whole chunks
    bucket.put("a/key", b"old")
    bucket.write("a/key", (whole[at : at + step] for at in range(0, size, step)))
    assert bucket.get("a/key") == whole
    chunks = list(bucket.open("a/key"))
    assert b"".join(chunks) == whole
    assert all(chunks)
    assert max(map(len, chunks), default=0) <= STREAM_PART
    assert bucket.remove_partials(-60) == 0


class ClientGone(OSError):
    """What a web server raises when a browser is closed; an OSError, as a bucket's own may be."""


@pytest.mark.parametrize("before", [0, 3, STREAM_PART + 3])
def test_chunks_that_break_off_leave_nothing(bucket: Storage, before: int) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"x" * before
        raise ClientGone("the browser was closed")

    bucket.put("old", b"old")
    for key in ("new", "old"):
        with pytest.raises(ClientGone, match="browser"):
            bucket.write(key, chunks())
    assert list(bucket.list()) == ["old"]
    assert bucket.get("old") == b"old"
    assert bucket.remove_partials(-60) == 0


def test_object_is_not_there_before_the_last_chunk(bucket: Storage) -> None:
    seen: list[list[str]] = []

    def chunks() -> Iterator[bytes]:
        for _ in range(3):
            yield b"x" * STREAM_PART
            seen.append(list(bucket.list()))

    bucket.write("key", chunks())
    assert seen == [[]] * 3
    assert bucket.size("key") == 3 * STREAM_PART


def test_open_is_read_as_it_is_drawn(bucket: Storage) -> None:
    bucket.put("key", b"x" * (3 * STREAM_PART))
    chunks = bucket.open("key")
    assert set(next(chunks)) == set(b"x")
    bucket.put("key", b"y" * (3 * STREAM_PART))
    rest = b""
    with suppress(StorageUnavailable):  # it may say so, but not mix the two
        for chunk in chunks:
            rest += chunk
    assert set(rest) <= set(b"x")


def test_read_range(bucket: Storage) -> None:
    bucket.put("key", b"0123456789")
    bucket.put("empty", b"")
    wanted = [(0, 3), (3, 4), (9, 1), (8, 100), (10, 5), (11, 1), (0, 10), (4, 0)]
    for start, length in wanted:
        assert bucket.read_range("key", start, length) == b"0123456789"[start : start + length]
    assert bucket.read_range("empty", 0, 5) == b""
    assert bucket.read_range("key", 2, 2**40) == b"23456789"


def test_missing_object_is_told_before_the_first_chunk(bucket: Storage) -> None:
    bucket.put("folder/key", b"")
    for key in ("gone", "folder"):
        with pytest.raises(MissingObject, match=key):
            bucket.open(key)
        with pytest.raises(MissingObject, match=key):
            bucket.read_range(key, 0, 1)


def test_odd_names_are_names(bucket: Storage) -> None:
    keys = [f"{odd}/{odd}" for odd in ODD]
    for key in keys:
        assert bucket.put_new(key, key.encode())
    for key in keys:
        assert bucket.exists(key)
        assert bucket.get(key) == key.encode()
    assert list(bucket.list()) == sorted(keys)
    for key in keys:
        assert list(bucket.list(key)) == [key]
    bucket.delete(keys.pop())
    for key in keys:
        assert bucket.delete_all(key) == 1
    assert list(bucket.list()) == []


def test_what_was_put_does_not_change_with_the_source(bucket: Storage) -> None:
    source = bytearray(b"first")
    bucket.put("key", source)  # type: ignore[arg-type]  # memoryviews and the like come along
    source[:] = b"later"
    assert bucket.get("key") == b"first"


def test_size(bucket: Storage) -> None:
    bucket.put("a/b", b"12345")
    bucket.put("empty", b"")
    assert (bucket.size("a/b"), bucket.size("empty")) == (5, 0)
    for key in ("a", "nobody"):
        with pytest.raises(MissingObject):
            bucket.size(key)


def test_exists_and_delete(bucket: Storage) -> None:
    bucket.put("a/b/c", b"x")
    assert bucket.exists("a/b/c")
    assert not bucket.exists("a/b")
    assert not bucket.exists("a/b/d")
    bucket.delete("a/b/c")
    assert not bucket.exists("a/b/c")


@pytest.mark.parametrize("key", ["gone", "a/gone", "a", "a/b/gone"])
def test_delete_of_nothing_is_no_error(bucket: Storage, key: str) -> None:
    bucket.put("a/b", b"kept")
    bucket.delete(key)
    assert bucket.get("a/b") == b"kept"


def test_list_is_sorted_and_by_prefix(bucket: Storage) -> None:
    assert list(bucket.list()) == []
    for key in ("b", "a/2", "a/10", "ab/1", "a/x/y"):
        bucket.put(key, b"")
    assert list(bucket.list()) == ["a/10", "a/2", "a/x/y", "ab/1", "b"]
    assert list(bucket.list("a/")) == ["a/10", "a/2", "a/x/y"]
    assert list(bucket.list("a")) == ["a/10", "a/2", "a/x/y", "ab/1"]
    assert list(bucket.list("a/x")) == ["a/x/y"]
    assert list(bucket.list("none/")) == []


def test_delete_while_listing(bucket: Storage) -> None:
    for key in ("j/1", "j/2", "k/1"):
        bucket.put(key, b"")
    for key in bucket.list("j/"):
        bucket.delete(key)
    assert list(bucket.list()) == ["k/1"]


@pytest.mark.parametrize("prefix", ["../", "/etc/", "a/../../", "\0"])
def test_list_does_not_leave_the_bucket(bucket: Storage, prefix: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("not yours")
    with pytest.raises(InvalidKey):
        list(bucket.list(prefix))


def test_keys_that_leave_the_bucket_are_refused(bucket: Storage, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    before = sorted(tmp_path.rglob("*"))
    calls: list[Callable[[str], object]] = [
        bucket.get,
        lambda key: bucket.put(key, b"x"),
        lambda key: bucket.upload(key, file),
        lambda key: bucket.put_new(key, b"x"),
        lambda key: bucket.upload_new(key, file),
        lambda key: bucket.write(key, [b"x"]),
        lambda key: bucket.download(key, tmp_path / "target"),
        bucket.open,
        lambda key: bucket.read_range(key, 0, 1),
        bucket.exists,
        bucket.delete,
        bucket.url,
        bucket.upload_url,
    ]
    for key in ESCAPES:
        for call in calls:
            with pytest.raises(InvalidKey):
                call(key)
    assert sorted(tmp_path.rglob("*")) == before


def test_missing_object_is_named(bucket: Storage, tmp_path: Path) -> None:
    bucket.put("folder/key", b"")
    for key in ("uploads/gone.tif", "folder", "folder/key/below"):
        with pytest.raises(MissingObject, match=key):
            bucket.get(key)
        with pytest.raises(MissingObject, match=key):
            bucket.download(key, tmp_path / "target")


def test_source_that_is_not_there_is_none_of_the_buckets(bucket: Storage, tmp_path: Path) -> None:
    for upload in (bucket.upload, bucket.upload_new):
        with pytest.raises(FileNotFoundError, match="source"):
            upload("a/key", tmp_path / "source")
    assert list(bucket.list()) == []
    assert bucket.remove_partials(-60) == 0


def test_target_that_cannot_be_written_is_no_missing_object(
    bucket: Storage, tmp_path: Path
) -> None:
    if isinstance(bucket, MemoryStorage):
        return
    bucket.put("a/key", b"x")
    with pytest.raises(StorageUnavailable, match="a/key"):
        bucket.download("a/key", tmp_path / "no folder" / "target")


def test_url(bucket: Storage) -> None:
    bucket.put("a/key µ+.tif", b"content")
    url = bucket.url("a/key µ+.tif")
    if url.startswith("memory:"):
        return
    with urlopen(url) as answer:  # noqa: S310  # file: is one of the schemes
        assert answer.read() == b"content"
        assert answer.headers["Content-Type"] == "image/tiff"


def test_url_tells_the_browser_a_name(bucket: Storage) -> None:
    bucket.put("a/key.zip", b"content")
    url = bucket.url("a/key.zip", name='cells of "Größe 3µ".zip')
    if url.startswith(("memory:", "file:")):
        return
    with urlopen(url) as answer:  # noqa: S310  # http only
        assert answer.read() == b"content"
        assert answer.headers["Content-Type"] == "application/zip"
        assert answer.headers["Content-Disposition"] == (
            'attachment; filename="cells of _Gr__e 3__.zip"; '
            "filename*=UTF-8''cells%20of%20%22Gr%C3%B6%C3%9Fe%203%C2%B5%22.zip"
        )


def test_upload_url(bucket: Storage) -> None:
    if isinstance(bucket, LocalStorage | MemoryStorage):
        with pytest.raises(UnsupportedByBucket, match="a/new µ"):
            bucket.upload_url("a/new µ+.tif")
        return
    link = bucket.upload_url("a/new µ+.tif")
    kind = {"Content-Type": "image/tiff"}
    put = Request(link, b"sent", kind, method="PUT")  # noqa: S310  # http only
    with urlopen(put) as answer:  # noqa: S310  # http only
        assert answer.status == 200
    assert bucket.get("a/new µ+.tif") == b"sent"


def _fail_after_some(kind: OSError) -> Callable[..., Any]:
    def write(path: Any, *_args: Any, **_more: Any) -> None:
        with Path(path).open("wb") as file:
            file.write(b"some")
        raise kind

    return write


FULL = OSError(errno.ENOSPC, "No space left on device")
BROKEN = OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize(("error", "ours"), [(FULL, StorageFull), (BROKEN, StorageUnavailable)])
@pytest.mark.parametrize("before", [b"", b"old"])
def test_failing_write_leaves_what_was_there_and_no_part(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: OSError,
    ours: type[KioskError],
    before: bytes,
) -> None:
    bucket = LocalStorage(tmp_path / "bucket")
    if before:
        bucket.put("a/key", before)
    source = tmp_path / "source"
    source.write_bytes(b"new")
    fail = _fail_after_some(error)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", lambda self, _data: fail(self))
        patch.setattr(shutil, "copyfile", lambda _source, target: fail(target))
        with pytest.raises(ours, match="a/key"):
            bucket.put("a/key", b"new")
        with pytest.raises(ours, match="a/key"):
            bucket.upload("a/key", source)
    files = [file for file in bucket.root.rglob("*") if file.is_file()]
    assert [file.read_bytes() for file in files] == ([before] if before else [])


def test_download_onto_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = LocalStorage(tmp_path)
    bucket.put("key", b"x")
    fail = _fail_after_some(FULL)
    monkeypatch.setattr(shutil, "copyfile", lambda _source, target: fail(target))
    with pytest.raises(StorageFull, match="Free some space"):
        bucket.download("key", tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_a_reader_never_sees_a_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = LocalStorage(tmp_path)
    seen: list[list[str]] = []
    write = Path.write_bytes

    def spy(path: Path, data: bytes) -> int:
        written = write(path, data)
        seen.append(list(bucket.list()))
        return written

    monkeypatch.setattr(Path, "write_bytes", spy)
    bucket.put("key", b"x")
    assert seen == [[]]
    assert list(bucket.list()) == ["key"]


def test_delete_takes_empty_folders_along_but_not_the_bucket(tmp_path: Path) -> None:
    bucket = LocalStorage(tmp_path / "bucket")
    bucket.put("a/b/one", b"")
    bucket.put("a/two", b"")
    bucket.delete("a/b/one")
    assert sorted(path.name for path in bucket.root.rglob("*")) == ["a", "two"]
    bucket.delete("a/two")
    assert list(bucket.root.iterdir()) == []


def test_folder_that_a_twin_fills_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = LocalStorage(tmp_path)
    bucket.put("a/one", b"")
    remove = Path.rmdir

    def filled_meanwhile(path: Path) -> None:
        bucket.put("a/two", b"")
        remove(path)

    monkeypatch.setattr(Path, "rmdir", filled_meanwhile)
    bucket.delete("a/one")
    assert list(bucket.list()) == ["a/two"]


def test_folder_that_cannot_be_removed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = LocalStorage(tmp_path)
    bucket.put("a/one", b"")

    def refuse(_path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "rmdir", refuse)
    with pytest.raises(StorageDenied, match="Permission denied"):
        bucket.delete("a/one")


def test_from_url(tmp_path: Path) -> None:
    folder = tmp_path / "with space µ"
    local = from_url(folder.as_uri())
    local.put("key", b"x")
    assert (folder / "key").read_bytes() == b"x"
    assert local.url("key") == (folder / "key").as_uri()
    from_url("memory://one").put("key", b"x")
    assert from_url("memory://one").get("key") == b"x"
    assert list(from_url("memory://other").list()) == []
    with pytest.raises(InvalidParameter, match="ftp://"):
        from_url("ftp://host")


@pytest.mark.parametrize("rest", ["", "bucket", "srv/kiosk/bucket", "./bucket", "../bucket"])
def test_folder_without_its_whole_path_is_refused(rest: str) -> None:
    """It would be another one for each process, wherever that was started."""
    with pytest.raises(InvalidParameter, match="file:///srv/kiosk/bucket"):
        from_url(f"file://{rest}")
