"""Tell divisions from cells that only came near another one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.imaging.tracks import Detections

__all__ = ["DivisionParams", "without_false_divisions"]


@dataclass(frozen=True)
class DivisionParams:
    """What two cells must be like to be sisters.

    A mother's area is her largest in her last frames: as a metaphase plate she is small.
    Chosen on simulated movies (`benchmarks.tracking`).
    """

    symmetry: float = 0.6  #: the smaller sister's area is at least that of the larger one's
    least: float = 0.5  #: the sisters' areas together are at least that of their mother's
    most: float = 1.7  #: and at most that
    frames: int = 5  #: before her last one, in which the mother is looked at


def without_false_divisions(
    detections: Detections,
    previous: NDArray[np.intp],
    *,
    places: NDArray[np.float64],
    shape: tuple[int, int],
    params: DivisionParams,
) -> NDArray[np.intp]:
    """Return the links without divisions of which the sisters do not fit each other or the mother.

    previous: (N,) for each row that of the cell it was before, or -1.
    places: (N, 2) (y, x) px, after drift was taken off. shape: (Y, X) of a frame, px.
    Of a false division the link to the nearer cell stays. No cell has more than two daughters.
    Near the border, where nuclei are cut off, sisters may be as small as they are.
    """
    kept = previous.copy()
    children: dict[int, list[int]] = {}
    for row in np.flatnonzero(previous >= 0).tolist():
        children.setdefault(int(previous[row]), []).append(row)
    for mother, found in children.items():
        if len(found) > 1:
            near = _by_distance(places, mother, found)
            fits = _fits(detections, previous, children, (mother, near[0], near[1]), shape, params)
            kept[near[2 if fits else 1 :]] = -1
    return kept


def _fits(
    cells: Detections,
    previous: NDArray[np.intp],
    children: dict[int, list[int]],
    family: tuple[int, int, int],
    shape: tuple[int, int],
    params: DivisionParams,
) -> bool:
    """Tell whether two cells are daughters of the third; family: rows of mother and daughters."""
    mother, *sisters = family
    smaller, larger = sorted(cells.area[sisters].tolist())
    largest, row = float(cells.area[mother]), mother
    for _frame in range(params.frames):
        row = int(previous[row])
        if row < 0 or len(children[row]) > 1:
            break
        largest = max(largest, float(cells.area[row]))
    if smaller < params.symmetry * larger or smaller + larger > params.most * largest:
        return False
    return smaller + larger >= params.least * largest or _near_border(cells, sisters, shape)


def _near_border(cells: Detections, rows: list[int], shape: tuple[int, int]) -> bool:
    margin = np.sqrt(4 / np.pi * np.median(cells.area))
    return any(
        not margin < place < side - margin
        for column, side in zip((cells.y, cells.x), shape, strict=True)
        for place in column[rows].tolist()
    )


def _by_distance(places: NDArray[np.float64], mother: int, rows: list[int]) -> list[int]:
    away = np.hypot(*(places[rows] - places[mother]).T)
    return [rows[index] for index in np.argsort(away, kind="stable").tolist()]
