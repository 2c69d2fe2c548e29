"""What the two-channel models of tissue want to see."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.imaging.intensity import equalise_adaptively, normalise_percentiles

__all__ = ["KERNEL", "prepare"]

KERNEL = 128  # px, neighbourhood in which contrast is equalised
CLIPPED_ABOVE = 99.9  # percentile


def prepare(planes: NDArray[Any]) -> NDArray[np.float32]:
    """Clip each channel at its 99.9th percentile, then equalise its contrast locally.

    planes: (Y, X, C) at the model's pixel size, any real dtype, finite.
    Returns (Y, X, C) float32 in [0, 1]; a constant channel becomes 0.

    Source: Greenwald et al. 2022, Nature Biotechnology 40:555, Methods.
    """
    channels = (
        normalise_percentiles(planes[..., index], low=0.0, high=CLIPPED_ABOVE, clip=(0.0, 1.0))
        for index in range(planes.shape[-1])
    )
    return np.stack([equalise_adaptively(plane, kernel=KERNEL) for plane in channels], axis=-1)
