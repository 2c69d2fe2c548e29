"""A first look at a large image: is there anything in it, how bright is it, where are cells."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.imaging.blocks import Box
from kiosk_tasks.imaging.intensity import check_pixels
from kiosk_tasks.imaging.regions import RegionImage, RegionReader
from kiosk_tasks.imaging.scale import scaled_shape
from kiosk_tasks.segmenting.large import Input
from kiosk_tasks.segmenting.large_pixels import read_input, seen_window

__all__ = ["Survey", "exact_percentiles", "pieces", "seen_percentiles", "seen_planes", "survey"]

_PIECE = 2**22  # px that are read at once
_SIDE = 2048  # px; pieces are about that high
_PATCH = 512  # px; side of the squares among which those with most texture are sought
_HALF = 1 << 16

Planes = Callable[[], Iterable[NDArray[Any]]]
"""Draws the pieces of a plane anew."""


@dataclass
class Survey:
    """What is known of one input of an image.

    lowest, highest: of its pixels. counts: of each value, for integers of at most 16 bits, from
    `offset` on; None for others. patches: the corners of the squares with most texture first.
    """

    lowest: float = np.inf
    highest: float = -np.inf
    offset: int = 0
    counts: NDArray[np.int64] | None = None
    patches: list[tuple[float, tuple[int, int]]] = field(default_factory=list)

    def best_patches(self, most: int) -> list[tuple[int, int]]:
        """Return the corners of the squares in which most is to be seen."""
        return [corner for _texture, corner in sorted(self.patches, reverse=True)[:most]]


def pieces(image: RegionImage, step: tuple[int, int] | None = None) -> Iterator[Box]:
    """Cut an image into boxes of whole chunks, row by row."""
    (height, width), (rows, columns) = image.size, image.chunk
    high = rows * max(_SIDE // rows, 1) if rows <= _SIDE else _SIDE
    if columns >= width:
        high = max(min(high, _PIECE // width // rows * rows), rows)
    wide = max(_PIECE // high // columns, 1) * columns if columns <= _SIDE else _SIDE
    if columns >= width:
        wide = width
    high, wide = step or (high, wide)
    for top in range(0, height, high):
        for left in range(0, width, wide):
            yield Box(top, min(top + high, height), left, min(left + wide, width))


def survey(
    reader: RegionReader, image: RegionImage, inputs: Iterable[Input], check: Callable[[], None]
) -> list[Survey]:
    """Look at all pixels of each input once.

    check: called between two pieces; raises to stop.
    Raises UnusableImage for pixels in which nothing can be found.
    """
    wanted = list(inputs)
    found = [Survey() for _one in wanted]
    bad = [0 for _one in wanted]
    for box in pieces(image):
        check()
        for index, channels in enumerate(wanted):
            pixels = read_input(reader, channels, box)
            bad[index] += _add(found[index], pixels, box)
    for index, one in enumerate(found):
        what = f"{image.name} (channel {wanted[index][0]})" if image.channels > 1 else image.name
        if bad[index]:
            check_pixels(np.broadcast_to(np.float32(np.nan), (bad[index],)), what)
        if one.lowest == one.highest:
            check_pixels(np.full(2, one.lowest), what)
    return found


def exact_percentiles(one: Survey, low: float, high: float) -> tuple[float, float]:
    """Return two percentiles of integers that were counted, as `intensity.percentiles` does."""
    assert one.counts is not None  # noqa: S101  the caller looks
    below = np.cumsum(one.counts)

    def at_ranks(ranks: list[int]) -> list[float]:
        return [float(np.searchsorted(below, rank, side="right")) + one.offset for rank in ranks]

    return _interpolated(at_ranks, int(below[-1]), low, high)


def seen_percentiles(planes: Planes, low: float, high: float) -> tuple[float, float]:
    """Return two percentiles of float32 pixels, exactly, in two passes.

    A float's bits, with those of negative numbers turned over, are in its order: the first pass
    counts the upper 16, the second the lower 16 of the few values that matter.
    """
    upper = np.zeros(_HALF, np.int64)
    for plane in planes():
        upper += np.bincount((_key(plane) >> 16).ravel(), minlength=_HALF)
    below = np.concatenate([[0], np.cumsum(upper)])

    def at_ranks(ranks: list[int]) -> list[float]:
        halves = [int(np.searchsorted(below, rank, side="right")) - 1 for rank in ranks]
        counts = {half: np.zeros(_HALF, np.int64) for half in halves}
        for plane in planes():
            keys = _key(plane).ravel()
            for half, count in counts.items():
                mine = keys[(keys >> 16) == half] & (_HALF - 1)
                count += np.bincount(mine, minlength=_HALF)
        return [
            _value(
                half << 16
                | int(np.searchsorted(counts[half].cumsum(), rank - below[half], "right"))
            )
            for half, rank in zip(halves, ranks, strict=True)
        ]

    return _interpolated(at_ranks, int(below[-1]), low, high)


def seen_planes(reader: RegionReader, image: RegionImage, channels: Input, scale: float) -> Planes:
    """Return what draws an input at the model's pixel size, piece by piece."""
    shape = scaled_shape(image.size, scale)
    side = _SIDE

    def read(part: Box) -> NDArray[Any]:
        return read_input(reader, channels, part)

    def draw() -> Iterator[NDArray[Any]]:
        for top in range(0, shape[0], side):
            for left in range(0, shape[1], side):
                box = Box(top, min(top + side, shape[0]), left, min(left + side, shape[1]))
                yield seen_window(
                    lambda part: read_input(reader, channels, part), image.size, shape, box
                )

    return draw


