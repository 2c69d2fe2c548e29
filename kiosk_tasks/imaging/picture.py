"""How results are drawn: the image in grey, what was found in colours, as a PNG with a palette."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from scipy import ndimage

from kiosk_tasks.imaging.intensity import normalise_percentiles
from kiosk_tasks.imaging.labels import Labels

__all__ = [
    "GREYS",
    "PALETTE",
    "colours_of",
    "encode_png",
    "grey_picture",
    "outlines",
    "picture_size",
]

PALETTE = np.array(
    [
        (230, 159, 0),  # orange
        (86, 180, 233),  # sky blue
        (240, 228, 66),  # yellow
        (0, 190, 140),  # bluish green, lighter than in print to show on black
        (235, 110, 40),  # vermilion, lighter
        (225, 135, 190),  # reddish purple, lighter
    ],
    np.uint8,
)
"""Outlines, (n, 3) sRGB: Okabe and Ito's colours, told apart by colour-blind people too."""

GREYS = 256 - len(PALETTE)
"""Levels that are left for the image; a picture's higher values are colours."""

_LARGEST = 2048  # px, either side of the picture
_SMALLEST = 800  # px; smaller pictures are enlarged by a whole number
_NEAR = 3  # px between two cells that shall not have one colour
_GAMMA = 0.7  # below 1: dim cells show


def picture_size(shape: tuple[int, int]) -> tuple[int, int]:
    """Return the size in which an image is drawn, (Y, X): large ones shrink, small ones grow."""
    height, width = shape
    longest = max(shape)
    if longest > _LARGEST:
        factor = _LARGEST / longest
        return max(round(height * factor), 1), max(round(width * factor), 1)
    times = min(-(-_SMALLEST // longest), _LARGEST // longest)
    return height * times, width * times


def grey_picture(plane: NDArray[Any], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Stretch the contrast, bring out dim cells, resize; (Y, X) uint8 below `GREYS`.

    plane: (Y, X), any real dtype, finite. size: of the picture, from `picture_size`.
    """
    stretched = normalise_percentiles(plane, low=1, high=99.8, clip=(0, 1)) ** _GAMMA
    grey = (stretched * (GREYS - 1) + 0.5).astype(np.uint8)
    picture = Pillow.fromarray(grey).resize(size[::-1], Pillow.Resampling.BILINEAR)
    return np.array(picture)


def encode_png(picture: NDArray[np.uint8]) -> bytes:
    """Encode a picture: values below `GREYS` are greys, the others `GREYS` + index of a colour."""
    greys = np.repeat(np.linspace(0, 255, GREYS).round().astype(np.uint8)[:, None], 3, axis=1)
    image = Pillow.fromarray(picture).convert("L")
    image.putpalette(np.concatenate([greys, PALETTE]).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()


def outlines(cells: Labels, *, thickness: int) -> NDArray[np.bool_]:
    """Return the pixels of cells within `thickness` px of another cell or the background."""
    outline = np.zeros(cells.shape, np.bool_)
    across, down = cells[:, 1:] != cells[:, :-1], cells[1:] != cells[:-1]
    outline[:, 1:] |= across
    outline[:, :-1] |= across
    outline[1:] |= down
    outline[:-1] |= down
    for _step in range(thickness - 1):
        outline |= ndimage.binary_dilation(outline)
    return outline & (cells > 0)


def colours_of(labels: Labels) -> NDArray[np.intp]:
    """Give each label a colour of the palette that no cell near it has, as far as there are any.

    Returns (largest label + 1,) indices of the palette. Labels are coloured from 1 up, each with
    the colour that is used least among those its neighbours leave.
    """
    near: dict[int, set[int]] = {}
    for one, other in _neighbours(labels).tolist():
        near.setdefault(one, set()).add(other)
        near.setdefault(other, set()).add(one)
    colours = np.zeros(int(labels.max(initial=0)) + 1, np.intp)
    used = [0] * len(PALETTE)
    for label in np.unique(labels[labels > 0]).tolist():
        taken = {int(colours[other]) for other in near.get(label, ()) if other < label}
        free = [colour for colour in range(len(PALETTE)) if colour not in taken]
        colour = min(free or range(len(PALETTE)), key=lambda c: (used[c], c))
        colours[label] = colour
        used[colour] += 1
    return colours


def _neighbours(labels: Labels) -> NDArray[np.int64]:
    """Return pairs of labels within `_NEAR` px along a row, a column or a diagonal, (n, 2)."""
    base = int(labels.max(initial=0)) + 1
    pairs = []
    for step in range(1, _NEAR + 2):
        for one, other in (
            (labels[step:], labels[:-step]),
            (labels[:, step:], labels[:, :-step]),
            (labels[step:, step:], labels[:-step, :-step]),
            (labels[step:, :-step], labels[:-step, step:]),
        ):
            differ = (one != other) & (one > 0) & (other > 0)
            pairs.append(np.unique(one[differ].astype(np.int64) * base + other[differ]))
    unique = np.unique(np.concatenate(pairs))
    return np.stack([unique // base, unique % base], axis=1)
