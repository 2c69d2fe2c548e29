"""How a job finds the spots of planes: by a served model, or without one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from pydantic import Field

from kiosk_tasks.choices import named_model
from kiosk_tasks.errors import InvalidAxes, InvalidParameter
from kiosk_tasks.imaging.image import Image
from kiosk_tasks.imaging.spots import SpotParams, Spots, find_spots, measure_spots
from kiosk_tasks.job import Context, ImageParams, Model
from kiosk_tasks.params import form
from kiosk_tasks.segmenting.heads import channels_of
from kiosk_tasks.segmenting.spot_model import spot_heads, spot_tiles, spots_of_heads
from kiosk_tasks.stages import predictor, served

__all__ = ["SpotOptions", "check_spots", "plane_of", "spot_finder"]


class SpotOptions(ImageParams):
    """Parameters of every job type that finds spots."""

    diameter: float = Field(
        3.0,
        gt=1,
        le=50,
        description="Width of a spot at half its brightness, px.",
        json_schema_extra=form(unit="px"),
    )
    sensitivity: float = Field(
        1.0,
        gt=0,
        le=10,
        description="Higher finds more, dimmer spots and more false ones; lower only the bright "
        "ones. At 1.0 a spot stands out of its surroundings 5 times their own spread, at 2.0 "
        "2.5 times. Not for a model.",
    )
    detector: Literal["auto", "log", "model"] = Field(
        "auto",
        description="log: Laplacian of Gaussian, no model; model: the model named, or the "
        "operator's; auto: a model if there is one.",
        json_schema_extra=form(rare=True),
    )
    threshold: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Least probability of a spot; for a model.",
        json_schema_extra=form(rare=True),
    )
    project: bool = Field(False, description="Find spots in the maximum projection of a Z stack.")


def plane_of(image: Image, channel: int | None, *, project: bool) -> Image:
    """Return one channel of an image; axes are "YX", or what there is of "TBYX".

    channel: from 0; None: the first, or of an 8-bit RGB picture the brightest of the three colours.
    project: whether a Z stack is reduced to its maximum.
    Raises MissingChannel, and InvalidAxes for a Z stack that is not to be projected.
    """
    size = image.size
    if channel is None and size.get("C", 1) == 3 and image.data.dtype == np.uint8:
        image = _maximum(image, "C")
    else:
        image = image.channel(channel or 0)
    if size.get("Z", 1) > 1:
        if not project:
            raise InvalidAxes(
                f"the image is a stack of {size['Z']} planes; this job finds spots in a plane. "
                "Set project to find them in its maximum projection, or send one plane."
            )
        image = _maximum(image, "Z")
    return image.to("".join(letter for letter in "TB" if size.get(letter, 1) > 1) + "YX")


def check_spots(ctx: Context[Any]) -> None:
    """Find out before any work whether the model that the job wants is served and finds spots."""
    model = _model(ctx)
    if model is not None:
        signature = served(model, ctx)
        spot_heads(channels_of(signature), f"model {signature.model} version {signature.version}")


def spot_finder(ctx: Context[Any], *, tell: bool = True) -> Callable[[Image], Spots]:
    """Return what finds the spots of a plane, axes "YX", as the job's `SpotOptions` ask for it.

    tell: whether a model's progress is reported, by its tiles.
    """
    params: SpotOptions = ctx.params
    how = SpotParams(diameter=params.diameter, sensitivity=params.sensitivity)
    model = _model(ctx)
    if model is None:
        ctx.report.note(detector="log")
        return lambda plane: find_spots(plane.data, params=how)
    signature = served(model, ctx)
    name = f"model {signature.model} version {signature.version}"
    ctx.report.note(detector="model", model={"name": signature.model, "version": signature.version})
    predict = predictor(signature, ctx, tell=tell)
    choices = ctx.choices
    threshold = choices.spot_threshold if params.threshold is None else params.threshold

    def by_model(plane: Image) -> Spots:
        tiles = spot_tiles(plane, signature, mpp=choices.spot_mpp, clip=choices.spot_clip)
        positions = spots_of_heads(predict(tiles), threshold=threshold, model=name)
        return measure_spots(plane.data, positions, params=how)

    return by_model


def _model(ctx: Context[Any]) -> Model | None:
    params: SpotOptions = ctx.params
    if params.detector == "log":
        return None
    name = ctx.choices.spot_model or params.model_name
    if name:
        return named_model(name, mpp=ctx.choices.spot_mpp)
    if params.detector == "model":
        raise InvalidParameter(
            "no spot model is named, and none is set for this queue; "
            "give model_name, or leave detector out to find spots without a model."
        )
    return None


def _maximum(image: Image, letter: str) -> Image:
    axis = image.axes.index(letter)
    return Image(image.data.max(axis), image.axes.replace(letter, ""), image.mpp)
