"""Zip archives: what a person sends, and what somebody built to do harm."""

from __future__ import annotations

import stat
import time
import zipfile
from pathlib import Path

import pytest

from kiosk_tasks.errors import ArchiveTooLarge, UnreadableArchive, UnusableMember
from kiosk_tasks.imaging.archives import ZipArchive
from kiosk_tasks.imaging.limits import ArchiveLimits
from tests.unit.imaging.zips import (
    UTF8,
    end,
    many_entries,
    one_entry,
    overlapping,
    tarred,
    zipped,
)

FILES = {"a.tif": b"II*\0" * 100, "plate 1/b.tif": bytes(3_000_000), "µ.png": b"\x89PNG"}


def opened(tmp_path: Path, content: bytes, limits: ArchiveLimits | None = None) -> ZipArchive:
    path = tmp_path / "upload"
    path.write_bytes(content)
    return ZipArchive(path, name="cells.zip", limits=limits or ArchiveLimits())


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_come_back(tmp_path: Path, method: int) -> None:
    with opened(tmp_path, zipped(FILES, method=method)) as archive:
        assert {m.name: m.read(max_bytes=2**22) for m in archive.members} == FILES
        assert [m.size_bytes for m in archive.members] == [len(c) for c in FILES.values()]
        large = archive.members[1]
        assert max(map(len, large.chunks())) <= 2**20
        large.copy(tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == FILES["plate 1/b.tif"]


def test_an_empty_archive_has_no_members(tmp_path: Path) -> None:
    with opened(tmp_path, zipped({})) as archive:
        assert archive.members == ()


def test_what_macos_and_folders_add_is_left_out(tmp_path: Path) -> None:
    extra = {"plate/": b"", "__MACOSX/._a.tif": b"x", ".DS_Store": b"x", "p/.x/a.tif": b"x"}
    with opened(tmp_path, zipped({"./a.tif": b"x", **extra})) as archive:
        assert [m.name for m in archive.members] == ["./a.tif"]


def test_utf8_names_that_are_not_marked(tmp_path: Path) -> None:
    with opened(tmp_path, one_entry("zellkern-ü.tif".encode())) as archive:
        assert archive.members[0].name == "zellkern-ü.tif"
        assert archive.members[0].read(max_bytes=9) == b"pixels"


@pytest.mark.parametrize(
    ("content", "fact"),
    [
        (one_entry(b"/etc/passwd"), "slash in front"),
        (one_entry(b"../../a.tif"), "leaves the archive"),
        (one_entry(b"a/../../b.tif"), "leaves the archive"),
        (one_entry(b"..\\..\\a.tif"), "backslash"),
        (one_entry(b"C:/a.tif"), "drive"),
        (one_entry(b"a.tif\0.exe"), "control characters"),
        (one_entry(b"a\x1b[31m.tif"), "control characters"),
        (one_entry(b"n" * 2000), "too long"),
        (one_entry(b""), "empty"),
        (one_entry(b"\0a.tif"), "control characters"),
        (one_entry(b"a.tif", flags=1), "encrypted"),
        (one_entry(b"a.tif", method=12), "Deflate"),
        (one_entry(b"a.tif", method=99), "Deflate"),
        (one_entry(b"a.tif", crc=7), "damaged"),
        (one_entry(b"a.tif", size=900), "length"),
        (one_entry(b"a.zip", zipped({"b": b"x"})), "archive itself"),
        (one_entry(b"a.trk", tarred({"b": b"x"})), "archive itself"),
        (one_entry(b"a.tif", b"not deflated", method=8), "damaged"),
    ],
)
def test_a_member_that_cannot_be_had_says_so(tmp_path: Path, content: bytes, fact: str) -> None:
    with opened(tmp_path, content) as archive:
        (member,) = archive.members
        with pytest.raises(UnusableMember, match=fact) as caught:
            member.read(max_bytes=2**20)
    message = str(caught.value)
    assert "cells.zip" in message
    assert message.endswith(".")
    assert message.isprintable()


def test_links_and_devices_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "links.zip"
    with zipfile.ZipFile(path, "w") as made:
        for kind in (stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO):
            info = zipfile.ZipInfo(f"{kind}.tif")
            info.external_attr = (kind | 0o777) << 16
            made.writestr(info, "/etc/passwd")
    with ZipArchive(path, name="links.zip") as archive:
        assert [m.problem is not None for m in archive.members] == [True] * 3
        with pytest.raises(UnusableMember, match="link or a device"):
            archive.members[0].copy(tmp_path / "copy")


def test_one_bad_member_does_not_hide_the_others(tmp_path: Path) -> None:
    content = bytearray(zipped(FILES, method=zipfile.ZIP_STORED))
    at = content.index(b"II*\0")
    content[at] = 0
    with opened(tmp_path, bytes(content)) as archive:
        first, *others = archive.members
        with pytest.raises(UnusableMember, match="damaged"):
            first.read(max_bytes=2**22)
        assert [m.read(max_bytes=2**22) for m in others] == list(FILES.values())[1:]


def test_the_second_of_two_names_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path, zipped({"a.tif": b"x", "A.TIF": b"y"})) as archive:
        assert [m.problem is None for m in archive.members] == [True, False]


