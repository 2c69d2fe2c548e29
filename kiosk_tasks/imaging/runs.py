"""Cells as runs of pixels along the rows: what outlines and sums are made of, without the pixels.

A label image has some thirty times fewer runs than pixels of cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.errors import InvalidAxes
from kiosk_tasks.imaging.labels import Labels

__all__ = ["Runs", "runs_of"]


@dataclass(frozen=True, eq=False)
class Runs:
    """Neighbouring pixels of one label in one row; (n,) each, in raster order, no background.

    label: int64. first, last: int64 flat indices of the pixels at both ends.
    shape: (Y, X) of the image.
    """

    label: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    shape: tuple[int, int]

    def __len__(self) -> int:
        """Return how many runs there are."""
        return len(self.label)

    @cached_property
    def row(self) -> NDArray[np.int64]:
        """The row of each run, (n,)."""
        return self.first // max(self.shape[1], 1)

    @cached_property
    def length(self) -> NDArray[np.int64]:
        """How many pixels each run has, (n,)."""
        return self.last - self.first + 1


def runs_of(labels: Labels) -> Runs:
    """Return the runs of a label image.

    labels: (Y, X) integer; 0 is background. Raises InvalidAxes for labels that are no plane.
    """
    if labels.ndim != 2:
        raise InvalidAxes(f"labels of shape {labels.shape} are no plane; give (Y, X).")
    flat, (height, width) = labels.ravel(), labels.shape
    begins = np.empty(flat.size + 1, np.bool_)
    np.not_equal(flat[1:], flat[:-1], out=begins[1:-1])
    begins[:: max(width, 1)] = True  # the last of them is the end of the last run
    borders = np.flatnonzero(begins)
    label = flat[borders[:-1]]
    cells = np.flatnonzero(label)
    return Runs(
        label=label[cells].astype(np.int64),
        first=borders[cells],
        last=borders[cells + 1] - 1,
        shape=(height, width),
    )
