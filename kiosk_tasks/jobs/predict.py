"""Segmentation: an image in, a label image of its nuclei or cells out, for each of its planes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kiosk_tasks.fan_out import FanOut, Gathered
from kiosk_tasks.imaging.image import Image
from kiosk_tasks.imaging.intensity import check_pixels
from kiosk_tasks.imaging.labels import LabelImage, Labels
from kiosk_tasks.imaging.values import (
    Heads,
    LabelsOnly,
    RawHeads,
    Scale,
    Segmentation,
    Segmentations,
)
from kiosk_tasks.job import Context, JobType, Model, Stage, Status
from kiosk_tasks.ports import Fact
from kiosk_tasks.segmenting.cells import cell_model, to_image
from kiosk_tasks.segmenting.detection import check_detection, detect_label, detect_scale
from kiosk_tasks.segmenting.heads import missing_heads
from kiosk_tasks.segmenting.labelling import RAW, label_cells
from kiosk_tasks.segmenting.large import Large
from kiosk_tasks.segmenting.large_files import save_large
from kiosk_tasks.segmenting.large_input import Surveyed, fetch_or_refer
from kiosk_tasks.segmenting.large_predict import put_together, split_up, survey_channels
from kiosk_tasks.segmenting.large_result import LargeCells
from kiosk_tasks.segmenting.look import Look, look_with
from kiosk_tasks.segmenting.models import LABELS
from kiosk_tasks.segmenting.params import PredictParams
from kiosk_tasks.segmenting.sizing import SAMPLES, common_scale, fitting_heads, known_scale
from kiosk_tasks.segmenting.views import (
    View,
    Wanted,
    brightest,
    sampled,
    views_of,
    wanted_channels,
)
from kiosk_tasks.stages import upload

Result = Segmentation | LabelsOnly | RawHeads

MODEL = Model("NuclearSegmentation", axes="YXC", tile=512, mpp=0.65)


@dataclass(frozen=True, eq=False)
class Found:
    """What a model made of one plane.

    heads: its outputs; without planes where `labels` are made already.
    labels: (Y, X) int32 at the image's size. A job of many planes makes them at once, so that it
        need not hold the outputs of all planes.
    """

    part: str
    postprocess: str
    heads: Heads
    labels: Labels | None = None


def download(_: None, ctx: Context[PredictParams]) -> Image | Large:
    """Fetch the image, or see how a large one can be read."""
    wanted = _wanted(ctx)[0].label
    after = cell_model(ctx, label=wanted).postprocess
    return fetch_or_refer(ctx, blockwise=after != RAW and "retinanet" not in after)


def preprocess(image: Image | Large, ctx: Context[PredictParams]) -> tuple[View, ...] | Surveyed:
    """Cut the image into planes, and see whether there is anything in them."""
    wanted = _wanted(ctx)
    photograph = _is_photograph(image, ctx.params)
    if photograph:
        image = brightest(image) if isinstance(image, Image) else image
        ctx.report.note(channel="brightest of the three colours")
    elif len(wanted) == 1:
        ctx.report.note(channel=wanted[0].channel)
    else:
        ctx.report.note(channels={LABELS[one.label or 0]: one.channel for one in wanted})
    if isinstance(image, Large):
        return survey_channels(image, wanted, ctx, photograph=photograph)
    views = views_of(image, wanted)
    _check_planes(views, ctx.job.source.name)
    return views


def predict(
    views: Sequence[View] | Surveyed, ctx: Context[PredictParams]
) -> tuple[Found, ...] | FanOut:
    """Predict every plane at one scale: the known one, or one that fits what is seen."""
    if isinstance(views, Surveyed):
        return split_up(views, ctx)
    views = _labelled(views, ctx)
    alone = len(views) == 1
    models = {view.label or 0: cell_model(ctx, label=view.label) for view in views}
    looks = {label: look_with(cells, ctx, tell=alone) for label, cells in models.items()}
    _note_models(looks, ctx)
    first = looks[min(looks)]  # nuclei, if there are any: they tell the size
    scale = known_scale(views[0].image, ctx, first.cells)
    if not scale.measured and ctx.choices.detect_scale:
        scale = detect_scale(views, ctx)
    if alone:
        heads = fitting_heads(views[0].image, ctx, look=first, scale=scale)
        return (Found(views[0].part, first.cells.postprocess, heads),)
    if not scale.measured:
        alike = [view for view in views if (view.label or 0) == first.cells.label]
        planes = [view.image for view in sampled(alike, SAMPLES)]
        scale = common_scale(planes, ctx, look=first)
    found = []
    for done, view in enumerate(views, start=1):
        found.append(_find(view, looks[view.label or 0], scale, ctx))
        ctx.report.progress(done, len(views))
    return tuple(found)


def postprocess(
    found: Sequence[Found] | Gathered, ctx: Context[PredictParams]
) -> Result | Segmentations | LargeCells:
    """Make cells of the model's outputs, at the size of the user's image."""
    if isinstance(found, Gathered):
        return put_together(found, ctx)
    results = tuple(_result(one, ctx) for one in found)
    cells = [
        int(one.labels.data.max(initial=0)) for one in results if not isinstance(one, RawHeads)
    ]
    ctx.report.note(cells=sum(cells), scale=round(found[0].heads.scale.factor, 6))
    return Segmentations(results) if len(results) > 1 else results[0]


def save(result: Any, ctx: Context[PredictParams]) -> dict[str, str]:
    """Write the result's files, and leave them as one archive."""
    return save_large(result, ctx) if isinstance(result, LargeCells) else upload(result, ctx)


