"""Sets of pixels as bits, and how they grow: 64 pixels of a row in one machine word."""

from __future__ import annotations

from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Words", "footprint", "grown", "pack", "single", "touches_side"]

Words = NDArray[Any]
"""(N, Y, W) unsigned: N sets; a row's pixel x is bit x modulo b of word x over b, of b bits."""


def footprint(radius: int) -> list[int]:
    """Return how far each row of a disk reaches to either side, from top to bottom, px.

    radius: px; 1 means the 3 × 3 square.
    """
    if radius <= 1:
        return [1, 1, 1]
    return [isqrt(radius * radius - y * y) for y in range(-radius, radius + 1)]


def pack(pixels: NDArray[np.bool_]) -> Words:
    """Pack (N, Y, X) bool; up to 32 columns into words of 32 bits, more into words of 64."""
    count, rows, columns = pixels.shape
    dtype = np.dtype(next((f"<u{size}" for size in (1, 2, 4) if columns <= 8 * size), "<u8"))
    width = -(-columns // (8 * dtype.itemsize)) * dtype.itemsize
    packed = np.packbits(pixels, axis=-1, bitorder="little")
    if packed.shape[-1] < width:
        wide = np.zeros((count, rows, width), np.uint8)
        wide[..., : packed.shape[-1]] = packed
        packed = wide
    return packed.view(dtype)


def single(like: Words, y: NDArray[np.intp], x: NDArray[np.intp]) -> Words:
    """Return sets of one pixel each, at (y, x), of the shape of `like`."""
    bits = 8 * like.itemsize
    sets = np.zeros_like(like)
    sets[np.arange(len(y)), y, x // bits] = like.dtype.type(1) << (x % bits).astype(like.dtype)
    return sets


def grown(sets: Words, half_widths: list[int]) -> Words:
    """Dilate sets by a footprint; what would leave the window is lost.

    half_widths: of the footprint's rows, from `footprint`. Rows of one width share one running
    union, and a wider one is made from the next narrower.
    """
    radius, rows = len(half_widths) // 2, sets.shape[1]
    running, reach, union = sets, 0, np.zeros_like(sets)
    for half_width in sorted(set(half_widths)):
        while reach < half_width:
            step = min(half_width - reach, max(reach, 1), 8 * sets.itemsize - 1)
            running = running | _shifted(running, step) | _shifted(running, -step)
            reach += step
        for down in range(max(-radius, 1 - rows), min(radius, rows - 1) + 1):
            if half_widths[down + radius] == half_width:
                to = union[:, max(down, 0) : rows + min(down, 0)]
                to |= running[:, max(-down, 0) : rows - max(down, 0)]
    return union


def touches_side(sets: Words, columns: int, radius: int) -> NDArray[np.bool_]:
    """Tell which sets come within `radius` pixels of a side of the window.

    columns: of the window, px. Returns (N, 4) bool: top, bottom, left, right.
    """
    side = np.zeros((1, 1, columns), np.bool_)
    side[..., :radius] = True
    left, right = pack(side), pack(side[..., ::-1])
    near = (sets[:, :radius], sets[:, -radius:], sets & left, sets & right)
    return np.stack([part.any(axis=(1, 2)) for part in near], axis=1)


def _shifted(sets: Words, step: int) -> Words:
    """Move sets by fewer pixels than a word has bits, to the right if the step is above 0."""
    bits = sets.dtype.type(8 * sets.itemsize - abs(step))
    by = sets.dtype.type(abs(step))
    moved: Words
    if step > 0:
        moved = sets << by
        if sets.shape[-1] > 1:
            moved[..., 1:] |= sets[..., :-1] >> bits
    else:
        moved = sets >> by
        if sets.shape[-1] > 1:
            moved[..., :-1] |= sets[..., 1:] << bits
    return moved
