"""Tell divisions from cells that only came near another one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.imaging.tracks import Detections

__all__ = ["DivisionParams", "without_false_divisions"]


@dataclass(frozen=True)
class DivisionParams:
    """What two cells must be like to be sisters. Chosen on simulated movies.

    Areas are compared with the upper quartile of the mother's area in her last frames: as a
    metaphase plate she is small, and what was taken for one cell where two touch, until they part,
    has only lately been large.
    """

    symmetry: float = 0.6  #: the smaller sister's area is at least that of the larger one's
    least: float = 0.5  #: the sisters' areas together are at least that of their mother's
    most: float = 1.45  #: and at most that
    frames: int = 10  #: in which the mother is looked at, the last before the division
    lasting: int = 2  #: both sisters are seen for so many frames, if the movie goes on so long
    # Near the border, where nuclei are cut off:
    most_cut: float = 1.1  #: the sisters' areas together are at most that of their mother's
    apart: float = 0.2  #: each sister has moved so far, in median diameters
    even: float = 0.5  #: the one at least that of the other's way
    opposite: float = -0.7  #: the cosine of the angle between their ways is at most that


def without_false_divisions(
    cells: Detections,
    previous: NDArray[np.intp],
    *,
    places: NDArray[np.float64],
    shape: tuple[int, int],
    params: DivisionParams,
) -> NDArray[np.intp]:
    """Return the links without divisions of which the sisters do not fit each other or the mother.

    previous: (N,) for each row of `cells` that of the cell it was before, or -1.
    places: (N, 2) (y, x) px, after drift was taken off. shape: (Y, X) of a frame, px.
    Of a false division the link to the nearer cell stays. No cell has more than two daughters.
    Near the border nuclei are cut off, so that areas say little: there it counts that the sisters
    have gone opposite ways.
    """
    links = _Links(cells, previous, places, shape, params)
    kept = previous.copy()
    for mother, found in links.children.items():
        if len(found) > 1:
            near = links.by_distance(mother, found)
            kept[near[2 if links.fit(mother, near[:2]) else 1 :]] = -1
    return kept


class _Links:
    """Links as they were assigned, and the tests that a division has to pass."""

    def __init__(
        self,
        cells: Detections,
        previous: NDArray[np.intp],
        places: NDArray[np.float64],
        shape: tuple[int, int],
        params: DivisionParams,
    ) -> None:
        self._cells, self._previous, self._places = cells, previous, places
        self._shape, self._params = shape, params
        self.children: dict[int, list[int]] = {}
        for row in np.flatnonzero(previous >= 0).tolist():
            self.children.setdefault(int(previous[row]), []).append(row)
        self._diameter = np.sqrt(4 / np.pi * np.median(cells.area)) if len(cells) else 0.0

    def by_distance(self, mother: int, rows: list[int]) -> list[int]:
        """Return the rows, that of the cell nearest to the mother first."""
        away = np.hypot(*(self._places[rows] - self._places[mother]).T)
        return [rows[index] for index in np.argsort(away, kind="stable").tolist()]

    def fit(self, mother: int, sisters: list[int]) -> bool:
        """Tell whether two cells are daughters of a third; all by their rows."""
        if not all(self._lasts(row) for row in sisters):
            return False
        cells, params = self._cells, self._params
        smaller, larger = sorted(float(area) for area in cells.area[sisters])
        own = float(np.percentile(cells.area[self._past(mother)], 75))
        share = (smaller + larger) / own
        if self._near_border([mother, *sisters]):
            return share <= params.most_cut and self._opposite(mother, sisters)
        return params.least <= share <= params.most and smaller >= params.symmetry * larger

    def _opposite(self, mother: int, sisters: list[int]) -> bool:
        ways = self._places[sisters] - self._places[mother]
        shorter, longer = sorted(float(length) for length in np.hypot(*ways.T))
        if shorter < max(self._params.apart * self._diameter, self._params.even * longer):
            return False
        return float(ways[0] @ ways[1]) <= self._params.opposite * shorter * longer

    def _past(self, row: int) -> list[int]:
        """Return the rows of a cell's last frames, back to where it was born."""
        rows = [row]
        while len(rows) < self._params.frames:
            row = int(self._previous[row])
            if row < 0 or len(self.children[row]) > 1:
                break
            rows.append(row)
        return rows

    def _lasts(self, row: int) -> bool:
        for _frame in range(self._params.lasting - 1):
            if row not in self.children:
                gone = bool(self._cells.frame[row] < self._cells.frame[-1])
                return not gone or self._near_border([row])
            row = self.children[row][0]
        return True

    def _near_border(self, rows: list[int]) -> bool:
        margin, places = self._diameter / 2, (self._cells.y[rows], self._cells.x[rows])
        return any(
            ((place < margin) | (place > side - 1 - margin)).any()
            for place, side in zip(places, self._shape, strict=True)
        )
