"""Choose links of which a model has said how likely they are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["assigned"]

SAME, DAUGHTER = 0, 2  # 1 is "different"
_NEVER = 1e6  # a cost that no assignment pays


def assigned(
    likely: NDArray[Any], *, birth: float, death: float, division: float
) -> NDArray[np.intp]:
    """Return for each cell the track it goes on from, or is a daughter of; else -1.

    likely: (tracks, cells, 3) probabilities that a cell is a track's same cell, a different one,
        or a daughter.
    birth, death: cost of a track's start and end. A link costs 1 - P(same); of all assignments the
        cheapest is taken (Jaqaman et al. 2008, Nature Methods 5:695, with its lower right block),
        so that a link is made where it costs less than the mean of both.
    division: a cell without a link is a daughter of the track of which that is likeliest, if for
        that track "daughter" is likelier than the other answers, and than this.

    Two cells at most have the same track; if there are two, it divides.
    """
    # Imported here: scipy.optimize costs 10 MB, and only tracking needs it.
    from scipy.optimize import linear_sum_assignment

    tracks, cells = likely.shape[:2]
    link = 1 - likely[..., SAME]
    costs = np.full((tracks + cells, cells + tracks), _NEVER)
    costs[:tracks, :cells] = link
    costs[tracks:, cells:] = link.T
    np.fill_diagonal(costs[:tracks, cells:], death)
    np.fill_diagonal(costs[tracks:, :cells], birth)
    rows, columns = linear_sum_assignment(costs)
    found = np.full(cells, -1, np.intp)
    linked = (rows < tracks) & (columns < cells)
    found[columns[linked]] = rows[linked]
    daughter = likely[..., DAUGHTER]
    sure = (likely.argmax(-1) == DAUGHTER) & (daughter > division)
    for cell in sorted(np.flatnonzero(found < 0), key=lambda cell: -daughter[:, cell].max()):
        free = sure[:, cell] & (np.bincount(found[found >= 0], minlength=tracks) < 2)
        if free.any():
            found[cell] = int(np.argmax(np.where(free, daughter[:, cell], -1)))
    return found
