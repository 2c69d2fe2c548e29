"""The values that spots leave a job in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.errors import InvalidAxes
from kiosk_tasks.imaging.image import Image
from kiosk_tasks.imaging.labels import LabelImage, Labels
from kiosk_tasks.imaging.spots import Spots

__all__ = ["CellPart", "SpotPlanes", "SpotsInCells", "cells_of_spots"]


@dataclass(frozen=True, eq=False)
class SpotPlanes:
    """The spots of an image, plane by plane.

    image: axes "YX", "TYX" or "BYX". spots: of each plane, in order.
    diameter: of a spot, px; pictures are drawn by it.
    """

    image: Image
    spots: tuple[Spots, ...]
    diameter: float


@dataclass(frozen=True, eq=False)
class CellPart:
    """Cells in which spots are counted; `name` tells which, as in "nuclear"."""

    name: str
    labels: LabelImage


@dataclass(frozen=True, eq=False)
class SpotsInCells:
    """The spots of an image, and the cells they lie in.

    image: axes "YX", what pictures are drawn on.
    spots: by channel. channels: of each of them, its number in the user's image.
    cells: none to two, each of the image's (Y, X).
    diameter: of a spot, px.
    """

    image: Image
    spots: tuple[Spots, ...]
    channels: tuple[int, ...]
    cells: tuple[CellPart, ...]
    diameter: float


def cells_of_spots(spots: Spots, labels: Labels) -> NDArray[np.int32]:
    """Return the label of the pixel that each spot lies in, (n,); 0 outside of all cells.

    labels: (Y, X) int32; 0 is background. A spot half a pixel off the image counts as at its edge.
    Raises InvalidAxes for labels that are no plane.
    """
    if labels.ndim != 2:
        raise InvalidAxes(f"labels of shape {labels.shape} are no plane; give (Y, X).")
    pixels = np.rint(spots.positions).astype(np.intp)
    pixels = np.clip(pixels, 0, np.array(labels.shape) - 1)
    cells: NDArray[np.int32] = labels[pixels[:, 0], pixels[:, 1]]
    return cells
