"""What Python's own `zipfile` makes of the archives."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from kiosk_tasks.imaging import zip_writer
from kiosk_tasks.imaging.zip_writer import ZipWriter

MEMBERS = {"a.txt": b"one" * 1000, "b/µ.txt": b"", "c.txt": bytes(range(256)) * 9}


def plainly_zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
    return buffer.getvalue()


def written(
    members: dict[str, bytes], folder: Path | None = None, *, packed: bool = False
) -> bytes:
    """folder: where the members lie that are to be added as files."""
    buffer = io.BytesIO()
    with ZipWriter(buffer) as archive:
        for number, (name, content) in enumerate(members.items()):
            if folder is None:
                archive.add(name, content, packed=packed)
                continue
            path = folder / str(number)
            path.write_bytes(content)
            archive.add_file(name, path, packed=packed)
    return buffer.getvalue()


def read(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_stored_members_are_the_bytes_that_zipfile_writes(tmp_path: Path) -> None:
    plain = plainly_zipped(MEMBERS)
    assert written(MEMBERS) == plain
    assert written(MEMBERS, tmp_path) == plain


@pytest.mark.parametrize("as_files", [False, True])
def test_packed_members_come_back(as_files: bool, tmp_path: Path) -> None:
    content = written(MEMBERS, tmp_path if as_files else None, packed=True)
    assert read(content) == MEMBERS
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.getinfo("a.txt").compress_size < 100


@pytest.mark.parametrize("as_files", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_sizes_and_places_beyond_31_bits_are_told_in_64(
    as_files: bool, packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zip_writer, "_MOST", 500)
    assert read(written(MEMBERS, tmp_path if as_files else None, packed=packed)) == MEMBERS


def test_more_members_than_16_bits_count() -> None:
    buffer = io.BytesIO()
    with ZipWriter(buffer) as archive:
        for number in range(2**16 + 1):
            archive.add(str(number), b"")
    with zipfile.ZipFile(buffer) as read_again:
        assert len(read_again.namelist()) == 2**16 + 1


def test_nothing_is_an_archive_too(tmp_path: Path) -> None:
    with ZipWriter(tmp_path / "a.zip"):
        pass
    assert (tmp_path / "a.zip").read_bytes() == plainly_zipped({})


def test_the_file_is_closed_when_its_end_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_archive: ZipWriter) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(ZipWriter, "_finish", full)
    archive = ZipWriter(tmp_path / "a.zip")
    with pytest.raises(OSError, match="no space"), archive:
        pass
    assert archive._file.closed
