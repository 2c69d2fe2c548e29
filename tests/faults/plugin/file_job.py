"""A light job type that reads its input as real ones do: an image, an archive, a tracked movie."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

from fault_job import FaultParams, output_of, predict, tell
from pydantic import Field

from kiosk_tasks.imaging import io
from kiosk_tasks.imaging.archives import ZipArchive
from kiosk_tasks.imaging.intensity import check_pixels
from kiosk_tasks.imaging.trk import read_trk
from kiosk_tasks.job import Context, ImageParams, JobType
from kiosk_tasks.scratch import scratch_folder
from kiosk_tasks.stages import download as download_image


class FileParams(FaultParams, ImageParams):
    """kind: what the input is read as.

    channel: which one of an image. repeat: the output is so many times as long.
    """

    kind: Literal["image", "zip", "trk"] = "image"
    channel: int = 0
    repeat: int = Field(1, ge=1)


def download(_: None, ctx: Context[Any]) -> str:
    """Fetch and read the input; return the checksum of its bytes."""
    tell("start", ctx)
    if ctx.params.kind == "image":
        plane = download_image(None, ctx).channel(ctx.params.channel).to("YX")
        check_pixels(plane.data, ctx.job.source.name)
        fetched: Any = ctx.report.notes()["input"]
        return str(fetched["sha256"])
    with scratch_folder(ctx.limits.scratch) as folder:
        path = folder / "input"
        ctx.storage.download(ctx.job.source.input_file_name, path)
        (_read_movie if ctx.params.kind == "trk" else _read_archive)(path, ctx)
        return hashlib.sha256(path.read_bytes()).hexdigest()


def upload(result: str, ctx: Context[FileParams]) -> dict[str, str]:
    """Write the one output under the job's one key."""
    key = f"output/{ctx.job.id}/result.bin"
    ctx.storage.put_new(key, output_of(result) * ctx.params.repeat)
    tell("end", ctx)
    return {"output_file_name": key, "output_url": ctx.storage.url(key)}


def _read_movie(path: Path, ctx: Context[FileParams]) -> None:
    limits = ctx.limits
    read_trk(path, name=ctx.job.source.name, limits=limits.image, archive_limits=limits.archive)


def _read_archive(path: Path, ctx: Context[FileParams]) -> None:
    with ZipArchive(path, name=ctx.job.source.name, limits=ctx.limits.archive) as archive:
        for member in archive.members:
            member.copy(path.with_name("member"))
            io.read(path.with_name("member"), name=member.name, limits=ctx.limits.image)


job_type = JobType(
    "file",
    "A job that reads a file",
    "predict",
    FileParams,
    (download, predict, upload),
    seconds=120,
    reads_archives=True,
)
