"""Spots: an image in, the sub-pixel position of each bright spot out."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from kiosk_tasks.errors import InvalidAxes
from kiosk_tasks.imaging.image import Image
from kiosk_tasks.imaging.intensity import check_pixels
from kiosk_tasks.imaging.spot_values import SpotPlanes
from kiosk_tasks.job import Context, JobType, Stage, Status
from kiosk_tasks.segmenting.spots import SpotOptions, check_spots, plane_of, spot_finder
from kiosk_tasks.stages import download, upload


class SpotJobParams(SpotOptions):
    """Parameters of `spot`."""

    channel: int | None = Field(
        None, ge=0, description="Channel that shows the spots, from 0; default: the first."
    )


def preprocess(image: Image, ctx: Context[SpotJobParams]) -> Image:
    """Pick the channel: one plane, or several along time or batch."""
    planes = plane_of(image, ctx.params.channel, project=ctx.params.project)
    if len(planes.axes) > 3:
        raise InvalidAxes(
            f'the image has several planes along two axes ("{image.axes}"); this job takes a '
            "movie or a batch. Send its parts one by one."
        )
    check_pixels(planes.data, ctx.job.source.name)
    return planes


def find(planes: Image, ctx: Context[SpotJobParams]) -> SpotPlanes:
    """Find the spots of each plane."""
    several = planes.axes != "YX"
    data = planes.data if several else planes.data[np.newaxis]
    finder = spot_finder(ctx, tell=not several)
    found = []
    for done, plane in enumerate(data, start=1):
        ctx.report.check()
        found.append(finder(Image(plane, "YX", planes.mpp)))
        if several:
            ctx.report.progress(done, len(data))
    ctx.report.note(spots=sum(map(len, found)), planes=len(found))
    return SpotPlanes(planes, tuple(found), ctx.params.diameter)


job_type = JobType(
    name="spot",
    title="Spot detection",
    queue="spot",
    params=SpotJobParams,
    stages=(
        download,
        preprocess,
        Stage("predict", find, Status.PREDICTING, check=check_spots),
        upload,
    ),
    aliases=("spots",),
)
