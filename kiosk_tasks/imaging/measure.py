"""A table of the cells in a label image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.errors import InvalidAxes
from kiosk_tasks.imaging.labels import LabelImage
from kiosk_tasks.imaging.runs import Runs, runs_of

__all__ = [
    "COLUMNS",
    "CellSums",
    "CellTable",
    "added",
    "cell_sums",
    "measure_cells",
    "table_of",
    "to_csv",
]

_AT_ONCE = 2**15  # px

COLUMNS = ("label", "y", "x", "area_px", "area_um2", "mean_intensity", "touches_border")


@dataclass(frozen=True, eq=False)
class CellTable:
    """One row for each cell, in the order of the labels; each column is (n,).

    label, area_px: int64. y, x: float64 centroid, px. mean_intensity: float64, the image's unit.
    area_um2: float64, µm²; None where the pixel size is unknown. touches_border: bool.
    """

    label: NDArray[np.int64]
    y: NDArray[np.float64]
    x: NDArray[np.float64]
    area_px: NDArray[np.int64]
    area_um2: NDArray[np.float64] | None
    mean_intensity: NDArray[np.float64]
    touches_border: NDArray[np.bool_]

    def __len__(self) -> int:
        """Return how many cells there are."""
        return len(self.label)


@dataclass(frozen=True, eq=False)
class CellSums:
    """What is added up over each cell, in the order of the labels; each column is (n,).

    label, area: int64. y, x: float64 sums of coordinates, px. intensity: float64 sum.
    touches_border: bool. Sums of the parts of an image can be added: see `added`.
    """

    label: NDArray[np.int64]
    area: NDArray[np.int64]
    y: NDArray[np.float64]
    x: NDArray[np.float64]
    intensity: NDArray[np.float64]
    touches_border: NDArray[np.bool_]


def measure_cells(
    labels: LabelImage, intensity: NDArray[Any], *, runs: Runs | None = None
) -> CellTable:
    """Measure where each cell is, how large and how bright.

    labels: "YX". intensity: (Y, X), any real dtype, as the camera gave it.
    runs: of these labels, where they are known already.
    Raises InvalidAxes if their shapes differ.
    """
    cells = labels.data
    if cells.ndim != 2 or cells.shape != intensity.shape:
        raise InvalidAxes(
            f"labels of shape {cells.shape} do not fit an image of shape {intensity.shape}; "
            "both must be the same (Y, X)."
        )
    runs = runs_of(cells) if runs is None else runs
    return table_of(cell_sums(runs, intensity), mpp=labels.mpp)


def cell_sums(
    runs: Runs,
    intensity: NDArray[Any],
    *,
    origin: tuple[int, int] = (0, 0),
    whole: tuple[int, int] | None = None,
) -> CellSums:
    """Add up each cell of an image, or of a part of one.

    runs: of its labels. intensity: (Y, X) of the same shape, any real dtype.
    origin: where its first pixel lies in the whole image, (y, x), px; coordinates are in that.
    whole: (Y, X) of the whole image, whose border counts; None is this part.
    """
    height, width = runs.shape if whole is None else whole
    row, first = runs.row, runs.first % max(runs.shape[1], 1)
    y, left, right = row + origin[0], first + origin[1], first + runs.length - 1 + origin[1]
    edge = (y == 0) | (y == height - 1) | (left == 0) | (right == width - 1)
    label, of_run = _in_use(runs.label)
    area = _sums(of_run, runs.length, len(label))
    return CellSums(
        label=label,
        area=area.astype(np.int64),
        y=_sums(of_run, y * runs.length, len(label)),
        x=_sums(of_run, (left + right) * runs.length // 2, len(label)),
        intensity=_intensity(runs, of_run, intensity, len(label)),
        touches_border=np.bincount(of_run[edge], minlength=len(label)) > 0,
    )


def added(parts: Sequence[CellSums]) -> CellSums:
    """Return the sums of an image from those of its parts; a cell may lie in several.

    parts: at least one, in raster order, so that equal images give equal sums.
    """
    every = np.concatenate([part.label for part in parts])
    label, of_part = np.unique(every, return_inverse=True)

    def total(name: str) -> NDArray[np.float64]:
        return _sums(of_part, np.concatenate([getattr(p, name) for p in parts]), len(label))

    return CellSums(
        label=label,
        area=total("area").astype(np.int64),
        y=total("y"),
        x=total("x"),
        intensity=total("intensity"),
        touches_border=total("touches_border") > 0,
    )


def table_of(sums: CellSums, *, mpp: float | None) -> CellTable:
    """Return the table of an image whose cells have been added up. mpp: µm per pixel, if known."""
    return CellTable(
        label=sums.label,
        y=sums.y / sums.area,
        x=sums.x / sums.area,
        area_px=sums.area,
        area_um2=None if mpp is None else sums.area * np.float64(mpp**2),
        mean_intensity=sums.intensity / sums.area,
        touches_border=sums.touches_border,
    )


def _in_use(label: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the labels that there are, ascending, and for each given one which of them it is."""
    largest = int(label.max(initial=0))
    if largest > 4 * len(label) + 1024:
        return np.unique(label, return_inverse=True)
    used = np.bincount(label, minlength=1) > 0
    return np.flatnonzero(used), (np.cumsum(used) - 1)[label]


