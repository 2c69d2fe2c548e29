"""The one archive that a job leaves: written, and taken apart again."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from kiosk_tasks.errors import UnreadableArchive
from kiosk_tasks.imaging.zip_writer import ZipWriter
from kiosk_tasks.outputs.files import OutputFile
from kiosk_tasks.outputs.record_text import record_text
from kiosk_tasks.ports import Storage
from kiosk_tasks.scratch import fetching_into

__all__ = ["fetch_result", "pack", "place_in"]

_PACKED = ("_cells.geojson", "_spots.geojson", "_rois.zip")


def pack(
    files: Iterable[OutputFile],
    record_name: str,
    record: Callable[[], Mapping[str, Any]],
    target: Path | BinaryIO,
) -> None:
    """Write a zip of the files and of the provenance record, which lists their checksums.

    files: drawn one by one; none but the one at hand need be in memory.
    record: asked when all are drawn, since facts may be noted on the way.
    Members are stored as they are: images are compressed already. Outlines are packed.
    The same result is the same bytes, whenever it was made.
    """
    described: dict[str, Any] = {}
    with ZipWriter(target) as archive:
        for file in files:
            described[file.name] = file.describe()
            _add(archive, file)
        whole = {**record(), "outputs": described}
        _add(archive, OutputFile(record_name, f"{record_text(whole)}\n".encode()))


def fetch_result(storage: Storage, key: str, folder: Path) -> dict[str, Path]:
    """Fetch a job's result and unpack it into a folder; return its files by name.

    key: the job's `output_file_name`. A result that is no archive is one file, named as its key
    ends. Memory stays bounded. Raises MissingObject, and UnreadableArchive for a name that leaves
    the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    packed = folder / ".result.zip"
    with fetching_into(folder):
        storage.download(key, packed)
    if not zipfile.is_zipfile(packed):
        name = PurePosixPath(key).name
        return {name: packed.rename(folder / name)}
    files = {}
    with zipfile.ZipFile(packed) as archive:
        for member in archive.infolist():
            name = member.filename
            if member.is_dir():
                continue
            files[name] = place_in(folder, name)
            files[name].parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, files[name].open("wb") as target:
                shutil.copyfileobj(source, target)
    packed.unlink()
    return files


def place_in(folder: Path, name: str) -> Path:
    """Return where a file of a result goes; raises UnreadableArchive if that is not in the folder.

    Results are named after inputs, so that `1:2.tif` is as good a name as any.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise UnreadableArchive(f"a file of the result has a name that leaves the archive: {name}.")
    return folder / path


def _add(archive: ZipWriter, file: OutputFile) -> None:
    packed = file.name.endswith(_PACKED)
    if file.packed is not None:
        archive.add_as_it_is(file.name, file.packed.data, **file.packed.facts())
    elif isinstance(file.data, bytes):
        archive.add(file.name, file.data, packed=packed)
    else:
        archive.add_file(file.name, file.data, packed=packed)
