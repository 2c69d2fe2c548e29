"""Find clumps: nuclei that touch count as one. This file is all there is to the job type."""

import numpy as np
from pydantic import Field
from scipy import ndimage

from kiosk_tasks.imaging.image import Image
from kiosk_tasks.imaging.intensity import normalise_percentiles
from kiosk_tasks.imaging.labels import LabelImage
from kiosk_tasks.imaging.tiling import TileLayout
from kiosk_tasks.imaging.values import Heads, Scale, Segmentation, Tiles
from kiosk_tasks.job import Context, ImageParams, JobType, Model
from kiosk_tasks.stages import download, grpc_predict, upload

MODEL = Model("NuclearSegmentation")


class ClumpParams(ImageParams):
    """Each field is an option of the command line, too."""

    channel: int = Field(0, ge=0, description="Channel that shows the nuclei.")
    threshold: float = Field(0.5, gt=0, lt=1, description="Foreground is above this value.")


def preprocess(image: Image, ctx: Context[ClumpParams]) -> Tiles:
    """Pick the plane, normalise it as the model wants it, lay out the tiles."""
    plane = image.channel(ctx.params.channel).to("YX")
    pixels = normalise_percentiles(plane.data)[..., np.newaxis]
    layout = TileLayout(pixels.shape[:2], tile=512, overlap=128)
    return Tiles(pixels, layout, Scale(1.0, measured=True), plane)


def postprocess(heads: Heads, ctx: Context[ClumpParams]) -> Segmentation:
    """Number the connected parts of the foreground."""
    foreground = heads.planes["foreground"][..., 0]
    labels, count = ndimage.label(foreground > ctx.params.threshold)
    ctx.report.note(cells=count)
    return Segmentation(LabelImage(labels.astype(np.int32), heads.image.mpp), heads.image)


job_type = JobType(
    name="clumps",
    title="Clumps of nuclei",
    queue="clumps",
    params=ClumpParams,
    stages=(download, preprocess, grpc_predict(MODEL), postprocess, upload),
)
