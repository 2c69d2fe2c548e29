"""Tissue: whole cells and nuclei, from a nuclear and a membrane channel.

The bundled model has seen simulated tissue only; what it finds in real tissue has to be looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from kiosk_tasks.fan_out import FanOut, Gathered
from kiosk_tasks.imaging.image import Image
from kiosk_tasks.imaging.intensity import check_pixels
from kiosk_tasks.imaging.labels import LabelImage
from kiosk_tasks.imaging.scale import scale_factor
from kiosk_tasks.imaging.values import Heads, Scale, Segmentation, Segmentations, Tiles
from kiosk_tasks.job import Context, ImageParams, JobType, Stage, Status
from kiosk_tasks.outputs import OutputFile, output_files
from kiosk_tasks.params import form
from kiosk_tasks.segmenting.cells import to_image
from kiosk_tasks.segmenting.heads import COMPARTMENTS, Compartment
from kiosk_tasks.segmenting.large import Large
from kiosk_tasks.segmenting.large_files import save_large
from kiosk_tasks.segmenting.large_input import Surveyed, fetch_or_refer, surveyed
from kiosk_tasks.segmenting.large_result import BlockCells, LargeCells, gathered
from kiosk_tasks.segmenting.large_tissue import match_nuclei, split_tissue
from kiosk_tasks.segmenting.multiplex import (
    MODEL,
    label_compartment,
    nuclei_in_cells,
    pick_channels,
    tile_tissue,
    two_channel_model,
)
from kiosk_tasks.stages import predictor, upload

CHANNELS = ("nuclear", "membrane")
_INDEX = re.compile("[0-9]{1,9}")


class MesmerParams(ImageParams):
    """Parameters of `mesmer`."""

    channels: str | None = Field(
        None, description='Nuclear and membrane channel, from 0: "2,0"; default: the first two.'
    )
    compartment: Literal["whole-cell", "nuclear", "both"] | None = Field(
        None, description="What is wanted: whole-cell, nuclear or both; default: the operator's."
    )
    scale: float | None = Field(
        None,
        ge=0.1,
        le=10,
        description="Enlargement for the model; default: from `mpp`, else 1.",
        json_schema_extra=form(rare=True),
    )
    min_size: int = Field(
        15,
        ge=0,
        title="Smallest object",
        description="Smaller objects are removed, px².",
        json_schema_extra=form(unit="px²"),
    )

    @field_validator("channels")
    @classmethod
    def _two(cls, channels: str | None) -> str | None:
        indices = (channels or "0,1").split(",")
        if len(indices) != 2 or not all(_INDEX.fullmatch(i.strip()) for i in indices):
            raise ValueError(
                'it should name two channels, the nuclear one first, then the membrane: "0,1"'
            )
        return channels

    @property
    def pair(self) -> tuple[int, int]:
        """Index of the nuclear and of the membrane channel."""
        nuclear, membrane = (int(index) for index in (self.channels or "0,1").split(","))
        return nuclear, membrane


@dataclass(frozen=True, eq=False)
class WithNuclei(Segmentations):
    """Whole cells and nuclei, and the nuclei's cells as `nuclei_in_cells` gives them."""

    matches: NDArray[np.int64]


def download(_: None, ctx: Context[MesmerParams]) -> Image | Large:
    """Fetch the image, or see how a large one can be read."""
    return fetch_or_refer(ctx)


def preprocess(image: Image | Large, ctx: Context[MesmerParams]) -> Tiles | Surveyed:
    """Pick both channels, bring them to the model's pixel size and contrast, lay out the tiles."""
    name, pair = ctx.job.source.name, ctx.params.pair
    if isinstance(image, Large):
        ctx.report.note(channels=list(pair))
        return surveyed(image, [(index,) for index in pair], ctx)
    tissue = pick_channels(image, pair, name)
    for index, stain in enumerate(CHANNELS):
        check_pixels(tissue.data[..., index], f"the {stain} channel ({pair[index]}) of {name}")
    scale = _scale(tissue.mpp, ctx)
    ctx.report.note(channels=list(pair))
    return tile_tissue(tissue, scale, signature=two_channel_model(ctx))


