"""The classical method to beat: Otsu's threshold and a distance-transform watershed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi
from skimage.filters import threshold_otsu
from skimage.morphology import remove_small_objects
from skimage.segmentation import watershed

from kiosk_tasks.imaging.maxima import h_maxima

__all__ = ["otsu_watershed"]

SMOOTHING = 1.0  # sigma over the image and over the distances, px
DEPTH = 0.75  # h of the h-maxima of the distance, px


def otsu_watershed(image: NDArray[Any], *, min_area: int = 15) -> NDArray[np.int32]:
    """Label nuclei of a (Y, X) image; returns (Y, X) int32, 0 background.

    Otsu 1979 for the foreground; markers are the h-maxima of the distance to it.
    """
    smooth = ndi.gaussian_filter(image.astype(np.float32), SMOOTHING)
    foreground = smooth > threshold_otsu(smooth)  # type: ignore[no-untyped-call]
    foreground = remove_small_objects(foreground, max_size=min_area - 1)
    foreground = ndi.binary_fill_holes(foreground)
    distance = ndi.gaussian_filter(ndi.distance_transform_edt(foreground), SMOOTHING)
    peaks = h_maxima(distance, DEPTH) & foreground
    markers, _count = ndi.label(peaks, np.ones((3, 3)))
    labels = watershed(-distance, markers, mask=foreground)  # type: ignore[no-untyped-call]
    return np.asarray(labels, np.int32)
