"""What the heads should say about a label image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

from models.nuclear.fields import FloatImage

__all__ = ["distances", "meeting_pixels"]

INNER_SCALE = 2.0  #: alpha in Greenwald et al. 2022, Methods, in units of 1 / sqrt(area)


def distances(labels: NDArray[np.integer]) -> FloatImage:
    """Return (Y, X, 2) float32 for (Y, X) labels: inner and outer distance, both 0 on background.

    Inner: 1 / (1 + 2 r / sqrt(area)), r the distance to the centre (Greenwald et al. 2022).
    The centre is weighted by depth, so that it stays inside bent nuclei.
    Outer: distance to the object's boundary over its largest value.
    Neither changes when an image is rescaled.
    """
    result = np.zeros((*labels.shape, 2), np.float32)
    for label, window in enumerate(ndi.find_objects(labels), 1):
        if window is None:
            continue
        mask = labels[window] == label
        depth = ndi.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
        y, x = np.nonzero(mask)
        weight = depth[mask]
        radius = np.hypot(y - np.average(y, weights=weight), x - np.average(x, weights=weight))
        inner = 1 / (1 + INNER_SCALE * radius / np.sqrt(mask.sum()))
        result[window][mask] = np.stack([inner, weight / weight.max()], -1)
    return result


def meeting_pixels(labels: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return (Y, X) bool, true where two objects meet or are one pixel apart."""
    highest = ndi.maximum_filter(labels, 3)
    lowest = ndi.minimum_filter(np.where(labels > 0, labels, labels.max() + 1), 3)
    return np.asarray((highest != lowest) & (lowest <= labels.max()))
