"""Watershed from markers, each connected part of the mask alone: scikit-image's labels, sooner.

scikit-image keeps all pixels that wait in one heap, by value and then by age. What happens in one
connected part of the mask depends on no other part, as long as the order of its own pixels is
settled by value and age; ages are counted through all parts, but within one part their order is
what it would be alone. So a part with one marker takes its number without a flood, and a part with
several is flooded with a heap of its own, which stays small and in the cache. Only markers have an
age in common, 0: where two pixels of markers in one part have one value, their order is the heap's
chance, and then everything is flooded at once, as scikit-image would.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["watershed"]


def watershed(
    landscape: NDArray[Any], markers: NDArray[Any], *, mask: NDArray[np.bool_]
) -> NDArray[np.int32]:
    """Flood the landscape from the markers, within the mask, through the edges of pixels.

    landscape: (Y, X), any real dtype. markers: (Y, X) integer, 0 is none, none below 0.
    mask: (Y, X) bool.
    Returns (Y, X) int32 of the markers' numbers, 0 where none came: label for label what
    `skimage.segmentation.watershed` gives.
    """
    parts, count = ndimage.label(mask)
    places = np.flatnonzero(markers)
    owners, numbers = parts.ravel()[places], markers.ravel()[places].astype(np.int32, copy=False)
    if not owners.all():
        inside = owners > 0
        places, owners, numbers = places[inside], owners[inside], numbers[inside]
    shared, alone = _shared(owners, numbers, count)
    crowded = shared[owners]
    if not crowded.any():
        return np.take(alone, parts)
    order = np.flatnonzero(crowded)
    order = order[np.argsort(owners[order], kind="stable")]
    starts = places[order]
    if _any_tie(owners[order], landscape.ravel()[starts]):
        return _flood(landscape, markers, mask, [places])
    groups = np.split(starts, np.flatnonzero(np.diff(owners[order])) + 1)
    return _flood(landscape, np.where(markers > 0, markers, alone[parts]), mask, groups)


def _shared(
    owners: NDArray[Any], numbers: NDArray[np.int32], count: int
) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
    """Return which parts have several markers, and the number of the one where there is one."""
    last = np.zeros(count + 1, np.int32)
    last[owners] = numbers
    shared = np.zeros(count + 1, np.bool_)
    shared[owners[last[owners] != numbers]] = True
    last[shared] = 0
    return shared, last


def _any_tie(owners: NDArray[Any], values: NDArray[Any]) -> bool:
    """Tell whether a part has two places of one value. owners: sorted."""
    order = np.lexsort((values, owners))
    owners, values = owners[order], values[order]
    return bool(((owners[1:] == owners[:-1]) & (values[1:] == values[:-1])).any())


def _flood(
    landscape: NDArray[Any],
    markers: NDArray[Any],
    mask: NDArray[np.bool_],
    groups: list[NDArray[np.intp]],
) -> NDArray[np.int32]:
    """Flood from each group of places (in the flat plane) with a heap of its own."""
    # Imported here: with scikit-image's morphology and scipy.spatial it costs 15 MB.
    from skimage.segmentation._watershed_cy import watershed_raveled

    rows, columns = landscape.shape
    inner = np.s_[1:-1, 1:-1]
    heights = np.zeros((rows + 2, columns + 2), np.float64)
    heights[inner] = landscape
    within = np.zeros(heights.shape, np.int8)
    within[inner] = mask
    labels = np.zeros(heights.shape, np.int32)
    labels[inner] = markers
    labels[inner] *= mask
    wide = columns + 2
    neighbours = np.array([-wide, -1, 1, wide], np.intp)
    strides = np.array([wide, 1], np.intp)
    flat = heights.ravel(), within.ravel(), labels.ravel()
    for places in groups:
        starts = places + 2 * (places // columns) + wide + 1
        watershed_raveled(flat[0], starts, neighbours, flat[1], strides, 0.0, flat[2], False)
    return np.ascontiguousarray(labels[inner])
