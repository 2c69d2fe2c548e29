"""Segmentation: one image in, one label image of its nuclei out."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field

from kiosk_tasks.errors import ModelMismatch
from kiosk_tasks.imaging.image import Image
from kiosk_tasks.imaging.intensity import check_pixels, normalise_percentiles
from kiosk_tasks.imaging.labels import (
    LabelImage,
    WatershedParams,
    deep_watershed,
    relabel,
    remove_small,
    resize_labels,
)
from kiosk_tasks.imaging.scale import agreed_diameter, median_diameter, resize, scale_factor
from kiosk_tasks.imaging.tiling import TileLayout
from kiosk_tasks.imaging.values import Heads, Scale, Segmentation, Tiles
from kiosk_tasks.job import Context, ImageParams, JobType, Model
from kiosk_tasks.stages import Predict, download, grpc_predict, served, upload

MODEL = Model("NuclearSegmentation", axes="YXC", tile=512, mpp=0.65)
OVERLAP = 128  # px; a stride of 0.75 tiles, as the published DeepCell applications use

# The model's range, measured by zooming validation images (models/nuclear/README.md): nuclei of
# 12 to 48 px are found best, few under 8 and over 100.
DIAMETER = 24.0  # px; the geometric mean of 12 and 48
DIAMETERS = (9.0, 48.0)  # px; nuclei outside of it are brought to `DIAMETER`
PLAUSIBLE = (5.0, 70.0)  # px; what is found outside of it is no estimate

# Chosen, and then measured together (docs/decisions/0005-scale-by-agreement.md).
COARSER_VIEWS = (1 / 2, 1 / 4, 1 / 8)
SMALLEST_VIEW = 24  # px; no view has a shorter side
AGREEMENT = 1.2  # estimates within this factor need no third opinion
FEWEST = 3  # nuclei; fewer are no estimate
LARGEST_FACTOR = 3.0  # an image is not enlarged more than that

# Chosen on training and synthetic images (models/nuclear/README.md).
NUCLEI = WatershedParams(maxima_depth=0.06, interior_threshold=0.55, least_interior=0.7)


class PredictParams(ImageParams):
    """Parameters of `predict`."""

    channel: int | None = Field(
        None, ge=0, description="Channel that shows the nuclei, from 0; default: the first."
    )
    diameter: float | None = Field(
        None,
        gt=1,
        description="Typical diameter of a nucleus, px; used where the pixel size is unknown.",
    )
    min_size: int = Field(15, ge=0, description="Smaller objects are removed, px².")


def preprocess(image: Image, ctx: Context[PredictParams]) -> Tiles:
    """Pick the plane, bring it to the model's pixel size and intensities, lay out the tiles."""
    plane = _pick_plane(image, ctx)
    check_pixels(plane.data, ctx.job.source.name)
    return _tiles(plane, _known_scale(plane, ctx.params), ctx)


def predict_at_a_fitting_scale(
    predict: Predict, tiles: Tiles, ctx: Context[PredictParams]
) -> Heads:
    """Predict; where the pixel size is unknown, find the nuclei's diameter and mind it.

    Coarser views are predicted too, until they agree on the diameter: the first halves each side,
    so they cost a third of the first prediction at most. Only nuclei of a diameter that the model
    is not good for are predicted once more, at the scale where they are `DIAMETER`.
    """
    heads = predict(tiles)
    if tiles.scale.measured:
        return heads
    diameter = _diameter(heads, predict, ctx)
    ctx.report.note(diameter=diameter and round(diameter, 1))
    if diameter is None or DIAMETERS[0] <= diameter <= DIAMETERS[1]:
        return heads
    factor = min(DIAMETER / diameter, LARGEST_FACTOR)
    return predict(_tiles(tiles.image, Scale(factor, measured=True), ctx))