def _sums(index: NDArray[np.int64], values: NDArray[Any], count: int) -> NDArray[np.float64]:
    return np.asarray(np.bincount(index, values.astype(np.float64), minlength=count), np.float64)


def _intensity(
    runs: Runs, of_run: NDArray[np.int64], plane: NDArray[Any], count: int
) -> NDArray[np.float64]:
    """Return the sum of each cell's pixels.

    Small whole numbers are added run by run: such sums are exact. Others are added pixel by pixel
    in raster order, since any other order changes the last digit.
    """
    if plane.dtype.kind in "bui" and plane.dtype.itemsize <= 4:
        return _sums(of_run, _sums_of_runs(runs, plane.ravel()), count)
    begins = np.cumsum(runs.length) - runs.length
    pixels = np.repeat(runs.first - begins, runs.length) + np.arange(runs.length.sum())
    return _sums(np.repeat(of_run, runs.length), plane.ravel()[pixels], count)


def _sums_of_runs(runs: Runs, flat: NDArray[Any]) -> NDArray[np.int64]:
    """Return the sum of each run's pixels, whole numbers."""
    sums = np.empty(len(runs), np.int64)
    width = max(runs.shape[1], 1)
    pixels = max(_AT_ONCE // width, 1) * width  # whole rows, that a processor's cache holds
    room = np.empty(min(pixels, flat.size), np.int64)
    begins = np.arange(0, flat.size, pixels)
    bounds = np.append(np.searchsorted(runs.first, begins), len(runs)).tolist()
    for begin, low, high in zip(begins.tolist(), bounds, bounds[1:], strict=False):
        first, last = runs.first[low:high] - begin, runs.last[low:high] - begin
        part = flat[begin : begin + pixels]
        until = np.cumsum(part, out=room[: len(part)])
        sums[low:high] = until[last] - until[first] + part[first]
    return sums


def to_csv(table: CellTable) -> bytes:
    r"""Write the table as CSV: a header, one line for each cell, "\n" at the end of each.

    Coordinates have 2 decimals, areas in µm² and intensities 6 significant digits; an
    unknown area is an empty field; touches_border is 0 or 1. Equal tables give equal bytes.
    """
    lines = [",".join(COLUMNS), *_lines(table)]
    return ("\n".join(lines) + "\n").encode("ascii")


def _lines(table: CellTable) -> Iterator[str]:
    areas = [""] * len(table)
    if table.area_um2 is not None:
        areas = [f"{area:.6g}" for area in table.area_um2.tolist()]
    yield from (
        f"{label},{y:.2f},{x:.2f},{area_px},{area_um2},{mean:.6g},{border:d}"
        for label, y, x, area_px, area_um2, mean, border in zip(
            table.label.tolist(),
            table.y.tolist(),
            table.x.tolist(),
            table.area_px.tolist(),
            areas,
            table.mean_intensity.tolist(),
            table.touches_border.tolist(),
            strict=True,
        )
    )
