"""How a large image is worked on: at which scale, with which intensities, in which blocks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import ceil, isqrt
from typing import Any

import numpy as np

from kiosk_tasks.errors import MissingChannel
from kiosk_tasks.fan_out import Child, FanOut
from kiosk_tasks.imaging.blocks import Box, Grid, cuts
from kiosk_tasks.imaging.image import Image
from kiosk_tasks.imaging.picture import picture_size
from kiosk_tasks.imaging.regions import RegionImage, RegionReader
from kiosk_tasks.imaging.scale import scaled_shape
from kiosk_tasks.imaging.tiling import TileLayout
from kiosk_tasks.job import Context
from kiosk_tasks.outputs import parts_folder, stem_of
from kiosk_tasks.ports import Signature
from kiosk_tasks.segmenting.heads import channels_of
from kiosk_tasks.segmenting.large import Input, Plan, Sight, Unit
from kiosk_tasks.segmenting.large_pixels import read_input
from kiosk_tasks.segmenting.large_survey import (
    Survey,
    exact_percentiles,
    seen_percentiles,
    seen_planes,
)
from kiosk_tasks.workspace import encode

__all__ = [
    "check_channel",
    "fan_out",
    "grid_of",
    "heads_of",
    "make_plan",
    "ranges_of",
    "samples",
    "tile_side",
    "units_of",
]

MARGIN = 64  # px at the model's pixel size: more than half of a nucleus of 100 px
SAMPLES = 4  # windows that the scale is taken from
_SAMPLE = 1024  # px, side of such a window
_HIGH, _ACROSS = 3 / 16, 1 / 2  # of a block; of the side of what is worked on whole
_WIDE = 16  # bytes of heads for a pixel; where there are more, units are half as wide
_SLACK = 0.1  # by so much a unit may be longer before there is one more
_LONGEST_STEM = 110  # bytes; what is put behind it must not be cut off


def check_channel(image: RegionImage, index: int) -> None:
    """Raise MissingChannel, as `Image.channel` does, if there is no channel of that index."""
    if not 0 <= index < image.channels:
        last = f"channels 0 to {image.channels - 1}" if image.channels > 1 else "one channel, 0"
        raise MissingChannel(f"channel {index} was asked for, but the image has {last}.")


def samples(reader: RegionReader, image: RegionImage, channels: Input, seen: Survey) -> list[Image]:
    """Return windows of an image in which most is to be seen, axes "YX" each."""
    height, width = image.size
    side = min(_SAMPLE, height, width)
    chosen: list[tuple[int, int]] = []
    for y, x in seen.best_patches(64):
        corner = min(max(y - side // 4, 0), height - side), min(max(x - side // 4, 0), width - side)
        far = all(max(abs(corner[0] - b), abs(corner[1] - a)) >= side for b, a in chosen)
        if far and len(chosen) < SAMPLES:
            chosen.append(corner)
    return [_window(reader, image, channels, corner, side) for corner in chosen]


def ranges_of(
    how: str,
    inputs: Sequence[Input],
    surveys: Sequence[Survey],
    image: RegionImage,
    reader: RegionReader,
    scale: float,
) -> tuple[tuple[float, float], ...]:
    """Return for each input the intensities that become 0 and 1.

    They are those of the whole plane at the model's pixel size, exactly, whatever its type.
    """
    low, high = {"percentile": (1.0, 99.8), "tissue": (0.0, 99.9)}.get(how, (0.0, 100.0))
    whole = scaled_shape(image.size, scale) == image.size
    found = []
    for channels, seen in zip(inputs, surveys, strict=True):
        if how == "none":
            found.append((0.0, 1.0))
            continue
        planes = seen_planes(reader, image, channels, scale)

        def at(
            one: float, other: float, seen: Survey = seen, planes: Any = planes
        ) -> tuple[float, float]:
            if whole and seen.counts is not None:
                return exact_percentiles(seen, one, other)
            return seen_percentiles(planes, one, other)

        floor, ceiling = at(low, high)
        found.append((floor, ceiling if ceiling > floor else at(low, 100.0)[1]))
    return tuple(found)


def tile_side(size: tuple[int, int], most: int, signature: Signature) -> int:
    """Return the side of a tile, px: the model's, or less where image and model allow."""
    (spec,) = signature.inputs.values()
    if spec.shape is not None and len(spec.shape) == 4 and spec.shape[1] > 0:
        return spec.shape[1]
    return min(most, -(-max(size) // 64) * 64)


def grid_of(size: tuple[int, int], layout: TileLayout, whole_pixels: int) -> Grid:
    """Choose the blocks of an image.

    Their height is about 3/16 of the side of what is worked on whole, their width half of it. Cuts
    go through the middle of tiles: there two units share the fewest.
    size: (Y, X) of the image, px. layout: of the tiles of the model's plane.
    """
    side = isqrt(whole_pixels)
    lines = []
    for axis, (origins, share) in enumerate(((layout.rows, _HIGH), (layout.columns, _ACROSS))):
        ratio = size[axis] / layout.shape[axis]
        places = [round((origin + layout.tile // 2) * ratio) for origin in origins]
        lines.append(cuts(size[axis], places, about=max(round(side * share * ratio), 1)))
    return Grid(*lines)


def units_of(grid: Grid, plane: tuple[int, int], whole_pixels: int, heads: int) -> tuple[Unit, ...]:
    """Group blocks into units, row by row.

    They are as high and as wide as what is worked on whole; half as wide where a model gives more
    than `_WIDE` bytes for a pixel.
    plane: (Y, X) that the model sees. heads: channels of its outputs.
    """
    side = isqrt(whole_pixels)
    wide = side if heads * 4 <= _WIDE else side / 2
    rows = _groups(grid.down, plane[0] / side)
    columns = _groups(grid.across, plane[1] / wide)
    return tuple(Unit(top, bottom, left, right) for top, bottom in rows for left, right in columns)


def heads_of(signature: Signature) -> int:
    """Return how many channels a model's outputs have together; one of unknown number counts 4."""
    return sum(count if count > 0 else 4 for count in channels_of(signature).values())


def fan_out(plan: Plan, ctx: Context[Any]) -> FanOut:
    """Leave the plan where child jobs find it, and have each of its units done by one."""
    key = f"{parts_folder(ctx.job.id)}plan"
    ctx.storage.put(key, encode(plan))
    stem = stem_of(ctx.job.source.name).encode()[:_LONGEST_STEM].decode(errors="ignore")
    units = len(plan.units)
    ctx.report.note(
        blocks={
            "blocks": len(plan.grid),
            "jobs": units,
            "margin_px": plan.margin_in_image,
            "largest": [int(np.diff(lines).max()) for lines in (plan.grid.rows, plan.grid.columns)],
        },
    )
    children = [
        Child("predict_block", {"input_file_name": key, "original_name": name, "unit": number})
        for number in range(len(plan.units))
        for name in [f"{stem}_part_{number + 1}_of_{units}"]
    ]
    return FanOut(tuple(children), keep=plan)


def make_plan(
    image: RegionImage,
    scale: float,
    sights: Sequence[Sight],
    ctx: Context[Any],
    *,
    heads: int,
    least: int,
    labels_only: bool = False,
) -> Plan:
    """Lay out blocks and units for an image. heads: channels of the widest sight's outputs."""
    plane, whole = scaled_shape(image.size, scale), ctx.limits.max_whole_pixels
    grid = grid_of(image.size, TileLayout(plane, sights[0].tile, sights[0].overlap), whole)
    size = picture_size(image.size)
    return Plan(
        image=image,
        scale=scale,
        sights=tuple(sights),
        grid=grid,
        units=units_of(grid, plane, whole, heads),
        margin=MARGIN,
        picture=size if max(size) < max(image.size) else image.size,
        least=least,
        labels_only=labels_only,
    )


def _groups(count: int, wanted: float) -> list[tuple[int, int]]:
    """Cut `count` blocks into that many groups of nearly equal length, or one more."""
    groups = min(max(ceil(wanted - _SLACK), 1), count)
    ends = [count * number // groups for number in range(groups + 1)]
    return list(pairwise(ends))


def _window(
    reader: RegionReader, image: RegionImage, channels: Input, corner: tuple[int, int], side: int
) -> Image:
    box = Box(corner[0], corner[0] + side, corner[1], corner[1] + side)
    return Image(read_input(reader, channels, box), "YX", image.mpp)
