"""Truths and results as arrays, from the forms in which people keep them."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from kiosk_tasks.errors import (
    InvalidAxes,
    InvalidFileType,
    UnreadableArchive,
    UnreadableImage,
    UnusableImage,
)
from kiosk_tasks.imaging.image import Image
from kiosk_tasks.imaging.io import is_image_file, read
from kiosk_tasks.imaging.movie import open_movies
from kiosk_tasks.imaging.trk import open_trk
from kiosk_tasks.outputs import stem_of

__all__ = [
    "TRACK_TABLES",
    "TrackedCells",
    "read_labels",
    "read_spots",
    "read_tracks",
    "refuse_mask",
]

TRACK_TABLES = ("man_track.txt", "res_track.txt")
"""Names of the table of tracks in a folder of the Cell Tracking Challenge."""
_FRAMES = ("man_track*.tif", "mask*.tif")
_TRK = (".trk", ".trks")
_LARGEST_LABEL = 2**31 - 1
_YX = (
    ("y", "x"),
    ("axis-0", "axis-1", "axis-2"),
    ("axis-0", "axis-1"),
    ("row", "col"),
    ("row", "column"),
)
_PLANES = ("frame", "batch", "t")


@dataclass(frozen=True, eq=False)
class TrackedCells:
    """A movie's cells: frames (Y, X) in which a number is a track, and who came from whom.

    frames: drawn one by one, once. table: (n, 4) rows (id, first frame, last frame, parent or 0).
    """

    frames: Iterator[NDArray[np.int64]]
    table: NDArray[np.int64]


def read_labels(path: Path, *, axes: str = "") -> Image:
    """Read a label image of any integer type, or of floats that are whole numbers.

    axes: those of the result, into whose order a truth is brought. Default: the file's own.
    Returns int64. Raises UnusableImage for values that are no labels, InvalidAxes if the axes do
    not fit, and what `imaging.io.read` raises.
    """
    image = _read_as(path, axes)
    labels = replace(image, data=_whole(image.data, path.name))
    try:
        return labels.to(axes) if axes else labels
    except InvalidAxes as exc:
        shape = " × ".join(map(str, image.data.shape))
        raise InvalidAxes(
            f'{path.name} has axes "{image.axes}" ({shape} px), the result has "{axes}"; '
            "a truth has one number per pixel and the axes of the result."
        ) from exc


def refuse_mask(labels: NDArray[np.int64], name: str) -> None:
    """Raise UnusableImage for what only tells cells from background, in one number."""
    most = int(labels.max(initial=0))
    inside = labels == most
    if most and np.array_equal(inside, labels > 0) and (count := ndimage.label(inside)[1]) > 1:
        raise UnusableImage(
            f"{name} marks {count} separate regions, all with the number {most}; "
            "a label image gives each cell a number of its own."
        )


def read_spots(path: Path) -> dict[int, NDArray[np.float64]]:
    """Read (n, 2) positions (y, x), px, by plane, of a CSV file with columns `y` and `x`.

    Columns `axis-0` and `axis-1` (napari), or `row` and `col`, do as well, in any case; others,
    such as positions in µm, are left aside. Planes are counted by a column `frame`, `batch` or
    `t`, or by the first of three axes; a table without has one plane, -1.
    Raises UnreadableImage, InvalidFileType.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, skipinitialspace=True)
            columns = {name.strip().lower(): name for name in rows.fieldnames or ()}
            known = next((names for names in _YX if set(names) <= set(columns)), None)
            if known is None:
                raise InvalidFileType(
                    f"{path.name} has the columns {', '.join(columns) or 'of nothing'}; spots need "
                    "y and x (or axis-0 and axis-1), in pixels."
                )
            *first, y, x = (columns[name] for name in known)
            plane = next(
                iter([*first, *(columns[name] for name in _PLANES if name in columns)]), ""
            )
            planes: dict[int, list[tuple[float, float]]] = {}
            for row in rows:
                number = int(float(row[plane])) if plane else -1
                planes.setdefault(number, []).append((float(row[y]), float(row[x])))
    except (ValueError, OverflowError, TypeError, csv.Error) as exc:
        raise UnreadableImage(
            f"{path.name} is no table of spots: {exc}; save it as CSV, a number in each cell."
        ) from exc
    return {number: np.array(spots) for number, spots in planes.items()}


