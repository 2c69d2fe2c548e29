"""A result's contents, as plans: what is asked for is fetched, once, and nothing else."""

from __future__ import annotations

import re
import shutil
import tempfile
import zipfile
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from kiosk_tasks.client.calls import Calls
from kiosk_tasks.client.effects import Plan, work
from kiosk_tasks.client.errors import NotFound, NotInResult, ServerError
from kiosk_tasks.client.reading import (
    Part,
    Row,
    Tracks,
    find,
    parts_of,
    read_labels,
    read_spots,
    read_table,
    read_tracks,
)
from kiosk_tasks.client.state import ResultFile, State

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Contents"]

_DRIVE = re.compile(r"[A-Za-z]:(/|$)")

_CELLS = ("_cells.csv", "_counts.csv", "_tracks.csv")
"""Tables that have a row for each cell, or for each cell and frame."""


class Contents:
    """The files of one result; those that were fetched stay in memory."""

    def __init__(self, calls: Calls, state: State) -> None:
        self._calls = calls
        self.state = state
        self._files: list[ResultFile] | None = None
        self._kept: dict[str, Any] = {}

    def files(self) -> Plan[list[ResultFile]]:
        """Return the files there are."""
        if self._files is None:
            self._files = yield from self._calls.files(self.state.id)
        return self._files

    def read(self, name: str) -> Plan[bytes]:
        """Return the bytes of one file."""
        return (yield from self._calls.file(self.state.id, name))

    def parts(self) -> Plan[dict[str, NDArray[np.int32]]]:
        """Return every label image, by the name of the part."""
        if "parts" not in self._kept:
            images = {}
            for part in parts_of((yield from self._names())):
                images[part.name] = yield from self._labels_of(part)
            self._kept["parts"] = images
        parts: dict[str, NDArray[np.int32]] = self._kept["parts"]
        if not parts:
            raise (yield from self._nothing("label image"))
        return parts

    def labels(self) -> Plan[NDArray[np.int32]]:
        """Return the only label image."""
        parts = parts_of((yield from self._names()))
        if len(parts) > 1:
            names = ", ".join(repr(part.name) for part in parts)
            raise NotInResult(
                f"this result has {len(parts)} label images: {names}; "
                f"take one, as in result.parts[{parts[0].name!r}]."
            )
        return next(iter((yield from self.parts()).values()))

    def tracks(self) -> Plan[Tracks]:
        """Return the tracks of a movie."""
        if "tracks" not in self._kept:
            table = yield from self._only("_tracks.csv", "tracks")
            divisions = yield from self._only("_divisions.csv", "divisions")
            self._kept["tracks"] = yield from work(lambda: read_tracks(table, divisions))
        tracks: Tracks = self._kept["tracks"]
        return tracks

    def spots(self) -> Plan[NDArray[np.float64]]:
        """Return the places of spots."""
        if "spots" not in self._kept:
            table = yield from self._only("_spots.csv", "spots")
            self._kept["spots"] = yield from work(lambda: read_spots(table))
        spots: NDArray[np.float64] = self._kept["spots"]
        return spots

    def table(self, ending: str) -> Plan[list[Row]]:
        """Return the rows of the tables whose names end so; with several, a column `file`."""
        if ending not in self._kept:
            names = find((yield from self._names()), ending)
            if not names:
                raise (yield from self._nothing(f"table …{ending}"))
            rows: list[Row] = []
            for name in names:
                more = {"file": name} if len(names) > 1 else {}
                text = yield from self.read(name)
                read = yield from work(partial(read_table, text))
                rows += [{**more, **row} for row in read]
            self._kept[ending] = rows
        found: list[Row] = self._kept[ending]
        return found

    def cells(self) -> Plan[list[Row]]:
        """Return the table of cells."""
        names = yield from self._names()
        for ending in _CELLS:
            if find(names, ending):
                return (yield from self.table(ending))
        raise (yield from self._nothing("table of cells"))

    def overlay(self) -> Plan[bytes]:
        """Return the picture, PNG."""
        if "overlay" not in self._kept:
            self._kept["overlay"] = yield from self._calls.overlay(self.state.id)
        picture: bytes = self._kept["overlay"]
        return picture

    def picture(self) -> Plan[bytes | None]:
        """Return what to show of the result: the overlay, else the film of tracks, if any."""
        if self.state.archive:
            return None
        films = find((yield from self._names()), "_tracks.gif")
        try:
            return (yield from (self.read(films[0]) if films else self.overlay()))
        except NotFound:
            return None

    def save(self, folder: Path) -> Plan[list[Path]]:
        """Write all files into a folder; return their paths, by name.

        What became of an archive goes into a folder of its own there, named after it. A file is
        written whole or not at all.
        """
        if self.state.archive:
            folder = _inside(folder, PurePosixPath(self.state.name or self.state.id).stem)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=".kiosk-", dir=folder, ignore_cleanup_errors=True
        ) as scratch:
            whole = Path(scratch) / "result"
            yield from self._calls.whole(self.state.id, whole)
            if zipfile.is_zipfile(whole):
                return (yield from work(lambda: _unpack(whole, Path(scratch), folder)))
            name = next(iter((yield from self._names())), f"{self.state.id}.bin")
            return [whole.replace(_inside(folder, PurePosixPath(name).name))]

    def _names(self) -> Plan[list[str]]:
        return [file.name for file in (yield from self.files())]

    def _labels_of(self, part: Part) -> Plan[NDArray[np.int32]]:
        planes = []
        for name in part.files:
            planes.append((yield from self.read(name)))
        return (yield from work(lambda: read_labels(planes, stacked=part.planes)))

    def _only(self, ending: str, what: str) -> Plan[bytes]:
        """Return the one file whose name ends so."""
        names = find((yield from self._names()), ending)
        if not names:
            raise (yield from self._nothing(what))
        if len(names) > 1:
            raise NotInResult(
                f"this result has {what} of {len(names)} inputs: {', '.join(names)}; "
                "read one with result.read(name)."
            )
        return (yield from self.read(names[0]))

    def _nothing(self, what: str) -> Plan[NotInResult]:
        names = yield from self._names()
        return NotInResult(
            f"the result of this {self.state.type} job has no {what}; it has {', '.join(names)}."
        )


def _unpack(archive: Path, scratch: Path, folder: Path) -> list[Path]:
    written = []
    with zipfile.ZipFile(archive) as packed:
        for member in packed.infolist():
            if member.is_dir():
                continue
            target = _inside(folder, member.filename)
            target.parent.mkdir(parents=True, exist_ok=True)
            part = scratch / "part"
            with packed.open(member) as source, part.open("wb") as copy:
                shutil.copyfileobj(source, copy, 2**20)
            written.append(part.replace(target))
    return sorted(written)


def _inside(folder: Path, name: str) -> Path:
    """Return where a file goes; raises ServerError for a name that leaves the folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    drive = _DRIVE.match(str(path)) or Path(*path.parts).drive  # `1:2.tif` is a name elsewhere
    if not path.name or path.is_absolute() or ".." in path.parts or drive:
        raise ServerError(f"a file of the result has a name that leaves the folder: {name}.")
    return folder / path
