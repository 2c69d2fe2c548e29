"""Object-level agreement of two label images, pooled at the levels that the model's tables show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.scoring.cells import overlaps

__all__ = ["IOU_LEVELS", "Counts", "count_matches"]

IOU_LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class Counts:
    """Objects matched at each of `IOU_LEVELS`; sums pool images."""

    matched: tuple[int, ...] = (0,) * len(IOU_LEVELS)
    true: int = 0
    found: int = 0

    def __add__(self, other: Counts) -> Counts:
        matched = tuple(a + b for a, b in zip(self.matched, other.matched, strict=True))
        return Counts(matched, self.true + other.true, self.found + other.found)

    @property
    def f1(self) -> tuple[float, ...]:
        """F1 at each level: twice the matches over true and found objects."""
        return tuple(2 * matched / max(self.true + self.found, 1) for matched in self.matched)

    @property
    def mean_f1(self) -> float:
        """Mean of `f1` over the levels."""
        return float(np.mean(self.f1))


def count_matches(truth: NDArray[np.integer], found: NDArray[np.integer]) -> Counts:
    """Match the objects of two (Y, X) label images one to one, as `kiosk evaluate` does.

    A pair matches at level t if its intersection over union is above 0.5 and at least t.
    """
    pairs = overlaps(truth, found)
    matched = tuple(int(np.count_nonzero(pairs.matched_iou >= level)) for level in IOU_LEVELS)
    return Counts(matched, len(pairs.true_areas), len(pairs.found_areas))
