"""A table of the cells in a label image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.errors import InvalidAxes
from kiosk_tasks.imaging.labels import LabelImage

__all__ = ["COLUMNS", "CellTable", "measure_cells", "to_csv"]

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


def measure_cells(labels: LabelImage, intensity: NDArray[Any]) -> CellTable:
    """Measure where each cell is, how large and how bright.

    labels: "YX". intensity: (Y, X), any real dtype, as the camera gave it.
    Raises InvalidAxes if their shapes differ.
    """
    cells = labels.data
    if cells.ndim != 2 or cells.shape != intensity.shape:
        raise InvalidAxes(
            f"labels of shape {cells.shape} do not fit an image of shape {intensity.shape}; "
            "both must be the same (Y, X)."
        )
    inside = np.flatnonzero(cells)
    number, row = cells.ravel()[inside], inside // cells.shape[1]
    column = inside - row * cells.shape[1]
    area = np.bincount(number, minlength=1)
    label = np.flatnonzero(area)
    area = area[label]

    def mean(values: NDArray[Any]) -> NDArray[np.float64]:
        sums = np.bincount(number, values.astype(np.float64), minlength=1)[label]
        return np.asarray(sums / area, np.float64)

    edge = np.concatenate([cells[0], cells[-1], cells[:, 0], cells[:, -1]])
    return CellTable(
        label=label,
        y=mean(row),
        x=mean(column),
        area_px=area,
        area_um2=None if labels.mpp is None else area * np.float64(labels.mpp**2),
        mean_intensity=mean(intensity.ravel()[inside]),
        touches_border=np.isin(label, edge),
    )


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
