"""What the camera adds to an image: noise, and pixels that shine by themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAD_TO_SD", "camera_noise", "hot_pixels"]

MAD_TO_SD = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""

_SAMPLE = 2**19  # fours of pixels that are enough to know the noise
_QUANTISATION = 12**-0.5  # standard deviation of rounding to whole numbers
_ROWS = 256  # that are looked at at once, so that temporaries stay small

_HOT_NOISE = 8.0  # standard deviations of noise that a hot pixel is over its highest neighbour
_HOT_SHARE = 0.25  # of its height that the highest neighbour has at most

_AROUND = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]
_RING = [(y, x) for y in range(-2, 3) for x in range(-2, 3) if max(abs(y), abs(x)) == 2]


def camera_noise(plane: NDArray[Any]) -> float:
    """Return the standard deviation of white noise in a plane, in its unit.

    plane: (Y, X), any real dtype, finite.
    It is read off differences of four neighbouring pixels a b c d, in which background and wide
    things cancel out: half of a - b - c + d has the spread of one pixel's noise (Immerkær 1996,
    Computer Vision and Image Understanding 64:300, does the like with nine pixels), taken by the
    median so that edges and spots do not count. Whole numbers have at least the noise of rounding.
    """
    least = _QUANTISATION if np.issubdtype(plane.dtype, np.integer) else 0.0
    if min(plane.shape) < 2:
        return least
    wanted = max(1, min(plane.shape[0] - 1, _SAMPLE // plane.shape[1]))
    rows = np.linspace(0, plane.shape[0] - 2, wanted).astype(np.intp)
    upper, lower = plane[rows].astype(np.float64), plane[rows + 1].astype(np.float64)
    mixed = np.abs(np.diff(lower, axis=1) - np.diff(upper, axis=1)) / 2
    return max(least, MAD_TO_SD * float(np.median(mixed)))


def hot_pixels(plane: NDArray[Any], noise: float) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Find single pixels that outshine all their neighbours, and what to take instead.

    plane: (Y, X), any real dtype, finite. noise: standard deviation.
    Returns positions (n, 2) by rows, and the median of the eight neighbours of each, (n,).

    A hot pixel is `_HOT_NOISE` standard deviations above its highest neighbour, which has less than
    `_HOT_SHARE` of its height over the pixels at distance 2. A Gaussian spot of sigma 0.8 px that
    lies on a pixel gives its neighbours 0.46 of its height, wider ones more.
    """
    positions = np.concatenate(
        [
            _sharp(plane, top, min(top + _ROWS, plane.shape[0]), _HOT_NOISE * noise)
            for top in range(0, plane.shape[0], _ROWS)
        ]
    )
    here = _values(plane, positions, [(0, 0)])[:, 0]
    near, ring = _values(plane, positions, _AROUND), _values(plane, positions, _RING)
    ground = np.median(ring, axis=1)
    hot = near.max(axis=1) - ground < _HOT_SHARE * (here - ground)
    return positions[hot], np.median(near[hot], axis=1)


def _sharp(plane: NDArray[Any], top: int, bottom: int, above: float) -> NDArray[np.intp]:
    """Return the pixels of some rows that are more than that above their neighbours."""
    rows = plane[max(0, top - 1) : bottom + 1].astype(np.float64)
    pads = (int(top == 0), int(bottom == plane.shape[0]))
    rows = np.pad(rows, (pads, (1, 1)), constant_values=-np.inf)
    highest = np.maximum(rows[1:-1, :-2], rows[1:-1, 2:])
    for line in (rows[:-2], rows[2:]):
        for start in range(3):
            np.maximum(highest, line[:, start : start + highest.shape[1]], out=highest)
    y, x = np.nonzero(rows[1:-1, 1:-1] - highest > above)
    return np.stack([y + top, x], axis=1)


def _values(
    plane: NDArray[Any], positions: NDArray[np.intp], offsets: list[tuple[int, int]]
) -> NDArray[np.float64]:
    """Return the pixels at each offset of each position, (n, offsets), mirrored at the border."""
    last = np.array(plane.shape) - 1
    near = np.abs(positions[:, np.newaxis] + np.array(offsets))
    near = np.clip(np.minimum(near, 2 * last - near), 0, last)
    values: NDArray[np.float64] = plane[near[..., 0], near[..., 1]].astype(np.float64)
    return values
