"""What `mesmer` does with a large image: split it up, and tell in which cell each nucleus lies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.fan_out import FanOut
from kiosk_tasks.imaging.regions import open_regions
from kiosk_tasks.imaging.scale import scaled_shape
from kiosk_tasks.job import Context
from kiosk_tasks.ports import Signature
from kiosk_tasks.segmenting.heads import Compartment
from kiosk_tasks.segmenting.large import Shown, Sight
from kiosk_tasks.segmenting.large_cells import check_blockwise
from kiosk_tasks.segmenting.large_input import Surveyed
from kiosk_tasks.segmenting.large_plan import fan_out, heads_of, make_plan, ranges_of, tile_side
from kiosk_tasks.segmenting.large_result import BlockCells
from kiosk_tasks.segmenting.multiplex import MODEL, OVERLAP, most_shared, shared_pixels

__all__ = ["match_nuclei", "split_tissue"]


def split_tissue(
    seen: Surveyed,
    ctx: Context[Any],
    *,
    scale: float,
    signature: Signature,
    compartments: Sequence[Compartment],
) -> FanOut:
    """Have the cells of each compartment found, block by block.

    seen: of the nuclear and the membrane channel. scale: model pixels per image pixel.
    """
    check_blockwise(signature)
    image = seen.image
    tile = tile_side(scaled_shape(image.size, scale), MODEL.tile, signature)
    with open_regions(image, ctx.storage) as reader:
        ranges = ranges_of("tissue", seen.inputs, seen.surveys, image, reader, scale)
    sight = Sight(
        inputs=seen.inputs,
        intensities="tissue",
        ranges=ranges,
        model=signature.model,
        version=signature.version,
        postprocess="",
        tile=tile,
        overlap=min(OVERLAP, tile // 4),
        shown=tuple(Shown(one, one, 0 if one == "nuclear" else 1) for one in compartments),
    )
    least, heads = ctx.params.min_size, heads_of(signature)
    return fan_out(make_plan(image, scale, [sight], ctx, heads=heads, least=least), ctx)


def match_nuclei(cells: BlockCells, nuclei: BlockCells) -> NDArray[np.int64]:
    """Return what `nuclei_in_cells` gives for the whole image."""
    base = cells.total + 1
    pairs, pixels = list[NDArray[np.int64]](), list[NDArray[np.int64]]()
    for index in range(len(cells.grid)):
        found, shared = shared_pixels(nuclei.labels(index), cells.labels(index), base)
        pairs.append(found)
        pixels.append(shared)
    every, place = np.unique(np.concatenate(pairs), return_inverse=True)
    total = np.zeros(len(every), np.int64)
    np.add.at(total, place, np.concatenate(pixels))
    return most_shared(every, total, base)
