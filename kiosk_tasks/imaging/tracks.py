"""The cells of a movie as a table, and the tracks they make.

Pixels are looked at frame by frame and then forgotten: what stays is a row for each cell, some 30
bytes, so that memory follows the number of cells and not the size of the movie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.errors import InvalidAxes
from kiosk_tasks.imaging.labels import Labels

__all__ = ["Detections", "Track", "Tracks", "assembled", "detect", "joined"]


@dataclass(frozen=True, eq=False)
class Detections:
    """One row for each cell of each frame, ordered by frame, then label; each column is (N,).

    frame, label: int32, the frame from 0 and the cell's number in that frame's label image.
    y, x: float32 centroid, px. area: float32, px². intensity: float32 mean, the image's unit.
    """

    frame: NDArray[np.int32]
    label: NDArray[np.int32]
    y: NDArray[np.float32]
    x: NDArray[np.float32]
    area: NDArray[np.float32]
    intensity: NDArray[np.float32]

    def __len__(self) -> int:
        """Return how many rows there are."""
        return len(self.frame)

    def rows(self, frame: int) -> slice:
        """Return where the rows of one frame are."""
        return slice(*np.searchsorted(self.frame, [frame, frame + 1]).tolist())


@dataclass(frozen=True)
class Track:
    """One cell from its first frame to its last; a division ends it.

    frames: those it was seen in, ascending; frames that a closed gap bridges are left out.
    parent: id of the track that divided into this one, if any.
    daughters: none or two ids, ascending.
    """

    id: int
    frames: tuple[int, ...]
    parent: int | None = None
    daughters: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Tracks:
    """Which cell belongs to which track.

    track: (N,) int32, the id of the track for each row of `detections`.
    tracks: ids 1..n in this order, which is that of their first frame, then of their label in it.
    """

    detections: Detections
    track: NDArray[np.int32]
    tracks: tuple[Track, ...]

    def relabel(self, labels: NDArray[Any], frame: int) -> Labels:
        """Give each cell of a frame the number of its track; 0 stays background.

        labels: (Y, X) integer, the frame as it was detected.
        """
        rows = self.detections.rows(frame)
        known, number = self.detections.label[rows], self.track[rows]
        if not len(known):
            return np.zeros(labels.shape, np.int32)
        place = np.minimum(np.searchsorted(known, labels), len(known) - 1)
        return np.where(known[place] == labels, number[place], np.int32(0))

    def table(self) -> NDArray[np.int64]:
        """Return (n, 4) int64 rows (id, first frame, last frame, parent or 0).

        It is the table of the Cell Tracking Challenge: Ulman et al. 2017, Nature Methods 14:1141.
        """
        rows = [(t.id, t.frames[0], t.frames[-1], t.parent or 0) for t in self.tracks]
        return np.array(rows, np.int64).reshape(-1, 4)


def detect(labels: NDArray[Any], image: NDArray[Any], *, frame: int) -> Detections:
    """Measure the cells of one frame.

    labels: (Y, X) integer, none below 0, which is background; numbers may be skipped.
    image: (Y, X), any real dtype.
    Raises InvalidAxes if their shapes differ.
    """
    if labels.ndim != 2 or labels.shape != image.shape:
        raise InvalidAxes(
            f"frame {frame} has labels of shape {labels.shape} and pixels of shape {image.shape}; "
            "both must be the same (Y, X)."
        )
    inside = np.flatnonzero(labels)
    label, cell = _numbered(labels.ravel()[inside])
    area = np.bincount(cell)

    def mean(values: NDArray[Any]) -> NDArray[np.float32]:
        sums = np.bincount(cell, values.astype(np.float64))
        return np.asarray(sums / area, np.float32)

    row = inside // labels.shape[1]
    return Detections(
        frame=np.full(len(label), frame, np.int32),
        label=label.astype(np.int32),
        y=mean(row),
        x=mean(inside - row * labels.shape[1]),
        area=area.astype(np.float32),
        intensity=mean(image.ravel()[inside]),
    )


def _numbered(labels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Return the labels that occur, ascending, and for each pixel the index of its label."""
    if int(labels.max(initial=0)) > 16 * labels.size + 1024:  # a table of them would be too long
        return np.unique(labels, return_inverse=True)
    occurs = np.bincount(labels) > 0
    return np.flatnonzero(occurs), (np.cumsum(occurs) - 1)[labels]


def joined(parts: Sequence[Detections]) -> Detections:
    """Put the rows of several frames into one table, whatever order they come in."""
    if not parts:
        none = np.zeros(0, np.float32)
        return Detections(none.astype(np.int32), none.astype(np.int32), none, none, none, none)
    frame, label, y, x, area, intensity = (
        np.concatenate([getattr(part, column) for part in parts])
        for column in ("frame", "label", "y", "x", "area", "intensity")
    )
    order = np.lexsort((label, frame))
    return Detections(frame[order], label[order], y[order], x[order], area[order], intensity[order])


def assembled(detections: Detections, previous: NDArray[np.intp]) -> Tracks:
    """Make tracks of links; a cell that goes on as two or more ends its track, and they start some.

    previous: (N,) for each row that of the cell it was in a frame before, or -1.
    """
    linked = previous >= 0
    heirs = np.bincount(previous[linked], minlength=len(detections))
    starts = ~linked | (heirs[previous] > 1)
    track = np.zeros(len(detections), np.int32)
    track[starts] = np.arange(1, starts.sum() + 1)
    for row in np.flatnonzero(~starts).tolist():  # ordered by frame: what it was is known
        track[row] = track[previous[row]]
    parents = [int(track[row]) if row >= 0 else None for row in previous[starts].tolist()]
    daughters: list[list[int]] = [[] for _parent in parents]
    frames: list[list[int]] = [[] for _parent in parents]
    for number, parent in enumerate(parents, 1):
        if parent is not None:
            daughters[parent - 1].append(number)
    for number, frame in zip(track.tolist(), detections.frame.tolist(), strict=True):
        frames[number - 1].append(frame)
    columns = zip(frames, parents, daughters, strict=True)
    return Tracks(
        detections,
        track,
        tuple(Track(n, tuple(f), p, tuple(d)) for n, (f, p, d) in enumerate(columns, 1)),
    )
