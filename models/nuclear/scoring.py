"""Object-level agreement of two label images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["IOU_LEVELS", "Counts", "count_matches", "intersection_over_union"]

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
    """Match the objects of two (Y, X) label images one to one.

    A pair matches at level t if its intersection over union is above 0.5 and at least t; above 0.5
    no object can have two partners, so no assignment has to be solved (Caicedo et al. 2019).
    """
    overlap = intersection_over_union(truth, found)
    matched = tuple(
        int(np.count_nonzero((overlap > 0.5) & (overlap >= level))) for level in IOU_LEVELS
    )
    return Counts(matched, *overlap.shape)


def intersection_over_union(
    truth: NDArray[np.integer], found: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Return (true objects, found objects) float64 in [0, 1], rows and columns in label order."""
    rows, columns = _indices(truth), _indices(found)
    shape = (int(rows.max(initial=0)) + 1, int(columns.max(initial=0)) + 1)
    pairs = np.bincount((rows * shape[1] + columns).ravel(), minlength=shape[0] * shape[1])
    shared = pairs.reshape(shape)
    union = shared.sum(1)[1:, None] + shared.sum(0)[None, 1:] - shared[1:, 1:]
    return np.asarray(shared[1:, 1:] / union, np.float64)


def _indices(labels: NDArray[np.integer]) -> NDArray[np.int64]:
    """Number the labels without gaps, background staying 0."""
    present = np.bincount(labels.ravel()) > 0
    present[0] = False
    numbers = np.where(present, np.cumsum(present), 0)
    return np.asarray(numbers[labels], np.int64)