def postprocess(heads: Heads, ctx: Context[PredictParams]) -> Segmentation:
    """Make cells of the model's heads, at the size of the user's image."""
    image = heads.image
    labels = resize_labels(_label(heads), image.data.shape)
    labels = relabel(remove_small(labels, min_area=ctx.params.min_size))
    ctx.report.note(cells=int(labels.max(initial=0)), scale=round(heads.scale.factor, 6))
    return Segmentation(labels=LabelImage(labels, image.mpp), image=image)


def _diameter(heads: Heads, predict: Predict, ctx: Context[PredictParams]) -> float | None:
    """Return the nuclei's diameter in image pixels; None if there are none to be seen."""
    estimates = _estimate(heads)
    for factor in COARSER_VIEWS:
        if min(heads.image.data.shape) * factor < SMALLEST_VIEW:
            break
        view = _tiles(heads.image, Scale(factor, measured=False), ctx)
        coarser = _estimate(predict(view))
        if factor == COARSER_VIEWS[0] and estimates and coarser:
            one, other = estimates[0], coarser[0]
            if max(one, other) < AGREEMENT * min(one, other):
                return one
        estimates += coarser
    return agreed_diameter(estimates)


def _estimate(heads: Heads) -> list[float]:
    """Return the median diameter in image pixels, if what was found can be trusted."""
    labels = _label(heads)
    diameter = median_diameter(labels)
    seen = diameter is not None and PLAUSIBLE[0] <= diameter <= PLAUSIBLE[1]
    return [diameter / heads.scale.factor] if diameter and seen and labels.max() >= FEWEST else []


def _pick_plane(image: Image, ctx: Context[PredictParams]) -> Image:
    wanted = ctx.params.channel
    channels = image.size.get("C", 1)
    if wanted is None and channels == 3 and image.data.dtype == np.uint8:
        ctx.report.note(channel="brightest of the three colours")
        axis = image.axes.index("C")
        return Image(image.data.max(axis), image.axes.replace("C", ""), image.mpp).to("YX")
    ctx.report.note(channel=wanted or 0)
    return image.channel(wanted or 0).to("YX")


def _known_scale(image: Image, params: PredictParams) -> Scale:
    if image.mpp is not None and MODEL.mpp is not None:
        return Scale(scale_factor(image.mpp, MODEL.mpp), measured=True)
    if params.diameter is not None:
        return Scale(DIAMETER / params.diameter, measured=True)
    return Scale(1.0, measured=False)


def _tiles(image: Image, scale: Scale, ctx: Context[Any]) -> Tiles:
    plane = normalise_percentiles(resize(image.data, scale.factor))[..., np.newaxis]
    height, width = plane.shape[:2]
    tile = _tile_side(max(height, width), ctx)
    layout = TileLayout((height, width), tile, min(OVERLAP, tile // 4))
    return Tiles(plane=plane, layout=layout, scale=scale, image=image)


def _tile_side(longest: int, ctx: Context[Any]) -> int:
    """Return the side of a tile, px: the model's, or less where image and model allow."""
    (spec,) = served(MODEL, ctx).inputs.values()
    if spec.shape is not None and len(spec.shape) == 4 and spec.shape[1] > 0:
        return spec.shape[1]
    return min(MODEL.tile, -(-longest // 64) * 64)


def _label(heads: Heads) -> np.ndarray[Any, np.dtype[np.int32]]:
    missing = {"inner_distance", "outer_distance", "foreground"} - set(heads.planes)
    if missing:
        raise ModelMismatch(
            f"the model has no output {sorted(missing)[0]!r}; "
            f"it gives {', '.join(sorted(heads.planes))}."
        )
    inner, outer, foreground = (
        heads.planes[name][..., 0] for name in ("inner_distance", "outer_distance", "foreground")
    )
    return deep_watershed((inner + outer) / 2, foreground, params=NUCLEI)


job_type = JobType(
    name="predict",
    title="Nuclear segmentation",
    queue="predict",
    params=PredictParams,
    stages=(
        download,
        preprocess,
        grpc_predict(MODEL, strategy=predict_at_a_fitting_scale),
        postprocess,
        upload,
    ),
    aliases=("image", "segmentation"),
    seconds=1800,
)