def _add(one: Survey, pixels: NDArray[Any], box: Box) -> int:
    """Count a piece in; return how many of its pixels are no numbers."""
    if pixels.dtype.kind == "f":
        finite = np.isfinite(pixels)
        bad = pixels.size - int(np.count_nonzero(finite))
        if bad:
            return bad
    one.lowest = min(one.lowest, float(pixels.min()))
    one.highest = max(one.highest, float(pixels.max()))
    if pixels.dtype.kind in "bui" and pixels.dtype.itemsize <= 2:
        if one.counts is None:
            one.offset = -(_HALF >> 1) if pixels.dtype.kind == "i" else 0
            one.counts = np.zeros(_HALF, np.int64)
        one.counts += np.bincount(pixels.ravel().astype(np.int64) - one.offset, minlength=_HALF)
    for y in range(0, pixels.shape[0], _PATCH):
        for x in range(0, pixels.shape[1], _PATCH):
            patch = pixels[y : y + _PATCH : 4, x : x + _PATCH : 4].astype(np.float64)
            one.patches.append((float(patch.std()), (box.top + y, box.left + x)))
    one.patches = sorted(one.patches, reverse=True)[:64]
    return 0


def _interpolated(
    at_ranks: Callable[[list[int]], list[float]], size: int, low: float, high: float
) -> tuple[float, float]:
    positions = [q / 100 * (size - 1) for q in (low, high)]
    ranks = sorted({rank for p in positions for rank in (int(p), min(int(p) + 1, size - 1))})
    values = dict(zip(ranks, at_ranks(ranks), strict=True))

    def at(position: float) -> float:
        below = int(position)
        lower, upper = values[below], values[min(below + 1, size - 1)]
        return lower + (upper - lower) * (position - below)

    return at(positions[0]), at(positions[1])


def _key(plane: NDArray[Any]) -> NDArray[np.uint32]:
    """Return numbers in the order of the pixels."""
    bits = np.ascontiguousarray(plane, np.float32).view(np.uint32)
    flipped = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    return flipped.astype(np.uint32, copy=False)


def _value(key: int) -> float:
    """Return the pixel of that key."""
    bits = key & 0x7FFFFFFF if key >> 31 else ~key & 0xFFFFFFFF
    return float(np.array([bits], np.uint32).view(np.float32)[0])
