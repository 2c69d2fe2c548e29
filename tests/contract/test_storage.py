"""One suite over every bucket."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from kiosk_tasks.errors import (
    InvalidKey,
    InvalidParameter,
    KioskError,
    MissingObject,
    StorageDenied,
    StorageFull,
    StorageUnavailable,
)
from kiosk_tasks.ports import Storage
from kiosk_tasks.storage import from_url
from kiosk_tasks.storage.local import LocalStorage
from kiosk_tasks.storage.memory import MemoryStorage
from tests.s3_server import bucket_url, s3_server

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


@pytest.fixture(params=["local", "local-relative", "memory", "s3", "s3-prefix"])
def bucket(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    if request.param == "memory":
        return MemoryStorage()
    if request.param == "local":
        return LocalStorage(tmp_path / "a bucket")
    if request.param == "local-relative":
        monkeypatch.chdir(tmp_path)
        return LocalStorage(Path("bucket"))
    prefix = "" if request.param == "s3" else "a/prefix µ+"
    return from_url(bucket_url(request.getfixturevalue("s3"), monkeypatch, prefix=prefix))


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
        lambda key: bucket.download(key, tmp_path / "target"),
        bucket.exists,
        bucket.delete,
        bucket.url,
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


def test_url(bucket: Storage) -> None:
    bucket.put("a/key µ+.tif", b"content")
    url = bucket.url("a/key µ+.tif")
    if url.startswith("memory:"):
        return
    with urlopen(url) as answer:  # noqa: S310  # file: is one of the schemes
        assert answer.read() == b"content"
        assert answer.headers["Content-Type"] == "image/tiff"


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
