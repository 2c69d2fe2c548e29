"""What is in the files of a result: label images, tracks, spots, tables. Bytes in, values out."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "LABELS",
    "Part",
    "Row",
    "Tracks",
    "find",
    "parts_of",
    "read_labels",
    "read_spots",
    "read_table",
    "read_tracks",
]

LABELS = ("_labels.ome.tif", "_tracked.ome.tif")
_RECORD = "_job.json"
_PLANE = re.compile(r"(?:^|_)batch_(\d+)(?=_|$)")

Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Tracks:
    """The tracks of a movie, as napari's tracks layer takes them.

    data: (N, 4) float64: track, frame, y, x; sorted by track and frame; y and x in pixels.
    graph: the parents of each track that has any: `{daughter: [mother]}`.
    features: columns of the table of tracks, (N,) each: label, area_px, mean_intensity, …
    """

    data: NDArray[np.float64]
    graph: dict[int, list[int]]
    features: dict[str, NDArray[np.float64]]

    def __len__(self) -> int:
        """How many tracks there are."""
        import numpy as np

        return len(np.unique(self.data[:, 0]))


@dataclass(frozen=True)
class Part:
    """A label image of a result; of a stack that was segmented plane by plane, all of them.

    files: names, one for each plane, in the stack's order. planes: whether it is a stack.
    """

    name: str
    files: tuple[str, ...]
    planes: bool = False


def parts_of(names: Iterable[str]) -> list[Part]:
    """Return the label images among the files of a result.

    A part is named by what stands between the input's stem and `_labels`: "nuclear", "channel_0";
    by nothing, where there is one. Those of an archive are named by their input first.
    """
    files = list(names)
    stems = [name.removesuffix(_RECORD) for name in files if name.endswith(_RECORD)]
    stacks: dict[str, dict[int, str]] = {}
    for file in files:
        ending = next((end for end in LABELS if file.endswith(end)), None)
        if ending is None:
            continue
        stem, rest = _stem_and_rest(file.removesuffix(ending), stems)
        plane = _PLANE.search(rest)
        number = int(plane[1]) if plane else -1
        several = stem if len(stems) > 1 else ""
        name = "/".join(filter(None, [several, _PLANE.sub("", rest).strip("_")]))
        stacks.setdefault(name, {})[number] = file
    return [
        Part(name, tuple(planes[n] for n in sorted(planes)), planes=-1 not in planes)
        for name, planes in stacks.items()
    ]


def read_labels(planes: Sequence[bytes], *, stacked: bool) -> NDArray[np.int32]:
    """Return a label image, int32: (Y, X), (T, Y, X) of a movie, (N, Y, X) of stacked planes."""
    import numpy as np
    import tifffile

    arrays = [tifffile.imread(io.BytesIO(plane)).astype(np.int32) for plane in planes]
    return np.stack(arrays) if stacked else arrays[0]


def read_table(text: bytes) -> list[Row]:
    """Return the rows of a CSV file; numbers are numbers, and what is empty is None."""
    reader = csv.DictReader(io.StringIO(text.decode("utf-8")))
    return [{name: _value(told) for name, told in row.items()} for row in reader]


def read_tracks(table: bytes, divisions: bytes) -> Tracks:
    """Return the tracks of `…_tracks.csv`, and who divided into whom of `…_divisions.csv`."""
    import numpy as np

    rows = read_table(table)
    columns = ("track", "frame", "y", "x")
    data = np.array([[row[c] for c in columns] for row in rows], np.float64).reshape(-1, 4)
    order = np.lexsort((data[:, 1], data[:, 0]))
    more = [c for c in (rows[0] if rows else {}) if c not in columns and rows[0][c] is not None]
    features = {c: np.array([row[c] for row in rows], np.float64)[order] for c in more}
    graph: dict[int, list[int]] = {}
    for row in read_table(divisions):
        for daughter in (row["daughter_1"], row["daughter_2"]):
            graph[int(daughter)] = [int(row["mother"])]
    return Tracks(data[order], graph, features)


def read_spots(table: bytes) -> NDArray[np.float64]:
    """Return the places of `…_spots.csv`: (N, 2) y, x; with a first column for several planes."""
    import numpy as np

    reader = csv.reader(io.StringIO(table.decode("utf-8")))
    header = next(reader)
    first = [name for name in header if name in ("frame", "batch")]
    chosen = [header.index(name) for name in (*first, "y", "x")]
    rows = [[float(row[index]) for index in chosen] for row in reader]
    return np.array(rows, np.float64).reshape(-1, len(chosen))


def find(names: Iterable[str], ending: str) -> list[str]:
    """Return the files whose names end so."""
    return [name for name in names if name.endswith(ending)]


def _stem_and_rest(file: str, stems: Sequence[str]) -> tuple[str, str]:
    """Return the stem of a file's input, and what is left of the file's name behind it."""
    fitting = [stem for stem in stems if file == stem or file.startswith(f"{stem}_")]
    stem = max(fitting, key=len, default="")
    return stem, file.removeprefix(stem).lstrip("_") if stem else PurePosixPath(file).name


def _value(text: str | None) -> Any:
    if text is None or text == "":
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
