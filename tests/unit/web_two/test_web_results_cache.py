"""Results read by ranges: their files, the bytes of each, and how much of the bucket is read."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from kiosk_tasks.errors import MissingObject, StorageUnavailable, UnreadableArchive
from kiosk_tasks.outputs import OutputFile, pack
from kiosk_tasks.storage.memory import MemoryStorage
from kiosk_tasks.web.results_cache import Directories, read_object


class Counting(MemoryStorage):
    """A bucket that counts how much is read of it."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[int] = []

    def read_range(self, key: str, start: int, length: int) -> bytes:
        found = super().read_range(key, start, length)
        self.read.append(len(found))
        return found


def zipped(files: Iterable[tuple[str, bytes]], kind: int = zipfile.ZIP_STORED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", kind) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return made.getvalue()


@pytest.fixture
def bucket() -> Counting:
    return Counting()


def test_the_files_of_a_packed_result_are_those_that_were_packed(
    bucket: Counting, tmp_path: Path
) -> None:
    files = {"n_labels.ome.tif": bytes(range(256)) * 20_000, "å/n.csv": b"y,x\n", "empty": b""}
    packed = tmp_path / "packed"
    pack((OutputFile(n, d) for n, d in files.items()), "n_job.json", lambda: {}, packed)
    bucket.upload("output/1/n.zip", packed)
    found = Directories(bucket).of("output/1/n.zip")
    assert list(found.members) == [*files, "n_job.json"]
    for name, data in files.items():
        member = found.members[name]
        assert member.size == len(data)
        assert b"".join(found.read(bucket, member)) == data
        assert b"".join(found.read(bucket, member, 1, 300)) == data[1:300]


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_parts_of_a_file_can_be_read_however_it_was_packed(bucket: Counting, kind: int) -> None:
    data = bytes(range(251)) * 10_000
    bucket.put("a.zip", zipped([("first", b"x" * 999), ("b.bin", data)], kind))
    found = Directories(bucket).of("a.zip")
    member = found.members["b.bin"]
    assert b"".join(found.read(bucket, member)) == data
    assert b"".join(found.read(bucket, member, 1_500_001, 1_500_300)) == data[1_500_001:1_500_300]


def test_a_file_is_read_without_the_rest_of_the_archive(bucket: Counting) -> None:
    bucket.put("a.zip", zipped([("large", bytes(30_000_000)), ("small", b"abc")]))
    found = Directories(bucket).of("a.zip")
    assert b"".join(found.read(bucket, found.members["small"])) == b"abc"
    assert sum(bucket.read) < 300_000
    assert max(map(len, found.read(bucket, found.members["large"]))) <= 2**20


def test_a_directory_is_read_once_until_others_push_it_out(bucket: Counting) -> None:
    for name in "abc":
        bucket.put(f"{name}.zip", zipped((f"{name}{n}", b"") for n in range(4)))
    found = Directories(bucket, most_members=8)
    first = found.of("a.zip")
    assert found.of("a.zip") is first
    found.of("b.zip")
    assert found.of("a.zip") is first  # it was used last, so b goes
    found.of("c.zip")
    assert found.of("a.zip") is first
    bucket.read.clear()
    found.of("b.zip")
    assert bucket.read


def test_a_directory_larger_than_the_cache_is_answered_all_the_same(bucket: Counting) -> None:
    bucket.put("a.zip", zipped((str(n), b"") for n in range(50)))
    assert len(Directories(bucket, most_members=8).of("a.zip").members) == 50


def test_a_result_that_is_no_archive_is_one_file(bucket: Counting) -> None:
    bucket.put("output/1/n.tif", b"II*\0" + bytes(100))
    found = Directories(bucket).of("output/1/n.tif")
    (member,) = found.members.values()
    assert (member.name, member.size) == ("n.tif", 104)
    assert b"".join(found.read(bucket, member, 2, 6)) == b"*\0\0\0"


def test_what_is_not_there_or_damaged_is_said(bucket: Counting) -> None:
    with pytest.raises(MissingObject):
        Directories(bucket).of("none.zip")
    whole = bytearray(zipped([("a", b"abc"), ("b", b"def")]))
    whole[whole.index(b"PK\1\2")] ^= 0xFF
    bucket.put("torn.zip", bytes(whole))
    with pytest.raises(UnreadableArchive, match="damaged"):
        Directories(bucket).of("torn.zip")
    whole = bytearray(zipped([("a", b"abc")]))
    whole[0] ^= 0xFF
    bucket.put("head.zip", bytes(whole))
    found = Directories(bucket).of("head.zip")
    with pytest.raises(UnreadableArchive, match="damaged"):
        list(found.read(bucket, found.members["a"]))


def test_an_object_that_shrinks_meanwhile_is_an_error_and_no_short_file(bucket: Counting) -> None:
    bucket.put("a", b"abc")
    with pytest.raises(StorageUnavailable, match="shorter"):
        list(read_object(bucket, "a", 0, 5))
