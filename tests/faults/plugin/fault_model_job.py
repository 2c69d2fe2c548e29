"""A light job type that asks the model server, through the stage that all job types use."""

from __future__ import annotations

import numpy as np
from fault_job import FaultParams, download, output_of, tell

from kiosk_tasks.imaging.image import Image
from kiosk_tasks.imaging.tiling import TileLayout
from kiosk_tasks.imaging.values import Heads, Scale, Tiles
from kiosk_tasks.job import Context, JobType, Model
from kiosk_tasks.stages import grpc_predict

MODEL = Model("Fault", tile=16)
SIDE = 32  # px


def preprocess(_: str, ctx: Context[FaultParams]) -> Tiles:
    """Make a plane of the job's number."""
    plane = np.full((SIDE, SIDE, 1), ctx.params.number, np.float32)
    layout = TileLayout((SIDE, SIDE), MODEL.tile, 0)
    image = Image(plane[..., 0], "YX")
    return Tiles(plane=plane, layout=layout, scale=Scale(1.0, measured=True), image=image)


def postprocess(heads: Heads, ctx: Context[FaultParams]) -> str:
    """Add up what the model answered: it doubles every pixel."""
    return f"{heads.planes['doubled'].sum():.1f} {ctx.params.number}"


def upload(result: str, ctx: Context[FaultParams]) -> dict[str, str]:
    """Write the one output under the job's one key."""
    key = f"output/{ctx.job.id}/result.bin"
    ctx.storage.put_new(key, output_of(result))
    tell("end", ctx)
    return {"output_file_name": key, "output_url": ctx.storage.url(key)}


job_type = JobType(
    "fault_model",
    "A job that asks the model server",
    "predict",
    FaultParams,
    (download, preprocess, grpc_predict(MODEL), postprocess, upload),
    seconds=120,
)
