"""The values that pass from stage to stage of a segmentation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.imaging.boxes import Detections
from kiosk_tasks.imaging.image import Image
from kiosk_tasks.imaging.labels import LabelImage, Labels
from kiosk_tasks.imaging.tiling import TileLayout

__all__ = [
    "Heads",
    "LabelsOnly",
    "RawHeads",
    "Scale",
    "Segmentation",
    "Segmentations",
    "Tiles",
]


@dataclass(frozen=True)
class Scale:
    """How the plane a model sees relates to the user's image.

    factor: plane pixels per image pixel.
    measured: False when neither the pixel size nor a diameter was known, so that the factor is a
        guess which a first prediction may correct.
    """

    factor: float
    measured: bool


@dataclass(frozen=True, eq=False)
class Tiles:
    """A plane as a model wants it, and how it is cut.

    plane: (Y, X, C) float32 at the model's pixel size; tiles are cut from it when they are sent.
    image: the pixels it was made of, to measure and draw on; axes "YX", or "YXC" for a model of
        several channels.
    """

    plane: NDArray[np.float32]
    layout: TileLayout
    scale: Scale
    image: Image


@dataclass(frozen=True, eq=False)
class Heads:
    """The raw outputs of a model, stitched.

    planes: by output name, each (Y, X, K) float32 at the model's pixel size.
    detections: of a network that finds boxes; None for any other.
    labelled: where cells were made of them already: by which postprocessing, and the cells,
        (Y, X) int32.
    """

    planes: Mapping[str, NDArray[np.float32]]
    scale: Scale
    image: Image
    detections: Detections | None = None
    labelled: tuple[str, Labels] | None = None


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Cells, and the image they were found in: the same (Y, X).

    part: which of a job's several label images this is ("batch_0_channel_1", "nuclear"); it is in
        the names of its files.
    """

    labels: LabelImage
    image: Image
    part: str = ""


@dataclass(frozen=True, eq=False)
class LabelsOnly:
    """What `Segmentation` is, for a sender who wants no more than the label image."""

    labels: LabelImage
    part: str = ""


@dataclass(frozen=True, eq=False)
class RawHeads:
    """A model's outputs as they are: what no postprocessing leaves."""

    heads: Heads
    part: str = ""


@dataclass(frozen=True, eq=False)
class Segmentations:
    """The several results of one job, each with a `part` of its own."""

    parts: tuple[Segmentation | LabelsOnly | RawHeads, ...]
