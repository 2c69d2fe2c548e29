"""The cells of one unit of a large image: block by block, with a margin, then cut at the core."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.errors import InvalidParameter, ModelMismatch
from kiosk_tasks.imaging.block_sums import binned, sums_of
from kiosk_tasks.imaging.blocks import Box
from kiosk_tasks.imaging.boxes import is_boxes
from kiosk_tasks.imaging.cut_cells import cut_core
from kiosk_tasks.imaging.image import Image
from kiosk_tasks.imaging.labels import Labels
from kiosk_tasks.imaging.regions import RegionReader, open_regions
from kiosk_tasks.imaging.values import Heads, Scale
from kiosk_tasks.job import Context
from kiosk_tasks.ports import Signature
from kiosk_tasks.segmenting.heads import COMPARTMENTS
from kiosk_tasks.segmenting.labelling import label_cells
from kiosk_tasks.segmenting.large import BlockFacts, Plan, Sight, Unit
from kiosk_tasks.segmenting.large_heads import HeadRows, tiles_of
from kiosk_tasks.segmenting.large_memory import give_back, small_heap
from kiosk_tasks.segmenting.large_parts import PartsWriter
from kiosk_tasks.segmenting.large_pixels import RawRows, SeenRows, source_of
from kiosk_tasks.segmenting.multiplex import label_compartment

__all__ = ["check_blockwise", "label_unit"]

_BATCH = 4  # tiles in a request at most; several are in memory, with their replies
_BAND = 512  # rows; `SeenRows` begins at a multiple of it


@small_heap()
def label_unit(plan: Plan, unit: Unit, ctx: Context[Any], target: Path) -> None:
    """Find the cells of a unit's blocks, and leave them in a file that `PartsReader` reads."""
    total = len(plan.sights) * (unit.end_row - unit.first_row)
    done = result = 0
    with open_regions(plan.image, ctx.storage) as reader, PartsWriter(target) as parts:
        for sight in plan.sights:
            work = _Work(plan, unit, sight, ctx, reader)
            for row in unit.blocks(plan.grid):
                for block, shown, labels, facts in work.row(row):
                    parts.add(result + shown, block, labels, facts)
                done += 1
                give_back()
                ctx.report.progress(done, total)
            work.close()
            del work
            give_back()
            result += len(sight.shown)


def check_blockwise(signature: Signature) -> None:
    """Refuse a model that finds boxes; these are not put together over blocks."""
    if any(is_boxes(name, spec.shape) for name, spec in signature.outputs.items()):
        raise InvalidParameter(
            f"model {signature.model} finds boxes, and an image as large as this is worked on "
            "block by block, which takes heads of the image's size. Split the image, or name "
            "another model."
        )


class _Work:
    """One sight of one unit, from its first row of blocks to its last."""

    def __init__(
        self, plan: Plan, unit: Unit, sight: Sight, ctx: Context[Any], reader: RegionReader
    ) -> None:
        self._plan, self._sight, self._ctx = plan, sight, ctx
        rows = unit.blocks(plan.grid)
        whole = _hull(plan.grid.core(rows[0][0]), plan.grid.core(rows[-1][-1]))
        layout, area = plan.layout(sight), plan.seen(plan.window(whole))
        seen = tiles_of(layout, area).area(layout)
        seen = Box(seen.top // _BAND * _BAND, seen.bottom, seen.left, seen.right)
        self._raw = RawRows(reader, plan, sight, _hull(source_of(plan, sight, seen), whole))
        self._seen = SeenRows(self._raw, plan, sight, seen)
        boxes = [plan.seen(plan.window(plan.grid.core(row[0]))) for row in rows]
        self._heads = HeadRows(
            self._seen,
            layout,
            area,
            tallest=max(box.bottom - box.top for box in boxes),
            batch=min(ctx.limits.max_batch, _BATCH),
            ask=self._ask,
        )

    def row(self, blocks: list[int]) -> Iterator[tuple[int, int, Labels, BlockFacts]]:
        """Yield each block's number, which label image it is of, its labels and facts."""
        plan = self._plan
        seen = plan.seen(plan.window(plan.grid.core(blocks[0])))
        self._heads.forget(seen.top)
        self._heads.until(seen.bottom)
        for block in blocks:
            self._ctx.report.check()
            yield from self._block(block)
        below = plan.grid.core(blocks[0]).bottom - plan.margin_in_image
        self._raw.forget(min(below, self._seen.needs(plan, self._sight)))

    def close(self) -> None:
        """Cancel what is under way."""
        self._heads.close()

    def _block(self, block: int) -> Iterator[tuple[int, int, Labels, BlockFacts]]:
        plan, core = self._plan, self._plan.grid.core(block)
        window = plan.window(core)
        seen = plan.seen(window)
        pixels = self._raw.get(core)
        heads = Heads(
            self._heads.get(seen),
            Scale(plan.scale, measured=True),
            Image(np.broadcast_to(np.float32(0), window.shape), "YX"),
        )
        for number, shown in enumerate(self._sight.shown):
            if _is_flat(pixels) and _is_flat(self._raw.get(window)):
                labels = np.zeros(window.shape, np.int32)
            else:
                labels = self._to_image(_cells(heads, self._sight, shown.kind), seen, window)
            kept, rim = cut_core(labels, core.within(window))
            mine = pixels[shown.channel]
            sums = sums_of(kept, mine, core, plan.grid.shape)
            corner, light = binned(mine, core, plan.grid.shape, plan.picture)
            yield block, number, kept, BlockFacts(rim, sums, corner, light)

    def _to_image(self, labels: Labels, seen: Box, window: Box) -> Labels:
        """Bring a block's labels to the image's pixels, as `resize_labels` would the whole's."""
        plan = self._plan
        if plan.model_shape == plan.grid.shape:
            return labels
        rows, columns = (
            np.minimum(((np.arange(start, end) + 0.5) * (old / new)).astype(np.intp), old - 1)
            for start, end, new, old in zip(
                (window.top, window.left),
                (window.bottom, window.right),
                plan.grid.shape,
                plan.model_shape,
                strict=True,
            )
        )
        return np.ascontiguousarray(labels[rows - seen.top][:, columns - seen.left], np.int32)

    def _ask(self, batches: Iterator[NDArray[np.float32]]) -> Iterator[dict[str, NDArray[Any]]]:
        ctx, sight = self._ctx, self._sight
        signature = ctx.models.signature(sight.model, sight.version)
        check_blockwise(signature)
        (name,) = signature.inputs
        requests = ({name: batch} for batch in batches)
        for reply in ctx.models.predict(signature, requests, check=ctx.report.check):
            _check(reply, sight.tile)
            yield reply


def _cells(heads: Heads, sight: Sight, kind: str) -> Labels:
    for compartment in COMPARTMENTS:
        if compartment == kind:
            return label_compartment(heads, compartment)
    return label_cells(heads, sight.postprocess)


def _check(reply: dict[str, NDArray[Any]], tile: int) -> None:
    for array in reply.values():
        if array.ndim != 4 or array.shape[1:3] != (tile, tile):
            raise ModelMismatch(
                f"tiles of shape (n, {tile}, {tile}, k) were expected, {array.shape} came back."
            )


def _is_flat(pixels: NDArray[Any]) -> bool:
    return bool((pixels == pixels[:, :1, :1]).all())


def _hull(one: Box, other: Box) -> Box:
    """Return the smallest box that holds both."""
    return Box(
        min(one.top, other.top),
        max(one.bottom, other.bottom),
        min(one.left, other.left),
        max(one.right, other.right),
    )
