"""What `predict` does with a large image: choose model and scale, split it up, put it together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kiosk_tasks.errors import InvalidParameter
from kiosk_tasks.fan_out import FanOut, Gathered
from kiosk_tasks.imaging.image import Image
from kiosk_tasks.imaging.regions import RegionReader, open_regions
from kiosk_tasks.imaging.scale import scaled_shape
from kiosk_tasks.imaging.values import Scale
from kiosk_tasks.job import Context
from kiosk_tasks.ports import Fact
from kiosk_tasks.segmenting.cells import MIN_AREA, cell_model
from kiosk_tasks.segmenting.detection import detect_label, detect_scale
from kiosk_tasks.segmenting.heads import is_ours
from kiosk_tasks.segmenting.labelling import RAW
from kiosk_tasks.segmenting.large import Large, Shown, Sight
from kiosk_tasks.segmenting.large_cells import check_blockwise
from kiosk_tasks.segmenting.large_input import Surveyed, surveyed
from kiosk_tasks.segmenting.large_plan import (
    fan_out,
    heads_of,
    make_plan,
    ranges_of,
    samples,
    tile_side,
)
from kiosk_tasks.segmenting.large_result import LargeCells, gathered
from kiosk_tasks.segmenting.look import Look, look_with
from kiosk_tasks.segmenting.models import LABELS, OVERLAP, asked
from kiosk_tasks.segmenting.sizing import common_scale, known_scale
from kiosk_tasks.segmenting.views import View, Wanted

__all__ = ["put_together", "split_up", "survey_channels"]


def survey_channels(
    large: Large, wanted: Sequence[Wanted], ctx: Context[Any], *, photograph: bool
) -> Surveyed:
    """Look at the channels to segment. photograph: the brightest of three colours is the image."""
    channels = [one.channel for one in wanted]
    parts = []
    for one in wanted:
        part = f"channel_{one.channel}" if wanted[1:] else ""
        twice = part and one.label is not None and channels.count(one.channel) > 1
        parts.append(f"{part}_{LABELS[one.label or 0]}" if twice else part)
    inputs = [(0, 1, 2) if photograph else (one.channel,) for one in wanted]
    labels = tuple(one.label for one in wanted)
    return surveyed(large, inputs, ctx, labels=labels, parts=tuple(parts))


def split_up(seen: Surveyed, ctx: Context[Any]) -> FanOut:
    """Choose models, scale, intensities and blocks, and have the blocks' cells found."""
    image = seen.image
    with open_regions(image, ctx.storage) as reader:
        windows = [_views(one, seen, reader) for one in range(len(seen.inputs))]
        labels = list(seen.labels)
        if None in labels:
            found = detect_label([view for views in windows for view in views], ctx)
            labels = [found if label is None else label for label in labels]
        looks = [look_with(cell_model(ctx, label=label), ctx) for label in labels]
        for look in looks:
            _check(look)
        scale = _scale(labels, looks, windows, image.mpp, ctx)
        sights = [_sight(one, looks[one], scale.factor, seen, reader) for one in range(len(labels))]
    used: dict[str, Fact] = {
        LABELS[label or 0]: {"name": look.signature.model, "version": look.signature.version}
        for label, look in zip(labels, looks, strict=True)
    }
    ctx.report.note(model=next(iter(used.values())), models=used, scale=round(scale.factor, 6))
    least = asked(ctx, "min_size")
    plan = make_plan(
        image,
        scale.factor,
        sights,
        ctx,
        heads=max(heads_of(look.signature) for look in looks),
        least=MIN_AREA if least is None else least,
        labels_only=bool(asked(ctx, "labels_only")),
    )
    return fan_out(plan, ctx)


def put_together(value: Gathered, ctx: Context[Any]) -> LargeCells:
    """Unite the cells of all blocks; raises PartFailed if some could not be found."""
    cells = gathered(value, ctx)
    ctx.report.note(cells=sum(one.total for one in cells.numbers))
    return cells


def _views(index: int, seen: Surveyed, reader: RegionReader) -> list[View]:
    windows = samples(reader, seen.image, seen.inputs[index], seen.surveys[index])
    return [View(window, seen.labels[index]) for window in windows]


def _scale(
    labels: Sequence[int | None],
    looks: Sequence[Look],
    windows: Sequence[Sequence[View]],
    mpp: float | None,
    ctx: Context[Any],
) -> Scale:
    """Return the scale, as for a smaller image; where it is unknown, by windows of the image."""
    first = min(range(len(labels)), key=lambda one: labels[one] or 0)
    nothing = Image(np.zeros((1, 1), np.float32), "YX", mpp)
    scale = known_scale(nothing, ctx, looks[first].cells)
    if scale.measured:
        return scale
    if ctx.choices.detect_scale:
        return detect_scale([view for views in windows for view in views], ctx)
    return common_scale([view.image for view in windows[first]], ctx, look=looks[first])


def _sight(index: int, look: Look, scale: float, seen: Surveyed, reader: RegionReader) -> Sight:
    cells, signature, image = look.cells, look.signature, seen.image
    how = cells.preprocess or ("percentile" if is_ours(signature.outputs) else "clahe")
    inputs, surveys = [seen.inputs[index]], [seen.surveys[index]]
    tile = tile_side(scaled_shape(image.size, scale), cells.model.tile, signature)
    return Sight(
        inputs=tuple(inputs),
        intensities=how,
        ranges=ranges_of(how, inputs, surveys, image, reader, scale),
        model=signature.model,
        version=signature.version,
        postprocess=cells.postprocess,
        tile=tile,
        overlap=min(OVERLAP, tile // 4),
        shown=(Shown(part=seen.parts[index]),),
    )


def _check(look: Look) -> None:
    check_blockwise(look.signature)
    if look.cells.postprocess == RAW:
        raise InvalidParameter(
            'postprocess "none" gives the outputs of a model as they are, which an image as large '
            "as this has too many of. Cut out the part that you want to look at."
        )
