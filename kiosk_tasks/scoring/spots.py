"""How well found spots agree with the true ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from scipy.spatial import cKDTree

from kiosk_tasks.errors import InvalidParameter

__all__ = ["SpotScores", "score_spots"]

Points = NDArray[np.float64]


@dataclass(frozen=True)
class SpotScores:
    """The agreement of found spots with true ones.

    truth, found, matched: how many true spots, found spots, and pairs of them there are.
    precision: matched / found. recall: matched / truth. f1: their harmonic mean. Where there is
        nothing to find and nothing was found, all three are 1; where only one side is empty, 0.
    rmse_px: root of the mean squared distance of the pairs, px; None if there is no pair.
    """

    truth: int
    found: int
    matched: int
    precision: float
    recall: float
    f1: float
    rmse_px: float | None


def score_spots(truth: NDArray[Any], found: NDArray[Any], *, radius_px: float = 3.0) -> SpotScores:
    """Pair true spots with found ones, each at most once, and count the pairs.

    truth, found: (N, 2) and (M, 2) positions (y, x), px, any real dtype, finite; either may be
        empty.
    radius_px: a pair may be this far apart, px; 3 px is customary where spots are about that wide.
    Of all ways to pair them, the one with the most pairs counts, and among these the one with the
    smallest sum of squared distances. Raises InvalidParameter for another shape, positions that
    are not finite, or a radius that is not above 0.
    """
    true_points, found_points = _points(truth, "true"), _points(found, "found")
    if not radius_px > 0:
        raise InvalidParameter(f"radius_px is {radius_px:g}, but should be above 0 px.")
    squared = _pairs(true_points, found_points, radius_px)
    n, m, matched = len(true_points), len(found_points), len(squared)
    nothing = n == m == 0
    return SpotScores(
        truth=n,
        found=m,
        matched=matched,
        precision=1.0 if nothing else matched / max(m, 1),
        recall=1.0 if nothing else matched / max(n, 1),
        f1=1.0 if nothing else 2 * matched / (n + m),
        rmse_px=float(np.sqrt(squared.mean())) if matched else None,
    )


def _points(points: NDArray[Any], which: str) -> Points:
    checked = np.asarray(points, np.float64)
    if checked.size == 0:
        return checked.reshape(0, 2)
    if checked.ndim != 2 or checked.shape[1] != 2:
        raise InvalidParameter(
            f"the {which} spots have the shape {checked.shape}, but should be (n, 2): y and x."
        )
    if not np.isfinite(checked).all():
        raise InvalidParameter(f"some {which} spots have a position that is NaN or infinite.")
    return checked


def _pairs(truth: Points, found: Points, radius: float) -> NDArray[np.float64]:
    """Return the squared distances of the best pairs, (matched,).

    Only pairs within the radius are written down, so that memory follows the number of spots and
    not its square. Each true spot may also stay alone, at a price above all that the others could
    save by it: a full matching then always exists and has the most pairs.
    """
    near = cKDTree(truth).sparse_distance_matrix(cKDTree(found), radius, output_type="coo_matrix")
    n, m = len(truth), len(found)
    if not near.nnz:
        return np.empty(0)
    cost = 1 + (near.data / radius) ** 2  # 1 to 2; a sparse 0 would be no edge at all
    alone = np.arange(n)
    weights = np.concatenate([cost, np.full(n, 2.0 * (n + 1))])
    rows = np.concatenate([near.row, alone])
    columns = np.concatenate([near.col, m + alone])
    graph = coo_array((weights, (rows, columns)), shape=(n, m + n)).tocsr()
    chosen, partner = min_weight_full_bipartite_matching(graph)
    paired = partner < m
    offsets = truth[chosen[paired]] - found[partner[paired]]
    return np.asarray((offsets**2).sum(axis=1), np.float64)
