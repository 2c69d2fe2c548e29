"""A part of a large image: the cells of some of its blocks, for the job that has split it up.

docs/large-images.md says how such an image is worked on.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from kiosk_tasks.job import Context, JobType, Params, Stage, Status
from kiosk_tasks.outputs import output_folder
from kiosk_tasks.scratch import scratch_folder
from kiosk_tasks.segmenting.large import Plan
from kiosk_tasks.segmenting.large_cells import label_unit
from kiosk_tasks.workspace import decode


class BlockParams(Params):
    """Parameters of `predict_block`; its input is the plan that the job has left."""

    unit: int = Field(0, ge=0, description="Which unit of the plan, from 0.")


def predict(_: None, ctx: Context[BlockParams]) -> dict[str, str]:
    """Find the unit's cells, and leave them as one file."""
    plan: Plan = decode(ctx.storage.get(ctx.job.source.input_file_name))
    key = f"{output_folder(ctx.job.id)}cells.parts"
    with scratch_folder(ctx.limits.scratch) as folder:
        label_unit(plan, plan.units[ctx.params.unit], ctx, folder / "cells.parts")
        ctx.storage.upload_new(key, folder / "cells.parts")
    return {"output_file_name": key, "output_url": ""}


job_type: JobType[Any] = JobType(
    name="predict_block",
    title="Blocks of a large image",
    queue="predict",
    params=BlockParams,
    stages=(Stage("predict", predict, Status.PREDICTING),),
    seconds=3600,
    internal=True,
)
