"""Segmentation: one image in, one label image of its nuclei out."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from kiosk_tasks.imaging.image import Image
from kiosk_tasks.imaging.intensity import check_pixels
from kiosk_tasks.imaging.labels import LabelImage
from kiosk_tasks.imaging.values import Heads, Segmentation
from kiosk_tasks.job import Context, ImageParams, JobType, Model, Stage, Status
from kiosk_tasks.segmenting.cells import cell_model, to_image
from kiosk_tasks.segmenting.labelling import label_cells
from kiosk_tasks.segmenting.sizing import heads_at_a_fitting_scale
from kiosk_tasks.stages import download, predictor, served, upload

MODEL = Model("NuclearSegmentation", axes="YXC", tile=512, mpp=0.65)


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


def preprocess(image: Image, ctx: Context[PredictParams]) -> Image:
    """Pick the plane, and see whether there is anything in it."""
    plane = _pick_plane(image, ctx)
    check_pixels(plane.data, ctx.job.source.name)
    return plane


def predict(plane: Image, ctx: Context[PredictParams]) -> Heads:
    """Predict at a fitting scale."""
    cells = cell_model(ctx)
    signature = served(cells.model, ctx)
    # Here, not in `check`: a newer version may have come since, and the record must be true.
    ctx.report.note(model={"name": signature.model, "version": signature.version})
    once = predictor(signature, ctx)
    return heads_at_a_fitting_scale(plane, ctx, cells=cells, predict=once)[1]


def postprocess(heads: Heads, ctx: Context[PredictParams]) -> Segmentation:
    """Make cells of the model's heads, at the size of the user's image."""
    image = heads.image
    labels = to_image(label_cells(heads, cell_model(ctx).postprocess), image, ctx)
    ctx.report.note(cells=int(labels.max(initial=0)), scale=round(heads.scale.factor, 6))
    return Segmentation(labels=LabelImage(labels, image.mpp), image=image)


def check_model(ctx: Context[PredictParams]) -> None:
    """Find out, before the download, whether the job's model is served and takes one input."""
    predictor(served(cell_model(ctx).model, ctx), ctx)


def _pick_plane(image: Image, ctx: Context[PredictParams]) -> Image:
    wanted = ctx.params.channel
    channels = image.size.get("C", 1)
    if wanted is None and channels == 3 and image.data.dtype == np.uint8:
        ctx.report.note(channel="brightest of the three colours")
        axis = image.axes.index("C")
        return Image(image.data.max(axis), image.axes.replace("C", ""), image.mpp).to("YX")
    ctx.report.note(channel=wanted or 0)
    return image.channel(wanted or 0).to("YX")


job_type = JobType(
    name="predict",
    title="Nuclear segmentation",
    queue="predict",
    params=PredictParams,
    stages=(
        download,
        preprocess,
        Stage("predict", predict, Status.PREDICTING, model=MODEL, check=check_model),
        postprocess,
        upload,
    ),
    aliases=("image", "segmentation"),
    seconds=1800,
)
