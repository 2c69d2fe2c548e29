"""A light job type that hands its frames to child jobs and gathers what became of them."""

from __future__ import annotations

import hashlib
import time
from typing import Any

from fault_job import FaultParams, output_of, tell
from pydantic import Field

from kiosk_tasks.errors import UnusableImage
from kiosk_tasks.fan_out import Child, FanOut, Gathered
from kiosk_tasks.job import Context, JobType, stage


class MovieParams(FaultParams):
    """frames: how many children. bad: the number of the frame that is refused."""

    frames: int = Field(60, ge=0)
    bad: int | None = None
    gather_seconds: float = 0.0


def split(_: Any, ctx: Context[MovieParams]) -> FanOut:
    """Make a job of each frame."""
    tell("start", ctx)
    params, source = ctx.params, ctx.job.source.input_file_name
    frames = tuple(
        Child(
            "fault",
            {
                "input_file_name": source,
                "original_name": f"frame{number}.bin",
                "number": number,
                "seconds": params.seconds,
                "act": "refuse" if number == params.bad else "ok",
            },
        )
        for number in range(params.frames)
    )
    return FanOut(frames, keep=params.number)


def gather(value: Gathered, ctx: Context[MovieParams]) -> str:
    """Put the frames together in their order."""
    time.sleep(ctx.params.gather_seconds)
    bad = [outcome.name for outcome in value.outcomes if not outcome.ok]
    if bad:
        reasons = {outcome.reason for outcome in value.outcomes if not outcome.ok}
        raise UnusableImage(f"frames failed: {', '.join(bad)} ({' '.join(reasons)})")
    whole = hashlib.sha256()
    for outcome in value.outcomes:
        whole.update(ctx.storage.get(outcome.output["output_file_name"]))
    return f"{whole.hexdigest()} {value.keep}"


def upload(result: str, ctx: Context[MovieParams]) -> dict[str, str]:
    """Write the one output under the job's one key."""
    key = f"output/{ctx.job.id}/result.bin"
    ctx.storage.put_new(key, output_of(result))
    tell("end", ctx)
    return {"output_file_name": key, "output_url": ctx.storage.url(key)}


job_type = JobType(
    "movie",
    "A job of many frames",
    "predict",
    MovieParams,
    (stage(split, fans_out=True), gather, upload),
    seconds=120,
)
