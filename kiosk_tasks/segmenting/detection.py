"""Ask models what an image shows, and at which scale: off, unless an operator turns it on.

Both see planes of the job, evenly spread, each resized to a square and brought to mean 0 and
standard deviation 1, as the published ScaleDetection and LabelDetection models of the DeepCell
Kiosk do (Bannon et al. 2021, Nature Methods 18:43); what they say is averaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.choices import named_model
from kiosk_tasks.errors import ModelMismatch
from kiosk_tasks.imaging.image import Image
from kiosk_tasks.imaging.intensity import standardise
from kiosk_tasks.imaging.scale import resize_to
from kiosk_tasks.imaging.values import Scale
from kiosk_tasks.job import Context
from kiosk_tasks.ports import Signature
from kiosk_tasks.segmenting.models import LABELS, asked
from kiosk_tasks.segmenting.views import View, sampled

__all__ = ["check_detection", "detect_label", "detect_scale"]

SCALES = (0.1, 10.0)  # what a job may ask for, too


def check_detection(ctx: Context[Any]) -> None:
    """Find out whether the models that the operator has turned on are served, if this job may ask.

    It does not where its parameters say what they would.
    """
    choices = ctx.choices
    says_label = ("label", "channels", "model_name")
    says_scale = ("scale", "mpp", "diameter")
    for wanted, name, said in (
        (choices.detect_label, choices.label_model, says_label),
        (choices.detect_scale, choices.scale_model, says_scale),
    ):
        if wanted and all(asked(ctx, parameter) is None for parameter in said):
            _signature(name, ctx)


def detect_label(views: Sequence[View], ctx: Context[Any]) -> int:
    """Return what the planes show, an index into `LABELS`."""
    choices = ctx.choices
    planes = [view.image for view in sampled(views, choices.label_samples)]
    scores = _ask(choices.label_model, planes, choices.label_sample_px, ctx)
    if scores.shape[1:] != (len(LABELS),):
        raise ModelMismatch(
            f"model {choices.label_model} gives {scores.shape[1:]} values for an image; "
            f"one score for each of {', '.join(LABELS)} was expected."
        )
    label = int(scores.mean(axis=0).argmax())
    ctx.report.note(detected_label=LABELS[label])
    return label


def detect_scale(views: Sequence[View], ctx: Context[Any]) -> Scale:
    """Return the scale at which the planes should be seen."""
    choices = ctx.choices
    planes = [view.image for view in sampled(views, choices.scale_samples)]
    factors = _ask(choices.scale_model, planes, choices.scale_sample_px, ctx)
    factor = float(factors.mean())
    if not SCALES[0] <= factor <= SCALES[1]:
        raise ModelMismatch(
            f"model {choices.scale_model} finds a scale of {factor:g}; this job takes "
            f"{SCALES[0]:g} to {SCALES[1]:g}. Give the pixel size as mpp, or the scale."
        )
    ctx.report.note(detected_scale=round(factor, 6))
    return Scale(factor, measured=True)


def _ask(name: str, planes: Sequence[Image], side: int, ctx: Context[Any]) -> NDArray[np.float64]:
    """Return what a model says of each plane, (N, …)."""
    signature = _signature(name, ctx)
    squares = [standardise(resize_to(plane.data, (side, side))) for plane in planes]
    ((given, _),) = signature.inputs.items()
    most = ctx.limits.max_batch
    batches = (
        {given: np.stack(squares[start : start + most])[..., np.newaxis]}
        for start in range(0, len(squares), most)
    )
    replies = ctx.models.predict(signature, batches, check=ctx.report.check)
    said = np.concatenate([next(iter(reply.values())) for reply in replies]).astype(np.float64)
    if not np.isfinite(said).all():
        raise ModelMismatch(
            f"model {name} answers with NaN or infinity, so it cannot say what it is asked for. "
            "Give label and mpp with the job, or serve another version of the model."
        )
    return said


def _signature(name: str, ctx: Context[Any]) -> Signature:
    model = named_model(name)
    signature = ctx.models.signature(model.name, model.version)
    if len(signature.inputs) != 1 or len(signature.outputs) != 1:
        raise ModelMismatch(
            f"model {name} has {len(signature.inputs)} inputs and {len(signature.outputs)} "
            "outputs; one of each was expected."
        )
    return signature
