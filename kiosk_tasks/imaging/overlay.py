"""A picture to judge a label image by: the image in grey, each cell outlined."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.errors import InvalidAxes
from kiosk_tasks.imaging.borders import borders_of
from kiosk_tasks.imaging.labels import LabelImage
from kiosk_tasks.imaging.picture import (
    GREYS,
    PALETTE,
    colours_of,
    draw_outlines,
    encode_png,
    grey_picture,
    picture_size,
)
from kiosk_tasks.imaging.runs import Runs, runs_of

__all__ = ["PALETTE", "overlay_png"]


def overlay_png(plane: NDArray[Any], labels: LabelImage, *, runs: Runs | None = None) -> bytes:
    """Draw the outlines of cells over their image.

    plane: (Y, X), any real dtype, finite. labels: "YX" of the same shape.
    runs: of these labels, where they are known already.
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
    runs = runs_of(labels.data) if runs is None else runs
    borders = borders_of(labels.data, runs=runs)
    colours = GREYS + colours_of(labels.data, runs=runs, borders=borders)
    size = picture_size((plane.shape[0], plane.shape[1]))
    picture = grey_picture(plane, size)
    draw_outlines(picture, labels.data, colours.astype(np.uint8), borders=borders)
    return encode_png(picture, enlarged=size[0] // plane.shape[0])
