"""Ask a model for the cells of planes: what a job type needs that segments images or frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from kiosk_tasks.imaging.image import Image
from kiosk_tasks.imaging.labels import Labels, relabel, resize_labels
from kiosk_tasks.imaging.values import Scale
from kiosk_tasks.job import Context
from kiosk_tasks.segmenting.labelling import label_cells
from kiosk_tasks.segmenting.look import Look, look_with
from kiosk_tasks.segmenting.models import CellModel, asked, cell_model
from kiosk_tasks.segmenting.sizing import find_scale

__all__ = ["CellModel", "cell_model", "find_scale", "segment_planes", "to_image"]

MIN_AREA = 15  # px²; smaller objects are no cells, where the job type does not ask


def to_image(labels: Labels, image: Image, ctx: Context[Any]) -> Labels:
    """Bring cells to the size of the user's image, drop small ones, and number them 1..n.

    labels: (Y, X) int32 at the model's pixel size. image: axes "YX".
    """
    labels = resize_labels(labels, image.data.shape)
    least = asked(ctx, "min_size")
    return relabel(labels, min_area=MIN_AREA if least is None else least)


def segment_planes(
    planes: Iterable[Image],
    ctx: Context[Any],
    *,
    cells: CellModel,
    scale: Scale,
    total: int | None = None,
) -> Iterator[Labels]:
    """Yield the cells of each plane; only those planes are in memory whose predictions are awaited.

    planes: axes "YX" each, drawn lazily; a plane of one value has no cells.
    scale: of all planes, from `find_scale`.
    total: how many planes there are; with it, progress is reported here, by planes.
    Yields (Y, X) int32 at the plane's size; 0 is background, cells are 1..n in each plane anew.
    """
    look = look_with(cells, ctx)
    for done, labels in enumerate(_cells_of(planes, look, scale, ctx), start=1):
        yield labels
        if total is not None:
            ctx.report.progress(done, total)


def _cells_of(
    planes: Iterable[Image], look: Look, scale: Scale, ctx: Context[Any]
) -> Iterator[Labels]:
    """Yield the cells of each plane in order; those of one value are never sent."""
    drawn: deque[tuple[int, ...] | None] = deque()  # of a plane of one value its shape, else None

    def shown() -> Iterator[Image]:
        for plane in planes:
            ctx.report.check()
            if plane.is_constant:
                drawn.append(plane.data.shape)
            else:
                drawn.append(None)
                yield plane

    for heads in look.at_many(shown(), scale):
        while (shape := drawn.popleft()) is not None:
            yield np.zeros(shape, np.int32)
        yield to_image(label_cells(heads, look.cells.postprocess), heads.image, ctx)
    for shape in drawn:
        if shape is not None:
            yield np.zeros(shape, np.int32)
