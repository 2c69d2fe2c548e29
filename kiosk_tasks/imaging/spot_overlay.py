"""A picture to judge spots by: a ring around each, so that the spot itself stays visible."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.imaging.labels import Labels
from kiosk_tasks.imaging.picture import (
    GREYS,
    draw_outlines,
    encode_png,
    grey_picture,
    picture_size,
)

__all__ = ["spots_png"]

_RING, _RING_OUTSIDE = 2, 4  # indices of the palette: yellow, vermilion
_CELLS = (1, 3)  # sky blue, bluish green: outlines of the first and the second label image

_SMALLEST_RING = 4.0  # px of the picture
_ROOM = 1.25  # diameters of a spot that a ring's radius is: it leaves as much around the spot


def spots_png(
    plane: NDArray[Any],
    positions: NDArray[np.float64],
    *,
    diameter: float,
    cells: tuple[Labels, ...] = (),
    inside: NDArray[np.bool_] | None = None,
) -> bytes:
    """Draw a ring around each spot, over the outlines of cells if there are any.

    plane: (Y, X), any real dtype, finite. positions: (n, 2), (y, x), px. diameter: of a spot, px.
    cells: label images (Y, X), one or two; the first is outlined in blue, the second in green.
    inside: (n,), which spots lie in a cell; the others' rings are red instead of yellow.
    Returns a PNG like that of `overlay_png`: small images are enlarged, large ones shrunk.
    Equal arguments give equal bytes.
    """
    size = picture_size((plane.shape[0], plane.shape[1]))
    picture = grey_picture(plane, size)
    enlarged = size[0] / plane.shape[0]
    for labels, colour in zip(cells, _CELLS, strict=False):
        values = np.full(int(labels.max(initial=0)) + 1, GREYS + colour, np.uint8)
        draw_outlines(picture, labels, values)
    radius = max(_SMALLEST_RING, _ROOM * diameter * enlarged)
    centres = (positions + 0.5) * (np.array(size) / plane.shape) - 0.5
    found = np.ones(len(positions), np.bool_) if inside is None else inside
    for which, colour in ((~found, _RING_OUTSIDE), (found, _RING)):
        _stamp(picture, centres[which], _ring(radius), GREYS + colour)
    return encode_png(picture, enlarged=size[0] // plane.shape[0])


def _ring(radius: float) -> NDArray[np.intp]:
    """Return the offsets of a ring one pixel wide, (k, 2)."""
    reach = int(np.ceil(radius)) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    return np.argwhere(np.abs(np.hypot(y, x) - radius) <= 0.5) - reach


def _stamp(
    picture: NDArray[np.uint8],
    centres: NDArray[np.float64],
    offsets: NDArray[np.intp],
    value: int,
) -> None:
    pixels = (np.rint(centres).astype(np.intp)[:, np.newaxis] + offsets).reshape(-1, 2)
    seen = ((pixels >= 0) & (pixels < picture.shape)).all(axis=1)
    picture[pixels[seen, 0], pixels[seen, 1]] = value
