"""The pixels of a large image, from top to bottom: as the file has them, and as a model sees them.

Rows are read once, in whole chunks, and forgotten when nobody needs them any more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from kiosk_tasks.imaging.blocks import Box
from kiosk_tasks.imaging.intensity import FloatPlane, equalise_adaptively, stretch
from kiosk_tasks.imaging.regions import RegionReader
from kiosk_tasks.segmenting.large import Input, Plan, Sight
from kiosk_tasks.segmenting.models import CLAHE_KERNEL
from kiosk_tasks.segmenting.multiplex import KERNEL as TISSUE_KERNEL

__all__ = ["RawRows", "SeenRows", "read_input", "seen_window", "source_of"]

_BAND = 512  # rows that are made ready at once; a multiple of both kernels
_TALLEST = 2048  # rows of a chunk that are read at once; of a taller one, parts

_CLIPS = {"percentile": (-0.25, 1.6), "tissue": (0.0, 1.0)}
"""Of scaled intensities: those of `normalise_percentiles` and `multiplex.prepare`."""


def read_input(reader: RegionReader, channels: Input, box: Box) -> NDArray[Any]:
    """Return one input of a box of the image, (Y, X); the brightest of its channels."""
    pixels = reader.read(*box.slices, channel=channels[0])
    for channel in channels[1:]:
        pixels = np.maximum(pixels, reader.read(*box.slices, channel=channel))
    return pixels


class _Rows:
    """Rows of a plane in a window that moves down: made once, in steps, kept while needed."""

    def __init__(self, make: Callable[[int, int], NDArray[Any]], *, first: int, step: int) -> None:
        """make: returns rows from and to, along the second axis from the end but one."""
        self._make, self._step = make, step
        self._first = self._end = first
        self._held: NDArray[Any] | None = None

    def get(self, top: int, bottom: int, *, last: int) -> NDArray[Any]:
        """Return rows (C, n, X); last: where the plane ends."""
        if bottom > self._end:
            end = min(-(-bottom // self._step) * self._step, last)
            more = self._make(self._end, end)
            self._held = more if self._held is None else np.concatenate([self._held, more], axis=1)
            self._end = end
        assert self._held is not None  # noqa: S101  rows are asked for in order
        return self._held[:, top - self._first : bottom - self._first]

    @property
    def end(self) -> int:
        """The first row that has not been made."""
        return self._end

    def forget(self, top: int) -> None:
        """Let go of the rows above."""
        if self._held is not None and top > self._first:
            self._held = self._held[:, min(top, self._end) - self._first :].copy()
            self._first = min(top, self._end)


class RawRows:
    """Rows of the image between two columns, as the file has them: (inputs, n, X)."""

    def __init__(self, reader: RegionReader, plan: Plan, sight: Sight, area: Box) -> None:
        """area: all that will be asked for, px of the image."""
        self._area = area

        def read(top: int, bottom: int) -> NDArray[Any]:
            box = Box(top, bottom, area.left, area.right)
            return np.stack([read_input(reader, one, box) for one in sight.inputs])

        rows = plan.image.chunk[0]
        step = rows * max(_BAND // rows, 1) if rows <= _TALLEST else _BAND
        self._rows = _Rows(read, first=area.top // step * step, step=step)

    def get(self, box: Box) -> NDArray[Any]:
        """Return the pixels of a box of the image, (inputs, Y, X)."""
        rows = self._rows.get(box.top, box.bottom, last=self._area.bottom)
        return rows[..., box.left - self._area.left : box.right - self._area.left]

    def forget(self, top: int) -> None:
        """Let go of the rows above."""
        self._rows.forget(top)


class SeenRows:
    """Rows of the plane that a model sees, ready for it: (n, X, inputs) float32."""

    def __init__(self, raw: RawRows, plan: Plan, sight: Sight, area: Box) -> None:
        """area: all that will be asked for, px of the model's plane."""
        self._area = area

        def make(top: int, bottom: int) -> NDArray[Any]:
            box = Box(top, bottom, area.left, area.right)
            return _ready(raw, plan, sight, box)

        self._rows = _Rows(make, first=area.top // _BAND * _BAND, step=_BAND)

    def get(self, top: int, bottom: int) -> FloatPlane:
        """Return those rows, between the columns of the area."""
        seen: FloatPlane = self._rows.get(top, bottom, last=self._area.bottom)
        return np.moveaxis(seen, 0, -1)

    def forget(self, top: int) -> None:
        """Let go of the rows above."""
        self._rows.forget(top)

    def needs(self, plan: Plan, sight: Sight) -> int:
        """Return the first row of the image that is still to be read, or read again."""
        ahead = Box(self._rows.end, self._rows.end, self._area.left, self._area.right)
        return source_of(plan, sight, ahead).top


def source_of(plan: Plan, sight: Sight, area: Box) -> Box:
    """Return the part of the image that is read to make an area of the model's plane."""
    around = area.grown(2 * _kernel(sight), plan.model_shape)
    rows, columns = (
        _support(start, end, plan.image.size[axis], plan.model_shape[axis])
        for axis, (start, end) in enumerate(
            ((around.top, around.bottom), (around.left, around.right))
        )
    )
    return Box(*rows, *columns)


def seen_window(
    read: Callable[[Box], NDArray[Any]], size: tuple[int, int], seen: tuple[int, int], box: Box
) -> FloatPlane:
    """Return a window of an image at the model's pixel size, as `scale.resize` gives it.

    read: returns the pixels of a box of the image. size, seen: (Y, X) of the image, and of the
    model's plane. At another scale than 1 the positions are rounded to 1/1000 px.
    """
    if size == seen:
        return read(box).astype(np.float32)
    rows = _support(box.top, box.bottom, size[0], seen[0])
    columns = _support(box.left, box.right, size[1], seen[1])
    pixels = np.ascontiguousarray(read(Box(*rows, *columns)), np.float32)
    high, wide = size[0] / seen[0], size[1] / seen[1]
    upper, left = box.top * high - rows[0], box.left * wide - columns[0]
    lower, right = box.bottom * high - rows[0], box.right * wide - columns[0]
    part = (left, upper, min(right, pixels.shape[1]), min(lower, pixels.shape[0]))
    picture = Pillow.fromarray(pixels)
    resized = picture.resize(box.shape[::-1], Pillow.Resampling.BILINEAR, box=part)
    return np.asarray(resized, np.float32)


def _ready(raw: RawRows, plan: Plan, sight: Sight, box: Box) -> NDArray[np.float32]:
    """Return (inputs, Y, X) of a box of the model's plane."""
    kernel = _kernel(sight)
    shape = plan.model_shape
    around = _aligned(box, kernel, shape) if kernel else box
    planes = []
    for index, (low, high) in enumerate(sight.ranges):

        def read(part: Box, index: int = index) -> NDArray[Any]:
            pixels: NDArray[Any] = raw.get(part)[index]
            return pixels

        plane = seen_window(read, plan.image.size, shape, around)
        if sight.intensities != "none":
            plane = stretch(plane, low, high, clip=_CLIPS.get(sight.intensities, (0.0, 1.0)))
        if kernel and high > low:
            plane = _equalised(plane, around, kernel, shape)
        planes.append(plane[box.within(around).slices])
    return np.stack(planes)


def _equalised(plane: FloatPlane, box: Box, kernel: int, shape: tuple[int, int]) -> FloatPlane:
    """Equalise a window as if it were the whole plane.

    Behind a side at which the plane goes on, a ramp holds both ends of the intensities: the window
    is then brought to the same levels as any other. The margin keeps it out of what is used.
    """
    high, wide = plane.shape
    if box.shape == shape:
        return equalise_adaptively(plane, kernel=kernel)
    times = -(-max(high, wide) // kernel)
    ramp = np.tile(np.linspace(0, 1, kernel, dtype=np.float32), (2 * kernel, times))
    if box.top > 0:
        return equalise_adaptively(np.vstack([ramp[:, :wide], plane]), kernel=kernel)[2 * kernel :]
    if box.left > 0:
        ramped = np.hstack([ramp[:, :high].T, plane])
        return equalise_adaptively(ramped, kernel=kernel)[:, 2 * kernel :]
    if box.bottom < shape[0]:
        return equalise_adaptively(np.vstack([plane, ramp[:, :wide]]), kernel=kernel)[:high]
    return equalise_adaptively(np.hstack([plane, ramp[:, :high].T]), kernel=kernel)[:, :wide]


def _kernel(sight: Sight) -> int:
    """Return the side of the neighbourhood in which contrast is equalised, px; 0: it is not."""
    return {"clahe": CLAHE_KERNEL, "tissue": TISSUE_KERNEL}.get(sight.intensities, 0)


def _aligned(box: Box, kernel: int, shape: tuple[int, int]) -> Box:
    """Return a box with a margin of a kernel at least, whose sides are multiples of it."""
    return Box(
        max(box.top // kernel - 1, 0) * kernel,
        min((-(-box.bottom // kernel) + 1) * kernel, shape[0]),
        max(box.left // kernel - 1, 0) * kernel,
        min((-(-box.right // kernel) + 1) * kernel, shape[1]),
    )


def _support(start: int, end: int, size: int, seen: int) -> tuple[int, int]:
    """Return which pixels of the image count for some of the model's plane, along one axis."""
    if size == seen:
        return start, end
    ratio = size / seen
    reach = max(ratio, 1.0) + 1
    return max(int(start * ratio - reach), 0), min(int(end * ratio + reach) + 1, size)
