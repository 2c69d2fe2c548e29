"""Intensities: what a model wants to see, whatever the camera gave."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.errors import UnusableImage
from kiosk_tasks.imaging._clahe import clahe

__all__ = [
    "FloatPlane",
    "check_pixels",
    "equalise_adaptively",
    "normalise_percentiles",
    "percentiles",
    "standardise",
    "stretch",
]

FloatPlane = NDArray[np.float32]

_WIDEST_HISTOGRAM = 1 << 16  # bins; a wider range of integers is sorted instead


def normalise_percentiles(
    plane: NDArray[Any],
    *,
    low: float = 1.0,
    high: float = 99.8,
    clip: tuple[float, float] = (-0.25, 1.6),
) -> FloatPlane:
    """Scale intensities so that the low percentile becomes 0 and the high one 1.

    plane: any shape, any real dtype, finite.
    low, high: percentiles in 0..100, interpolated linearly between pixels.
    clip: the results are limited to this range.
    Returns float32 of the same shape. Where both percentiles are one value (a few bright cells in
    an empty field), the brightest pixel becomes 1; a constant plane becomes 0.

    The defaults are those that the bundled nuclear model was trained with.
    """
    floor, ceiling = percentiles(plane, low, high)
    if ceiling <= floor:
        ceiling = float(plane.max())
    return stretch(plane, floor, ceiling, clip=clip)


def stretch(
    plane: NDArray[Any], floor: float, ceiling: float, *, clip: tuple[float, float]
) -> FloatPlane:
    """Scale intensities so that `floor` becomes 0 and `ceiling` 1, limited to `clip`.

    plane: any shape, any real dtype, finite. Returns float32; 0 everywhere if both are one value.
    """
    scaled = _above(plane, floor)
    span = ceiling - floor
    scaled *= np.float32(1 / span) if span > np.finfo(np.float32).tiny else np.float32(0)
    return np.clip(scaled, *clip, out=scaled)


def equalise_adaptively(plane: NDArray[Any], *, kernel: int = 64) -> FloatPlane:
    """Equalise contrast locally (CLAHE), as DeepCell's models were trained.

    plane: (Y, X), any real dtype, finite.
    kernel: side of the neighbourhood, px; 64 for NuclearSegmentation and CytoplasmSegmentation,
        128 for MultiplexSegmentation (Mesmer).
    Returns (Y, X) float32 in [0, 1]; a constant plane becomes 0.

    Zuiderveld 1994, Graphics Gems IV, "Contrast limited adaptive histogram equalization".
    """
    lowest, highest = float(plane.min()), float(plane.max())
    if highest <= lowest:
        return np.zeros(plane.shape, np.float32)
    scaled = _above(plane, lowest)
    scaled /= np.float32(highest - lowest)
    np.clip(scaled, 0, 1, out=scaled)
    return clahe(scaled, kernel)


def standardise(plane: NDArray[Any]) -> FloatPlane:
    """Bring intensities to mean 0 and standard deviation 1.

    plane: any shape, any real dtype, finite. Returns float32; a constant plane becomes 0.
    """
    wide = plane.astype(np.float64)
    wide -= wide.mean()
    deviation = float(wide.std())
    return (wide / deviation if deviation > 0 else wide * 0).astype(np.float32)


def check_pixels(plane: NDArray[Any], name: str) -> None:
    """Refuse pixels in which nothing can be found.

    plane: any shape, any real dtype.
    name: what the person calls the image.
    Raises UnusableImage if there is no pixel, one that is not finite, or only one value.
    """
    if plane.size == 0:
        raise UnusableImage(f"{name} has no pixels. Export the image again.")
    if np.issubdtype(plane.dtype, np.inexact):
        bad = plane.size - int(np.count_nonzero(np.isfinite(plane)))
        if bad:
            pixels = "pixel that is" if bad == 1 else "pixels that are"
            raise UnusableImage(
                f"{name} has {bad} {pixels} NaN or infinite. "
                "Replace them with numbers, or export the image as integers."
            )
    first = plane.flat[0]
    if bool((plane == first).all()):
        raise UnusableImage(
            f"every pixel of {name} has the value {first:g}, so there is nothing to find. "
            "Send the channel that shows the cells."
        )


def _above(plane: NDArray[Any], floor: float) -> FloatPlane:
    """Subtract in a type that holds the pixels exactly; then float32 is enough."""
    if plane.dtype.itemsize <= 2 or plane.dtype == np.float32:
        scaled = plane.astype(np.float32)
        scaled -= np.float32(floor)
        return scaled
    wide: NDArray[np.float64] = plane.astype(np.float64)
    wide -= floor
    return wide.astype(np.float32)


def percentiles(plane: NDArray[Any], low: float, high: float) -> tuple[float, float]:
    """Return two percentiles, as numpy.percentile gives them, from a histogram where one is exact.

    plane: any shape, any real dtype, finite, not empty. low, high: 0..100.
    """
    positions = [q / 100 * (plane.size - 1) for q in (low, high)]
    ranks = sorted({rank for p in positions for rank in (int(p), min(int(p) + 1, plane.size - 1))})
    values = dict(zip(ranks, _order_statistics(plane, ranks), strict=True))

    def at(position: float) -> float:
        below = int(position)
        lower, upper = values[below], values[min(below + 1, plane.size - 1)]
        return lower + (upper - lower) * (position - below)

    return at(positions[0]), at(positions[1])


def _order_statistics(plane: NDArray[Any], ranks: list[int]) -> list[float]:
    """Return the pixels of those ranks (0 is the darkest)."""
    flat = plane.reshape(-1)
    if flat.dtype == np.bool_:
        flat = flat.view(np.uint8)
    if np.issubdtype(flat.dtype, np.integer):
        lowest, highest = int(flat.min()), int(flat.max())
        if highest - lowest < _WIDEST_HISTOGRAM:
            shifted = flat if flat.dtype.kind == "u" else flat.astype(np.int64) - lowest
            offset = 0 if flat.dtype.kind == "u" and highest < _WIDEST_HISTOGRAM else lowest
            if flat.dtype.kind == "u" and offset:
                shifted = flat - flat.dtype.type(lowest)
            below = np.cumsum(np.bincount(shifted))
            return [float(np.searchsorted(below, rank, side="right")) + offset for rank in ranks]
    ordered = np.partition(flat, ranks)
    return [float(ordered[rank]) for rank in ranks]
