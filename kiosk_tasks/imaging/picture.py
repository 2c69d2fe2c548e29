"""How results are drawn: the image in grey, what was found in colours, as a PNG with a palette."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from kiosk_tasks.imaging._png import palette_png
from kiosk_tasks.imaging.borders import Borders, borders_of, neighbours
from kiosk_tasks.imaging.enlarge import enlarged
from kiosk_tasks.imaging.intensity import percentiles, stretch
from kiosk_tasks.imaging.labels import Labels, resize_labels
from kiosk_tasks.imaging.runs import Runs, runs_of

__all__ = [
    "GREYS",
    "PALETTE",
    "colours_of",
    "draw_outlines",
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
_CROP, _ENOUGH = 80, 256  # px; of crops up to 80 px, which come by thousands, less is enough
_NEAR = 3  # px between two cells that shall not have one colour
_GAMMA = 0.7  # below 1: dim cells show
_DARK, _BRIGHT = 1.0, 99.8  # percentiles that become black and white
_AT_ONCE = 2**16  # px


def picture_size(shape: tuple[int, int]) -> tuple[int, int]:
    """Return the size in which an image is drawn, (Y, X): large ones shrink, small ones grow."""
    height, width = shape
    longest = max(shape)
    if longest > _LARGEST:
        factor = _LARGEST / longest
        return max(round(height * factor), 1), max(round(width * factor), 1)
    least = _ENOUGH if longest <= _CROP else _SMALLEST
    times = min(-(-least // longest), _LARGEST // longest)
    return height * times, width * times


def grey_picture(plane: NDArray[Any], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Stretch the contrast, bring out dim cells, resize; (Y, X) uint8 below `GREYS`.

    plane: (Y, X), any real dtype, finite. size: of the picture, from `picture_size`.
    """
    floor, ceiling = percentiles(plane, _DARK, _BRIGHT)
    if ceiling <= floor:
        ceiling = float(plane.max())
    if plane.dtype in (np.uint8, np.uint16) and plane.max() < plane.size:
        grey = _looked_up(plane, floor, ceiling)
    else:
        grey = _greys(plane, floor, ceiling)
    times = size[0] // plane.shape[0]
    if max(plane.shape) <= _CROP:  # their pixels are seen as they are, and pack to half
        return grey.repeat(times, axis=0).repeat(times, axis=1)
    if max(plane.shape) <= _LARGEST:  # else a narrow one may shrink along one axis only
        return enlarged(grey, times)
    picture = Pillow.fromarray(grey).resize(size[::-1], Pillow.Resampling.BILINEAR)
    return np.array(picture)


def encode_png(picture: NDArray[np.uint8], *, enlarged: int = 1) -> bytes:
    """Encode a picture: values below `GREYS` are greys, the others `GREYS` + index of a colour.

    enlarged: how many times it was; it is packed accordingly.
    """
    return palette_png(picture, _palette(), enlarged=enlarged)


@cache
def _palette() -> NDArray[np.uint8]:
    """Return the colours of a picture's values, (256, 3) sRGB."""
    greys = np.repeat(np.linspace(0, 255, GREYS).round().astype(np.uint8)[:, None], 3, axis=1)
    return np.concatenate([greys, PALETTE])


def outlines(cells: Labels) -> NDArray[np.bool_]:
    """Return the pixels of cells beside another cell or the background."""
    outline = np.zeros(cells.shape, np.bool_)
    across, down = cells[:, 1:] != cells[:, :-1], cells[1:] != cells[:-1]
    outline[:, 1:] |= across
    outline[:, :-1] |= across
    outline[1:] |= down
    outline[:-1] |= down
    return outline & (cells > 0)


