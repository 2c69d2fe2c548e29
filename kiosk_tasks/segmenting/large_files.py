"""The last stage of a job with a large image: its files, written block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from kiosk_tasks.imaging.rois import LARGEST_SIDE
from kiosk_tasks.imaging.zarr_names import is_zarr_input
from kiosk_tasks.job import Context
from kiosk_tasks.outputs import OutputFile, stem_of
from kiosk_tasks.outputs.large import large_files
from kiosk_tasks.outputs.large_shapes import MOST_OUTLINES, MOST_ROIS
from kiosk_tasks.scratch import scratch_folder
from kiosk_tasks.segmenting.large_memory import give_back, small_heap
from kiosk_tasks.segmenting.large_result import BlockCells, LargeCells
from kiosk_tasks.stages import store

__all__ = ["More", "save_large"]

More = Callable[[Sequence[BlockCells], str], Iterable[OutputFile]]
"""Makes files of all label images of a job; the text is what their names begin with."""


@small_heap()
def save_large(cells: LargeCells, ctx: Context[Any], *, more: More | None = None) -> dict[str, str]:
    """Write the files of each label image, and leave them as one archive; `more` adds others."""
    stem, plan = stem_of(ctx.job.source.name), cells.plan
    as_zarr = is_zarr_input(plan.image.key, plan.image.name)
    blocks = BlockCells.all_of(plan, cells.keys, ctx.storage, cells.numbers)
    if not plan.labels_only:
        _note_left_out(blocks, ctx)

    def files() -> Iterator[OutputFile]:
        with scratch_folder(ctx.limits.scratch) as folder:
            for one in blocks:
                name = "_".join(filter(None, (stem, one.shown.part)))
                ctx.report.check()
                give_back()
                yield from large_files(
                    one, name, folder, labels_only=plan.labels_only, as_zarr=as_zarr
                )
            yield from more(blocks, stem) if more else ()

    return store(files(), ctx)


def _note_left_out(blocks: Sequence[BlockCells], ctx: Context[Any]) -> None:
    """Say in the record which files there are too many cells for."""
    most = max(one.total for one in blocks)
    too_wide = max(blocks[0].grid.shape) > LARGEST_SIDE
    left = [] if most <= MOST_ROIS and not too_wide else ["rois.zip"]
    left += ["cells.geojson"] if most > MOST_OUTLINES else []
    if left:
        ctx.report.note(left_out=list(left))
