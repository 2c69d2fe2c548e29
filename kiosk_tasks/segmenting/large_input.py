"""The input of a job that knows how to work on images of any size: whole, or by reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from kiosk_tasks.errors import FileTooLarge, ImageTooLarge
from kiosk_tasks.imaging.image import Image
from kiosk_tasks.imaging.limits import ImageLimits, spaced
from kiosk_tasks.imaging.regions import RegionImage, look_at, open_regions
from kiosk_tasks.job import Context
from kiosk_tasks.segmenting.large import Input, Large
from kiosk_tasks.segmenting.large_memory import small_heap
from kiosk_tasks.segmenting.large_plan import check_channel
from kiosk_tasks.segmenting.large_survey import Survey, survey
from kiosk_tasks.stages import download

__all__ = ["Surveyed", "fetch_or_refer", "surveyed"]

_SMALL_BYTES = 2**26
"""A larger file is looked at in the bucket before it is fetched."""


@dataclass(frozen=True, eq=False)
class Surveyed:
    """A large image that has been looked at once. inputs: what of it is wanted; surveys: of each.

    labels: what each shows, an index into `models.LABELS`, or nothing where nobody has said;
    parts: what tells the files of each from the others'.
    """

    image: RegionImage
    inputs: tuple[Input, ...]
    surveys: tuple[Survey, ...]
    labels: tuple[int | None, ...] = ()
    parts: tuple[str, ...] = ()


def fetch_or_refer(ctx: Context[Any], *, blockwise: bool = True) -> Image | Large:
    """Return the job's image, or a reference to one that is too large to be held.

    A small one costs what `download` does, and nothing more.
    blockwise: whether the job, by its parameters, can be done in blocks.
    Raises what `download` does.
    """
    limits = ctx.limits
    least = replace(
        limits,
        max_pixels=min(limits.max_whole_pixels, limits.max_pixels),
        max_file_bytes=min(_SMALL_BYTES, limits.max_file_bytes),
    )
    try:
        return download(None, replace(ctx, limits=least) if blockwise else ctx)
    except (ImageTooLarge, FileTooLarge):
        if not blockwise:
            raise
    found = _look(ctx)
    if found is not None and prod(found.size) > limits.max_whole_pixels:
        _note(found, ctx)
        return Large(found)
    try:
        return download(None, ctx)
    except ImageTooLarge as exc:
        raise ImageTooLarge(
            f"{exc} Saved as a tiled TIFF or as OME-Zarr it may have "
            f"{spaced(limits.max_large_pixels)} px."
        ) from exc


@small_heap()
def surveyed(
    large: Large, inputs: Sequence[Input], ctx: Context[Any], **more: tuple[Any, ...]
) -> Surveyed:
    """Look at all pixels of the wanted channels once.

    Raises MissingChannel, and UnusableImage for pixels in which nothing can be found.
    """
    for channels in inputs:
        for channel in channels:
            check_channel(large.image, channel)
    with open_regions(large.image, ctx.storage) as reader:
        found = survey(reader, large.image, inputs, ctx.report.check)
    return Surveyed(large.image, tuple(inputs), tuple(found), **more)


def _look(ctx: Context[Any]) -> RegionImage | None:
    source, most = ctx.job.source, ctx.limits.max_large_pixels
    found = look_at(
        ctx.storage,
        source.input_file_name,
        name=source.name,
        axes=ctx.params.axes,
        mpp=ctx.params.mpp,
        limits=ImageLimits(2**62, ctx.limits.max_frames, 2**62),
    )
    if found is not None and prod(found.size) > most:
        height, width = found.size
        raise ImageTooLarge(
            f"{source.name} has {height} × {width} px; this queue takes {spaced(most)} px. "
            "Split the image or set KIOSK_MAX_LARGE_PIXELS."
        )
    return found


def _note(image: RegionImage, ctx: Context[Any]) -> None:
    source = ctx.job.source
    ctx.report.note(
        input={"name": source.name, "key": source.input_file_name},
        image={
            "axes": image.axes,
            "shape": list(image.shape),
            "dtype": image.dtype,
            "mpp": image.mpp,
        },
    )
