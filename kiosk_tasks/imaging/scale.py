"""Sizes: bring a plane to the pixel size that a model knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from kiosk_tasks.errors import InvalidParameter
from kiosk_tasks.imaging.labels import remove_border

__all__ = [
    "agreed_diameter",
    "median_diameter",
    "resize",
    "resize_to",
    "scale_factor",
    "scaled_shape",
]

_LARGEST_FACTOR = 10.0
_TOLERANCE = 0.3  # natural logarithm: estimates within a factor of 1.35 agree
_ENOUGH = 10  # whole cells from which on those at the border are left out


def resize(plane: NDArray[Any], factor: float) -> NDArray[np.float32]:
    """Resize a plane, bilinearly; when it shrinks, every pixel counts (no aliasing).

    plane: (Y, X) or (Y, X, C), any real dtype.
    factor: new size over old size.
    Returns float32 of `scaled_shape`; factor 1 gives the same pixels.
    """
    return resize_to(plane, scaled_shape((plane.shape[0], plane.shape[1]), factor))


def resize_to(plane: NDArray[Any], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Do what `resize` does, to a size; the proportions may change.

    plane: (Y, X) or (Y, X, C), any real dtype. shape: (Y, X) of the result, px.
    """
    if shape == plane.shape[:2]:
        return plane.astype(np.float32)
    if plane.ndim == 3:
        planes = [resize_to(plane[..., index], shape) for index in range(plane.shape[2])]
        return np.stack(planes, axis=-1)
    pixels = np.ascontiguousarray(plane, np.float32)
    resized = Pillow.fromarray(pixels).resize(shape[::-1], Pillow.Resampling.BILINEAR)
    return np.asarray(resized, np.float32)


def scaled_shape(shape: tuple[int, int], factor: float) -> tuple[int, int]:
    """Return (Y, X) after resizing by a factor, px; each at least 1."""
    return max(round(shape[0] * factor), 1), max(round(shape[1] * factor), 1)


def scale_factor(mpp: float | None, model_mpp: float | None) -> float:
    """Return by how much an image is resized for a model; 1 where either pixel size is unknown.

    mpp, model_mpp: micrometres per pixel of the image and of what the model was trained with.
    Raises InvalidParameter if the image would shrink or grow more than tenfold.
    """
    if mpp is None or model_mpp is None:
        return 1.0
    factor = mpp / model_mpp if model_mpp > 0 else 0.0
    if not 1 / _LARGEST_FACTOR <= factor <= _LARGEST_FACTOR:
        raise InvalidParameter(
            f"the image has {mpp:g} µm per pixel, the model {model_mpp:g}; "
            f"this job takes {model_mpp / _LARGEST_FACTOR:g} to {model_mpp * _LARGEST_FACTOR:g}. "
            "Give the right pixel size as mpp."
        )
    return factor


def median_diameter(labels: NDArray[Any]) -> float | None:
    """Return the median diameter of the cells, px: that of a disc of the same area.

    labels: (Y, X) integer, 0 is background. Cells cut by the border are left out where at least
    ten others remain. None if there is no cell.
    """
    whole = np.bincount(remove_border(labels).ravel())[1:]
    areas = whole[whole > 0]
    if len(areas) < _ENOUGH:
        every = np.bincount(labels.ravel(), minlength=1)[1:]
        areas = every[every > 0]
    if not len(areas):
        return None
    return float(2 * np.sqrt(np.median(areas) / np.pi))


def agreed_diameter(estimates: Sequence[float]) -> float | None:
    """Return the diameter on which predictions at several scales agree, px.

    estimates: of the same image, in its own pixels, the finest scale first.
    Returns the geometric mean of the largest group around one estimate, the finest where groups
    are equally large; None if there is no estimate.

    At scales where a network knows the nuclei the estimates agree; where nuclei are too large for
    it they fall apart, where they are too small they merge, each time by another amount. Measured
    by `benchmarks.diameter`; see docs/decisions/0005-scale-by-agreement.md.
    """
    if not estimates:
        return None
    logs = np.log(np.asarray(estimates, np.float64))
    near = np.abs(logs[:, np.newaxis] - logs[np.newaxis, :]) < _TOLERANCE
    return float(np.exp(logs[near[near.sum(axis=1).argmax()]].mean()))
