"""What passes through the stages of a job whose image is too large to be held in memory.

The image is never there: what travels is where it lies, and how it is worked on. See
docs/large-images.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.imaging.block_sums import Sums
from kiosk_tasks.imaging.blocks import Box, Grid
from kiosk_tasks.imaging.cut_cells import Rim
from kiosk_tasks.imaging.regions import RegionImage
from kiosk_tasks.imaging.scale import scaled_shape
from kiosk_tasks.imaging.tiling import TileLayout

__all__ = ["BlockFacts", "Input", "Large", "Plan", "Shown", "Sight", "Unit"]

Input = tuple[int, ...]
"""The channels that one input of a model is made of: the brightest of them counts at each pixel."""


@dataclass(frozen=True)
class Large:
    """An image that is read region by region: what `download` gives for it."""

    image: RegionImage


@dataclass(frozen=True)
class Shown:
    """One label image that comes of a sight.

    part: what tells its files from the others'. kind: the compartment, where a model has several.
    channel: the input that it is measured and drawn on, from 0.
    """

    part: str = ""
    kind: str = ""
    channel: int = 0


@dataclass(frozen=True)
class Sight:
    """How a model looks at an image.

    inputs: the channels of each of the model's input channels.
    intensities: "percentile", "clahe", "none" or "tissue"; see `large_pixels`.
    ranges: of each input, the intensities that become 0 and 1 at the model's pixel size.
    model, version: what is asked. tile, overlap: of its tiles, px.
    """

    inputs: tuple[Input, ...]
    intensities: str
    ranges: tuple[tuple[float, float], ...]
    model: str
    version: int
    postprocess: str
    tile: int
    overlap: int
    shown: tuple[Shown, ...]


@dataclass(frozen=True)
class Unit:
    """What one child job works on: those rows and columns of blocks; the ends are not in it."""

    first_row: int
    end_row: int
    first_column: int
    end_column: int

    def blocks(self, grid: Grid) -> list[list[int]]:
        """Return the numbers of its blocks, row by row."""
        return [
            [row * grid.across + column for column in range(self.first_column, self.end_column)]
            for row in range(self.first_row, self.end_row)
        ]


@dataclass(frozen=True)
class Plan:
    """How an image is worked on, for all that work on it.

    scale: model pixels per image pixel. grid: of the blocks' cores, in image pixels.
    margin: around a core, model pixels. picture: (Y, X) of the overlay.
    least: smaller cells are removed, px². labels_only: nothing else is wanted.
    """

    image: RegionImage
    scale: float
    sights: tuple[Sight, ...]
    grid: Grid
    units: tuple[Unit, ...]
    margin: int
    picture: tuple[int, int]
    least: int
    labels_only: bool

    @property
    def model_shape(self) -> tuple[int, int]:
        """(Y, X) of the plane that a model sees, px."""
        return scaled_shape(self.image.size, self.scale)

    def layout(self, sight: Sight) -> TileLayout:
        """Return where the tiles of the whole plane lie."""
        return TileLayout(self.model_shape, sight.tile, sight.overlap)

    def window(self, core: Box) -> Box:
        """Return a core with its margin, px of the image."""
        return core.grown(self.margin_in_image, self.grid.shape)

    @property
    def margin_in_image(self) -> int:
        """The margin around a core, px of the image."""
        return max(round(self.margin / self.scale), 2)

    def seen(self, box: Box) -> Box:
        """Return what the model sees of a box of the image, px of the model's plane."""
        (high, wide), (height, width) = self.model_shape, self.grid.shape
        return Box(
            box.top * high // height,
            -(-box.bottom * high // height),
            box.left * wide // width,
            -(-box.right * wide // width),
        )


@dataclass(frozen=True, eq=False)
class BlockFacts:
    """All of one block but its labels, for one label image.

    corner, light: its part of the overlay, see `binned`.
    """

    rim: Rim
    sums: Sums
    corner: tuple[int, int]
    light: NDArray[np.float32]