def read_tracks(path: Path) -> TrackedCells:
    """Read tracked cells: a Cell Tracking Challenge folder, a `.trk` file, or a stack and a table.

    A folder holds `man_track.txt` and a frame per file (`man_track000.tif` …, or `mask000.tif` …);
    beside a stack `x_tracked.ome.tif` lies `x_res_track.txt` or `x_man_track.txt`.
    Raises UnreadableImage, InvalidFileType, UnreadableArchive.
    """
    if path.is_dir():
        return _of_folder(path)
    if path.name.lower().endswith(_TRK):
        return _of_trk(path)
    bare = stem_of(path.name)
    base = bare.rsplit("_", 1)[0]
    tables = [path.with_name(f"{stem}_{name}") for stem in (base, bare) for name in TRACK_TABLES]
    table = next((table for table in tables if table.is_file()), None)
    if table is None:
        raise InvalidFileType(
            f"{path.name} has no table of tracks beside it; put {tables[0].name} there, "
            "a row for each track: id, first frame, last frame, parent or 0."
        )
    return TrackedCells(_frames_of(path), _table(table))


def _of_folder(folder: Path) -> TrackedCells:
    table = next(folder / name for name in TRACK_TABLES if (folder / name).is_file())
    files = next((found for p in _FRAMES if (found := sorted(folder.glob(p)))), [])
    if not files:
        raise InvalidFileType(
            f"{folder} has {table.name} but no frames; put man_track000.tif, … there."
        )
    return TrackedCells((read_labels(file, axes="YX").data for file in files), _table(table))


def _of_trk(path: Path) -> TrackedCells:
    with TemporaryDirectory() as folder:
        lineages = open_trk(path, Path(folder), name=path.name).lineages
    if len(lineages) != 1:
        raise InvalidFileType(
            f"{path.name} holds {len(lineages)} movies; give one movie per file, as .trk."
        )
    try:
        rows = [_lineage_row(label, track) for label, track in lineages[0].items()]
    except (KeyError, TypeError, ValueError) as exc:
        raise UnreadableArchive(
            f"{path.name} has a lineage without labels, frames or parents ({exc!r}); export it "
            "again as .trk."
        ) from exc
    return TrackedCells(_frames_of(path), np.array(sorted(rows), np.int64).reshape(-1, 4))


def _frames_of(path: Path) -> Iterator[NDArray[np.int64]]:
    """Yield the labels of one frame after the other; no other is in memory."""
    with (
        TemporaryDirectory() as folder,
        open_movies(path, Path(folder), name=path.name) as (movie, *_),
    ):
        for number in range(movie.size[0]):
            yield _whole((movie.labels or movie.frame)(number), path.name)


def _lineage_row(label: str, track: Mapping[str, Any]) -> tuple[int, int, int, int]:
    frames = track["frames"]
    before = track.get("parent") or track.get("continues")  # as in our own res_track.txt
    return int(label), min(frames), max(frames), int(before or 0)


def _table(path: Path) -> NDArray[np.int64]:
    try:
        rows = [[int(word) for word in line.split()] for line in path.read_text().splitlines()]
        if strange := [row for row in rows if len(row) not in (0, 4)]:
            raise ValueError(f"a row has {len(strange[0])}")
        return np.array([row for row in rows if row], np.int64).reshape(-1, 4)
    except (ValueError, OverflowError) as exc:
        raise UnreadableImage(
            f"{path.name} is no table of tracks ({exc}); each row is four whole numbers: id, "
            "first frame, last frame, parent or 0."
        ) from exc


def _read_as(path: Path, axes: str) -> Image:
    """Read an image; where it does not say what its axes are, they are the result's."""
    if not is_image_file(path):
        raise InvalidFileType(f"{path.name} is no label image; give TIFF or PNG.")
    try:
        return read(path, name=path.name)
    except InvalidAxes:
        return read(path, name=path.name, axes=axes or None)


def _whole(values: NDArray[Any], name: str) -> NDArray[np.int64]:
    if values.dtype.kind == "f":
        strange = values[~(np.isfinite(values) & (values == np.floor(values)))]
    else:
        strange = values[:0]
    if not strange.size:
        strange = values[(values < 0) | (values > _LARGEST_LABEL)]
    if strange.size:
        raise UnusableImage(
            f"{name} has the value {strange.flat[0]:g}; a label image has whole numbers from 0 to "
            f"{_LARGEST_LABEL}, one for each cell, and 0 for background."
        )
    return values.astype(np.int64)
