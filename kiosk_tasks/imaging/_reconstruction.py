"""Grayscale reconstruction of a whole plane, by dilation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.imaging._pixel_sets import footprint

__all__ = ["reconstruct"]

FloatPlane = NDArray[np.float32]

_BLOCK = 128  # side of the squares that are worked on one after another; fits a core's cache


def reconstruct(seed: FloatPlane, limit: FloatPlane, radius: int) -> FloatPlane:
    """Dilate the seed under the limit to its fixed point.

    A block is dilated until it stands still; its neighbours are looked at again if it changed.
    The fixed point does not depend on the order, because dilation is monotone.
    """
    height, width = seed.shape
    flood = np.full((height + 2 * radius, width + 2 * radius), -np.inf, np.float32)
    flood[radius : radius + height, radius : radius + width] = seed
    down, across = -(-height // _BLOCK), -(-width // _BLOCK)
    waiting = np.ones((down, across), np.bool_)
    half_widths = footprint(radius)
    while waiting.any():
        for row, column in np.argwhere(waiting).tolist():
            waiting[row, column] = False
            y, x = row * _BLOCK, column * _BLOCK
            ceiling = limit[y : y + _BLOCK, x : x + _BLOCK]
            rows, columns = ceiling.shape
            window = flood[y : y + rows + 2 * radius, x : x + columns + 2 * radius]
            if _settle(window, ceiling, half_widths):
                waiting[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2] = True
                waiting[row, column] = False
    return flood[radius : radius + height, radius : radius + width]


def _settle(window: FloatPlane, ceiling: FloatPlane, half_widths: list[int]) -> bool:
    """Dilate the inside of a window under its ceiling until it stands still; say if it moved."""
    radius = len(half_widths) // 2
    inside = window[radius:-radius, radius:-radius]
    moved = False
    while True:
        dilated = _dilate(window, half_widths)
        np.minimum(dilated, ceiling, out=dilated)
        if not (dilated > inside).any():  # asked so, NaN lets it end
            return moved
        inside[...] = dilated
        moved = True


def _dilate(window: FloatPlane, half_widths: list[int]) -> FloatPlane:
    """Take the maximum over the footprint around each inner pixel of a window.

    The footprint is a stack of rows, each symmetric. Rows of one width share one running maximum,
    and a wider one is made from the next narrower, so that a disk of 317 pixels costs 29 passes.
    """
    radius = len(half_widths) // 2
    rows, columns = (length - 2 * radius for length in window.shape)
    running, reach = window, 0
    dilated: FloatPlane | None = None
    for half_width in sorted(set(half_widths)):
        while reach < half_width:
            step = max(min(half_width - reach, reach), 1)
            wider = np.maximum(running[:, : -2 * step], running[:, 2 * step :])
            if 2 * step > 2 * reach + 1:
                np.maximum(wider, running[:, step:-step], out=wider)
            running, reach = wider, reach + step
        for y, wanted in enumerate(half_widths):
            if wanted == half_width:
                part = running[y : y + rows, radius - reach : radius - reach + columns]
                dilated = part.copy() if dilated is None else np.maximum(dilated, part, out=dilated)
    assert dilated is not None  # noqa: S101  a footprint has rows
    return dilated
