"""A picture to judge a label image by: the image in grey, each cell outlined."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from kiosk_tasks.errors import InvalidAxes
from kiosk_tasks.imaging.labels import LabelImage, resize_labels
from kiosk_tasks.imaging.picture import (
    GREYS,
    PALETTE,
    colours_of,
    encode_png,
    grey_picture,
    outlines,
    picture_size,
)

__all__ = ["PALETTE", "overlay_png"]


def overlay_png(plane: NDArray[Any], labels: LabelImage) -> bytes:
    """Draw the outlines of cells over their image.

    plane: (Y, X), any real dtype, finite. labels: "YX" of the same shape.
    Returns a PNG with a palette of 250 greys and the colours of `PALETTE`, at most 2048 px on a
    side; small images are enlarged by a whole number.
    Cells next to each other have different colours. Equal arguments give equal bytes.
    Raises InvalidAxes if the shapes differ.
    """
    if labels.data.ndim != 2 or labels.data.shape != plane.shape:
        raise InvalidAxes(
            f"labels of shape {labels.data.shape} do not fit an image of shape {plane.shape}; "
            "both must be the same (Y, X)."
        )
    colours = colours_of(labels.data)
    size = picture_size((plane.shape[0], plane.shape[1]))
    picture = grey_picture(plane, size)
    cells = resize_labels(labels.data, size)
    outline = outlines(cells, thickness=2 if size[0] >= 2 * plane.shape[0] else 1)
    picture[outline] = GREYS + colours[cells[outline]]
    return encode_png(picture)