def check_models(ctx: Context[PredictParams]) -> None:
    """Find out, before the download, whether the job's models are served and take one input."""
    check_detection(ctx)
    for one in _wanted(ctx):
        if one.label is not None:
            look_with(cell_model(ctx, label=one.label), ctx)


def _wanted(ctx: Context[PredictParams]) -> tuple[Wanted, ...]:
    """Return the channels to segment; without a label where a model is to find out."""
    params = ctx.params
    if params.channels is not None:
        return wanted_channels(params.channels)
    label = params.label
    if label is None and not (ctx.choices.detect_label and params.model_name is None):
        label = 0
    return (Wanted(params.channel or 0, label),)


def _is_photograph(image: Image | Large, params: PredictParams) -> bool:
    """Tell whether an image is a photograph, of which nobody has named a channel."""
    named = params.channel is not None or params.channels is not None
    if isinstance(image, Large):
        return not named and image.image.channels == 3 and image.image.dtype == "uint8"
    return not named and image.size.get("C") == 3 and image.data.dtype == np.uint8


def _check_planes(views: Sequence[View], name: str) -> None:
    """Refuse pixels in which nothing can be found; among others, planes of one value may be."""
    for view in views:
        if not view.image.is_constant:
            check_pixels(view.image.data, f"{name} ({view.part})" if view.part else name)
    if all(view.image.is_constant for view in views):
        check_pixels(views[0].image.data, name)


def _labelled(views: Sequence[View], ctx: Context[PredictParams]) -> Sequence[View]:
    if all(view.label is not None for view in views):
        return views
    label = detect_label(views, ctx)
    return [replace(view, label=label) for view in views]


def _note_models(looks: Mapping[int, Look], ctx: Context[PredictParams]) -> None:
    # Here, not in `check`: a newer version may have come since, and the record must be true.
    used: dict[str, Fact] = {
        LABELS[label]: {"name": look.signature.model, "version": look.signature.version}
        for label, look in looks.items()
    }
    ctx.report.note(model=next(iter(used.values())), models=used)


def _find(view: View, look: Look, scale: Scale, ctx: Context[PredictParams]) -> Found:
    """Predict one plane of many, and make cells of the outputs at once."""
    raw = look.cells.postprocess == RAW
    if view.image.is_constant and not raw:
        nothing = np.zeros(view.image.data.shape, np.int32)
        return Found(view.part, look.cells.postprocess, Heads({}, scale, view.image), nothing)
    heads = look.at(view.image, scale)
    if raw:
        return Found(view.part, RAW, heads)
    labels = to_image(label_cells(heads, look.cells.postprocess), view.image, ctx)
    bare = replace(heads, planes={}, detections=None)
    return Found(view.part, look.cells.postprocess, bare, labels)


def _result(found: Found, ctx: Context[PredictParams]) -> Result:
    image = found.heads.image
    if found.postprocess == RAW:
        if not found.heads.planes:
            raise missing_heads(["an output of the image's size"], found.heads)
        return RawHeads(found.heads, found.part)
    labels = found.labels
    if labels is None:
        labels = to_image(label_cells(found.heads, found.postprocess), image, ctx)
    cells = LabelImage(labels, image.mpp)
    if ctx.params.labels_only:
        return LabelsOnly(cells, found.part)
    return Segmentation(cells, image, found.part)


job_type = JobType(
    name="predict",
    title="Segmentation of nuclei and cells",
    queue="predict",
    params=PredictParams,
    stages=(
        download,
        preprocess,
        Stage(
            "predict",
            predict,
            Status.PREDICTING,
            model=MODEL,
            check=check_models,
            fans_out=True,
            seldom=True,
        ),
        postprocess,
        Stage("upload", save, Status.SAVING),
    ),
    aliases=("image", "segmentation"),
    seconds=1800,
    many=True,
)
