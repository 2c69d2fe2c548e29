"""How well two label images agree, cell by cell."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from kiosk_tasks.errors import InvalidAxes

__all__ = ["IOU_THRESHOLDS", "MEAN_F1_AT", "CellScore", "Overlaps", "overlaps", "score_cells"]

IOU_THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
"""Intersection over union that a match needs; those of the 2018 Data Science Bowl."""
MEAN_F1_AT = (0.5, 0.6, 0.7, 0.8, 0.9)
"""Thresholds over which `CellScore.mean_f1` is the mean."""


@dataclass(frozen=True)
class CellScore:
    """True and found cells that match, and what follows from them; a sum pools images.

    matched: pairs at each of `IOU_THRESHOLDS`. true, found: cells.
    iou_sum: intersection over union, summed over the pairs above 0.5.
    split: true cells of which two or more found cells are parts; merged: the reverse. A part has
        more than half of its own area in the other.

    A ratio of nothing is 1 where nothing was to be found and nothing was, else 0; images without
    cells thus count in the mean of images, and change nothing in a sum.
    """

    matched: tuple[int, ...] = (0,) * len(IOU_THRESHOLDS)
    true: int = 0
    found: int = 0
    iou_sum: float = 0.0
    split: int = 0
    merged: int = 0

    def __add__(self, other: CellScore) -> CellScore:
        """Pool with other images."""
        return CellScore(
            tuple(a + b for a, b in zip(self.matched, other.matched, strict=True)),
            self.true + other.true,
            self.found + other.found,
            self.iou_sum + other.iou_sum,
            self.split + other.split,
            self.merged + other.merged,
        )

    @property
    def precision(self) -> tuple[float, ...]:
        """Share of the found cells that match, at each threshold."""
        return tuple(self._share(m, self.found) for m in self.matched)

    @property
    def recall(self) -> tuple[float, ...]:
        """Share of the true cells that match, at each threshold."""
        return tuple(self._share(m, self.true) for m in self.matched)

    @property
    def f1(self) -> tuple[float, ...]:
        """Twice the matches over true and found cells, at each threshold."""
        return tuple(self._share(2 * m, self.true + self.found) for m in self.matched)

    @property
    def ap(self) -> tuple[float, ...]:
        """Matches over matched, missed and invented cells, TP / (TP + FP + FN), at each threshold.

        The "average precision" of the 2018 Data Science Bowl (Caicedo et al. 2019, Nature Methods
        16:1247) and of Schmidt et al. 2018 (StarDist), also known as the critical success index.
        """
        return tuple(self._share(m, self.true + self.found - m) for m in self.matched)

    @property
    def mean_f1(self) -> float:
        """Mean F1 over `MEAN_F1_AT`."""
        return float(np.mean([self.f1[IOU_THRESHOLDS.index(t)] for t in MEAN_F1_AT]))

    @property
    def mean_ap(self) -> float:
        """Mean of `ap` over all thresholds."""
        return float(np.mean(self.ap))

    @property
    def mean_iou(self) -> float:
        """Mean intersection over union of the pairs above 0.5; nan where there is none."""
        return self.iou_sum / self.matched[0] if self.matched[0] else nan

    @property
    def panoptic_quality(self) -> float:
        """`mean_iou` times F1 at 0.5: SQ × RQ of Kirillov et al. 2019 (CVPR, eq. 1 and 2)."""
        return self._share(2 * self.iou_sum, self.true + self.found)

    def _share(self, part: float, whole: float) -> float:
        return part / whole if whole else float(not self.true + self.found)


@dataclass(frozen=True, eq=False)
class Overlaps:
    """Each pair of a true and a found cell that share pixels.

    true, found: index of the cell, from 0 in the order of the labels. shared: area of the overlap,
    px². true_areas, found_areas: of every cell, px².
    """

    true: NDArray[np.integer]
    found: NDArray[np.integer]
    shared: NDArray[np.int64]
    true_areas: NDArray[np.int64]
    found_areas: NDArray[np.int64]

    @property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union of each pair."""
        union = self.true_areas[self.true] + self.found_areas[self.found] - self.shared
        return np.asarray(self.shared / union, np.float64)

    @property
    def matched_iou(self) -> NDArray[np.float64]:
        """Intersection over union of the pairs above 0.5, of which no two share a cell."""
        return self.iou[self.iou > 0.5]


def overlaps(truth: NDArray[np.integer], found: NDArray[np.integer]) -> Overlaps:
    """Intersect the cells of two label images.

    truth, found: of the same shape, integer, none below 0; 0 is background, labels may have gaps
    and need not agree. Raises InvalidAxes if the shapes differ.
    """
    if truth.shape != found.shape:
        sizes = [" × ".join(map(str, labels.shape)) for labels in (truth, found)]
        raise InvalidAxes(
            f"the truth has {sizes[0]} px, the result {sizes[1]} px; both must be of one size."
        )
    rows, true_areas = _numbered(truth)
    columns, found_areas = _numbered(found)
    both = (rows > 0) & (columns > 0)
    rows, columns = rows[both] - 1, columns[both] - 1
    shape = (max(len(true_areas), 1), max(len(found_areas), 1))
    pairs: Any = sparse.coo_array((np.ones(len(rows), np.int64), (rows, columns)), shape)
    pairs.sum_duplicates()
    true, found = pairs.coords
    return Overlaps(true, found, pairs.data, true_areas, found_areas)


def score_cells(truth: NDArray[np.integer], found: NDArray[np.integer]) -> CellScore:
    """Match the cells of one image, one to one.

    truth, found: (Y, X), else as in `overlaps`. A pair matches at a threshold if its intersection
    over union is at least that and above 0.5: then no cell can have two partners, so the matches
    are those of an optimal assignment (Kirillov et al. 2019, theorem 1). Raises InvalidAxes.
    """
    pairs = overlaps(truth, found)
    iou = pairs.matched_iou
    return CellScore(
        tuple(int(np.count_nonzero(iou >= threshold)) for threshold in IOU_THRESHOLDS),
        len(pairs.true_areas),
        len(pairs.found_areas),
        float(iou.sum()),
        split=_with_parts(pairs.true[2 * pairs.shared > pairs.found_areas[pairs.found]]),
        merged=_with_parts(pairs.found[2 * pairs.shared > pairs.true_areas[pairs.true]]),
    )


def _numbered(labels: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number the cells 1..n in the order of their labels; return pixels, flat, and areas."""
    flat = labels.ravel()
    if int(flat.max(initial=0)) > 16 * flat.size:  # counting would need more memory than sorting
        old, flat = np.unique(flat, return_inverse=True)
        flat = flat + int(old[0] != 0)
    areas = np.bincount(flat, minlength=1)
    areas[0] = 0
    numbers = np.cumsum(areas > 0) * (areas > 0)
    return numbers[flat], areas[areas > 0]


def _with_parts(wholes: NDArray[np.integer]) -> int:
    """Count the cells that are named twice or more."""
    return int(np.count_nonzero(np.bincount(wholes, minlength=1) > 1))