def predict(tiles: Tiles | Surveyed, ctx: Context[MesmerParams]) -> Heads | FanOut:
    """Send the tiles to the model server, and stitch what comes back."""
    signature = two_channel_model(ctx)
    ctx.report.note(model={"name": signature.model, "version": signature.version})
    if isinstance(tiles, Surveyed):
        factor, names = _scale(tiles.image.mpp, ctx).factor, _compartments(ctx)
        return split_tissue(tiles, ctx, scale=factor, signature=signature, compartments=names)
    return predictor(signature, ctx)(tiles)


def postprocess(heads: Heads | Gathered, ctx: Context[MesmerParams]) -> Segmentations | LargeCells:
    """Make cells of each compartment's heads; tell in which cell each nucleus lies."""
    names = _compartments(ctx)
    if isinstance(heads, Gathered):
        large = gathered(heads, ctx)
        ctx.report.note(cells=large.numbers[0].total)
        if len(names) > 1:
            ctx.report.note(nuclei=large.numbers[1].total)
        return large
    parts = tuple(_segmentation(heads, name, ctx) for name in names)
    ctx.report.note(cells=int(parts[0].labels.data.max(initial=0)))
    if len(names) == 1:
        return Segmentations(parts)
    cells, nuclei = (part.labels.data for part in parts)
    ctx.report.note(nuclei=int(nuclei.max(initial=0)))
    return WithNuclei(parts, nuclei_in_cells(nuclei, cells))


def save(result: Segmentations | LargeCells, ctx: Context[MesmerParams]) -> dict[str, str]:
    """Write the result's files, and leave them as one archive."""
    if not isinstance(result, LargeCells):
        return upload(result, ctx)
    return save_large(result, ctx, more=_of_large if len(result.numbers) > 1 else None)


@output_files.register
def _of_both(result: WithNuclei, stem: str) -> list[OutputFile]:
    files = output_files(Segmentations(result.parts), stem)
    return [*files, _table(result.matches, stem)]


def _of_large(parts: Sequence[BlockCells], stem: str) -> Iterator[OutputFile]:
    yield _table(match_nuclei(*parts), stem)


def _table(matches: NDArray[np.int64], stem: str) -> OutputFile:
    lines = ["nucleus,cell,shared_px", *(",".join(map(str, row)) for row in matches)]
    return OutputFile(f"{stem}_nuclei_in_cells.csv", ("\n".join(lines) + "\n").encode("ascii"))


def _compartments(ctx: Context[MesmerParams]) -> list[Compartment]:
    wanted = ctx.params.compartment or ctx.choices.mesmer_compartment
    return [name for name in COMPARTMENTS if wanted in (name, "both")]


def _scale(mpp: float | None, ctx: Context[MesmerParams]) -> Scale:
    """Return how the model sees the image, and note it."""
    factor = ctx.params.scale or scale_factor(mpp, MODEL.mpp)
    measured = ctx.params.scale is not None or mpp is not None
    ctx.report.note(scale=round(factor, 6), pixel_size_known=measured)
    return Scale(factor, measured)


def _segmentation(
    heads: Heads, compartment: Compartment, ctx: Context[MesmerParams]
) -> Segmentation:
    """Return one compartment's cells, on the channel that shows them."""
    plane = heads.image.channel(0 if compartment == "nuclear" else 1)
    labels = to_image(label_compartment(heads, compartment), plane, ctx)
    return Segmentation(LabelImage(labels, plane.mpp), plane, part=compartment)


def check_model(ctx: Context[MesmerParams]) -> None:
    """Find out, before the download, whether the job's model is served and fits."""
    two_channel_model(ctx)


job_type = JobType(
    name="mesmer",
    title="Whole cells and nuclei of tissue",
    queue="mesmer",
    params=MesmerParams,
    stages=(
        download,
        preprocess,
        Stage(
            "predict",
            predict,
            Status.PREDICTING,
            model=MODEL,
            check=check_model,
            fans_out=True,
            seldom=True,
        ),
        postprocess,
        Stage("upload", save, Status.SAVING),
    ),
    aliases=("multiplex",),
    seconds=1800,
)