def draw_outlines(
    picture: NDArray[np.uint8],
    labels: Labels,
    values: NDArray[np.uint8],
    *,
    borders: Borders | None = None,
) -> None:
    """Outline cells: 1 px wide, or 2 px where the picture is larger than the label image.

    picture: of the `picture_size` of labels, drawn on. values: (largest label + 1,), what to draw.
    borders: of these labels, where they are known already.
    """
    times = picture.shape[0] // labels.shape[0]
    if picture.shape[0] < labels.shape[0] or picture.shape[1] < labels.shape[1]:
        labels, borders = resize_labels(labels, (picture.shape[0], picture.shape[1])), None
    borders = borders_of(labels) if borders is None else borders
    if times >= 2:
        _draw_enlarged(picture, labels, values, borders)
        return
    flat, cells = picture.reshape(-1), labels.ravel()
    for pixels in borders:
        flat[pixels] = values[cells[pixels]]


def colours_of(
    labels: Labels, *, runs: Runs | None = None, borders: Borders | None = None
) -> NDArray[np.intp]:
    """Give each label a colour of the palette that no cell near it has, as far as there are any.

    runs, borders: of these labels, where they are known already.
    Returns (largest label + 1,) indices of the palette. Labels are coloured from 1 up, each with
    the colour that is used least among those its neighbours leave.
    """
    runs = runs_of(labels) if runs is None else runs
    cells = np.unique(runs.label).tolist()
    near: dict[int, list[int]] = {}
    if len(cells) > len(PALETTE):  # else there is a colour for each
        borders = borders_of(labels, runs=runs) if borders is None else borders
        for smaller, larger in neighbours(labels, borders, within=_NEAR + 1).tolist():
            near.setdefault(larger, []).append(smaller)
    colours = [0] * (int(runs.label.max(initial=0)) + 1)
    every = range(len(PALETTE))
    used = [0] * len(PALETTE)
    for label in cells:
        taken = {colours[other] for other in near.get(label, ())}
        free = [colour for colour in every if colour not in taken] or every
        colour = min(free, key=used.__getitem__)
        colours[label] = colour
        used[colour] += 1
    return np.array(colours, np.intp)


def _looked_up(plane: NDArray[Any], floor: float, ceiling: float) -> NDArray[np.uint8]:
    """Return the greys of whole numbers of 8 or 16 bits: there are few, on many pixels."""
    table = _greys(np.arange(int(plane.max()) + 1, dtype=plane.dtype), floor, ceiling)
    grey = np.empty(plane.shape, np.uint8)
    rows = max(_AT_ONCE // plane.shape[1], 1)
    for row in range(0, len(plane), rows):  # in parts that a processor's cache holds
        part = slice(row, row + rows)
        np.take(table, plane[part], out=grey[part], mode="clip")
    return grey


def _greys(values: NDArray[Any], floor: float, ceiling: float) -> NDArray[np.uint8]:
    stretched = stretch(values, floor, ceiling, clip=(0, 1)) ** _GAMMA
    return (stretched * (GREYS - 1) + 0.5).astype(np.uint8)


def _draw_enlarged(
    picture: NDArray[np.uint8], labels: Labels, values: NDArray[np.uint8], borders: Borders
) -> None:
    """Draw all picture's pixels of cells within 2 px of another label, by steps along the axes."""
    flat, (height, width) = labels.ravel(), labels.shape
    fine = picture.reshape(height, picture.shape[0] // height, width, picture.shape[1] // width)
    for pixels, edge, corners in (
        (borders.above, slice(2), 0),
        (borders.below, slice(-2, None), -1),
    ):
        y, x = np.divmod(pixels, width)
        value = values[flat[pixels]]
        fine[y, edge, x] = value[:, np.newaxis, np.newaxis]
        for beside, corner in ((1, 0), (-1, -1)):  # what is diagonal to the same other pixel
            inside = (x + beside >= 0) & (x + beside < width)
            inside[inside] = flat[pixels[inside] + beside] == flat[pixels[inside]]
            fine[y[inside], corners, x[inside] + beside, corner] = value[inside]
    for pixels, edge in ((borders.left, slice(2)), (borders.right, slice(-2, None))):
        y, x = np.divmod(pixels, width)
        fine[y, :, x, edge] = values[flat[pixels]][:, np.newaxis, np.newaxis]
