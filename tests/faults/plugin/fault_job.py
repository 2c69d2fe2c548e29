"""A light job type that works in small steps, and dies or fails in the middle when asked to.

Installed by an entry point, like anybody's job type. Every run leaves a line at its start and at
its end in the file FAULT_RUNS, outside of ledger and broker, so that runs can be counted.
"""

from __future__ import annotations

import hashlib
import os
import signal
import time
from contextlib import nullcontext
from typing import Any, Literal

from pydantic import Field

from kiosk_tasks.errors import StorageUnavailable, UnusableImage
from kiosk_tasks.job import Context, JobType, Params
from kiosk_tasks.scratch import scratch_folder


class FaultParams(Params):
    """What a job does, and for how long.

    number: makes its output its own.
    act: in the middle of its work; `die_once` and `flaky_once` only in its first run.
    scratch: whether it keeps a file in the scratch folder meanwhile.
    """

    number: int = 0
    act: Literal[
        "ok", "die", "die_once", "memory", "hang", "bug", "refuse", "flaky_once", "stop"
    ] = "ok"
    seconds: float = Field(0.03, ge=0)
    steps: int = Field(3, ge=1)
    scratch: bool = False


def download(_: None, ctx: Context[FaultParams]) -> str:
    """Read the input."""
    tell("start", ctx)
    return hashlib.sha256(ctx.storage.get(ctx.job.source.input_file_name)).hexdigest()


def predict(checksum: str, ctx: Context[FaultParams]) -> str:
    """Work, step by step."""
    with scratch_folder(ctx.limits.scratch) if ctx.params.scratch else nullcontext() as folder:
        if folder is not None:
            (folder / "input").write_bytes(b"large")
        steps = ctx.params.steps
        for step in range(steps):
            if step == steps // 2:
                _act(ctx)
            time.sleep(ctx.params.seconds / steps)
            ctx.report.progress(step + 1, steps)
    return f"{checksum} {ctx.params.number}"


def upload(result: str, ctx: Context[FaultParams]) -> dict[str, str]:
    """Write the one output under the job's one key."""
    key = f"output/{ctx.job.id}/result.bin"
    ctx.storage.put_new(key, output_of(result))
    tell("end", ctx)
    return {"output_file_name": key, "output_url": ctx.storage.url(key)}


def output_of(result: str) -> bytes:
    """Return the output for the text that the work gave."""
    return hashlib.sha256(result.encode()).digest() * 64


def tell(word: str, ctx: Context[Any]) -> None:
    """Add a line about this run; short appends are atomic."""
    line = f"{word} {ctx.job.id} {os.getpid()} {time.clock_gettime(time.CLOCK_MONOTONIC):.3f}\n"
    file = os.open(os.environ["FAULT_RUNS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


def _act(ctx: Context[FaultParams]) -> None:
    match ctx.params.act:
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "die_once":
            if _first_run(ctx):
                os.kill(os.getpid(), signal.SIGKILL)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "memory":
            raise MemoryError
        case "hang":
            while True:
                time.sleep(3600)
        case "bug":
            raise ZeroDivisionError("a bug")
        case "refuse":
            raise UnusableImage("nothing can be found in it.")
        case "flaky_once":
            if _first_run(ctx):
                raise StorageUnavailable("the bucket does not answer.")


def _first_run(ctx: Context[FaultParams]) -> bool:
    with open(os.environ["FAULT_RUNS"], encoding="utf-8") as lines:  # noqa: PTH123  # a plain read
        return sum(line.startswith(f"start {ctx.job.id} ") for line in lines) == 1


job_type = JobType(
    "fault", "A job that may fail", "predict", FaultParams, (download, predict, upload), seconds=120
)