def test_a_member_over_what_the_reader_takes(tmp_path: Path) -> None:
    with opened(tmp_path, zipped(FILES)) as archive, pytest.raises(UnusableMember, match="bytes"):
        archive.members[1].read(max_bytes=2**20)


@pytest.mark.parametrize(
    ("content", "fact"),
    [
        (b"", "no end"),
        (b"PK\3\4" + bytes(100), "no end"),
        (zipped(FILES)[:-30], "no end"),
        (end(1, 46, 0), "not where"),
        (one_entry(b"\xff\xfe.tif", flags=UTF8), "no text"),
        (overlapping(1000), "overlap"),
        (many_entries(50, said=5), "5 entries"),
        (many_entries(5, said=50), "50 entries"),
        (bytes(40) + zipped(FILES), "not where"),
        (zipped(FILES).replace(b"PK\1\2", b"PK\1\3"), "is none"),
        (end(0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF), "not where"),
    ],
)
def test_a_broken_archive_is_one_error(tmp_path: Path, content: bytes, fact: str) -> None:
    with pytest.raises(UnreadableArchive, match=fact) as caught:
        opened(tmp_path, content, ArchiveLimits(max_members=10**6))
    assert str(caught.value).startswith("cells.zip ")


def test_a_million_entries_are_refused_by_their_count(tmp_path: Path) -> None:
    content = many_entries(10**6)
    began = time.perf_counter()
    with pytest.raises(ArchiveTooLarge, match="KIOSK_MAX_ARCHIVE_MEMBERS"):
        opened(tmp_path, content)
    assert time.perf_counter() - began < 1
    with pytest.raises(UnreadableArchive, match="3 entries"):
        opened(tmp_path, many_entries(10**6, said=3))
    assert time.perf_counter() - began < 2


def test_bombs(tmp_path: Path) -> None:
    bomb = zipped({f"{n}.tif": bytes(2**22) for n in range(8)})
    with pytest.raises(ArchiveTooLarge, match="KIOSK_MAX_ARCHIVE_RATIO"):
        opened(tmp_path, bomb)
    with pytest.raises(ArchiveTooLarge, match="KIOSK_MAX_ARCHIVE_BYTES"):
        opened(tmp_path, bomb, ArchiveLimits(max_bytes=2**24))
    with opened(tmp_path, bomb, ArchiveLimits(max_ratio=2000)) as archive:
        assert sum(len(m.read(max_bytes=2**22)) for m in archive.members) == 2**25


def test_a_size_that_is_smaller_than_what_comes(tmp_path: Path) -> None:
    content = zipped({"a.tif": bytes(2**22)})
    lying = content.replace((2**22).to_bytes(4, "little"), (100).to_bytes(4, "little"))
    with opened(tmp_path, lying) as archive, pytest.raises(UnusableMember, match=r"damaged|length"):
        archive.members[0].read(max_bytes=2**20)
