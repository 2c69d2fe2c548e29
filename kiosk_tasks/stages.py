"""The stages that job types share, and the one place that times and reports a stage."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from kiosk_tasks.errors import InvalidFileType, UnreadableImage
from kiosk_tasks.imaging import io
from kiosk_tasks.imaging.image import Image
from kiosk_tasks.imaging.limits import check_file_bytes
from kiosk_tasks.imaging.regions import look_at, read_whole
from kiosk_tasks.imaging.zarr_names import is_zarr_folder, is_zarr_input
from kiosk_tasks.job import Context, ImageParams, Stage
from kiosk_tasks.outputs import OutputFile, output_files, output_folder, pack, stem_of
from kiosk_tasks.prediction import Predict, grpc_predict, predictor, served
from kiosk_tasks.scratch import fetching_into, scratch_folder

__all__ = [
    "Predict",
    "check_job",
    "download",
    "fetch",
    "grpc_predict",
    "predictor",
    "run_stages",
    "served",
    "store",
    "upload",
]


def run_stages(stages: Sequence[Stage], value: Any, ctx: Context[Any]) -> Any:
    """Run neighbouring stages, each timed and reported; return what the last one gave."""
    for step in stages:
        with ctx.report.stage(step.name, step.status):
            value = step.run(value, ctx)
    return value


def check_job(stages: Sequence[Stage], ctx: Context[Any]) -> None:
    """Find out what would make the job fail later, before any work: a model not served, say."""
    for step in stages:
        if step.check is not None:
            step.check(ctx)


def download(_: None, ctx: Context[ImageParams]) -> Image:
    """Fetch the job's input and read it."""
    source = ctx.job.source
    if is_zarr_input(source.input_file_name, source.name):
        image = _read_ome_zarr(ctx)
    else:
        with _fetched(ctx) as file:
            image = io.read(
                file,
                name=source.name,
                axes=ctx.params.axes,
                mpp=ctx.params.mpp,
                limits=ctx.limits.image,
            )
    ctx.report.note(
        image={
            "axes": image.axes,
            "shape": list(image.data.shape),
            "dtype": str(image.data.dtype),
            "mpp": image.mpp,
        }
    )
    return image


@contextmanager
def _fetched(ctx: Context[Any]) -> Iterator[Path | bytes]:
    """Enclose the use of the job's input: a file, or its bytes where they are at hand."""
    if ctx.held is not None:
        data = ctx.held.input
        _note_input(ctx, len(data), hashlib.sha256(data).hexdigest())
        yield data
        return
    with scratch_folder(ctx.limits.scratch) as folder:
        yield fetch(ctx, folder)


def _read_ome_zarr(ctx: Context[ImageParams]) -> Image:
    """Read all of an OME-Zarr that is small enough to be held in memory."""
    source, params = ctx.job.source, ctx.params
    found = look_at(
        ctx.storage,
        source.input_file_name,
        name=source.name,
        axes=params.axes,
        mpp=params.mpp,
        limits=ctx.limits.image,
    )
    if found is None:
        raise UnreadableImage(f"{source.name} is no OME-Zarr that can be read.")
    pixel_bytes = np.dtype(found.dtype).itemsize
    ctx.limits.image.check(source.name, found.size, planes=found.channels, pixel_bytes=pixel_bytes)
    ctx.report.note(input={"name": source.name, "key": source.input_file_name})
    return read_whole(found, ctx.storage)


def fetch(ctx: Context[Any], folder: Path) -> Path:
    """Fetch the job's input into a folder; return its path there.

    Raises FileTooLarge, MissingObject, StorageFull, and InvalidFileType for an OME-Zarr's folder.
    """
    source, path = ctx.job.source, folder / "input"
    if is_zarr_folder(source.input_file_name):
        raise InvalidFileType(
            f"{source.name} is the folder of an OME-Zarr, and this job takes one file; send a TIFF."
        )
    check = partial(check_file_bytes, source.name, max_bytes=ctx.limits.max_file_bytes)
    with fetching_into(folder):
        ctx.storage.download(source.input_file_name, path, check=check)
    _note_input(ctx, path.stat().st_size, _checksum(path))
    return path


def _note_input(ctx: Context[Any], size_bytes: int, checksum: str) -> None:
    source = ctx.job.source
    ctx.report.note(
        input={
            "name": source.name,
            "key": source.input_file_name,
            "bytes": size_bytes,
            "sha256": checksum,
        }
    )


def upload(result: Any, ctx: Context[Any]) -> dict[str, str]:
    """Write the result's files as one archive under the job's one key; return key and URL.

    What an earlier run of the same job wrote stands: an output never changes once it can be seen.
    """
    return store(output_files(result, stem_of(ctx.job.source.name)), ctx)


def store(files: Iterable[OutputFile], ctx: Context[Any]) -> dict[str, str]:
    """Do what `upload` does, for a stage that makes its files itself.

    files: drawn one by one; those that are paths never lie in memory.
    """
    stem = stem_of(ctx.job.source.name)
    key = f"{output_folder(ctx.job.id)}{stem}.zip"
    write = partial(pack, files, f"{stem}_job.json", partial(_provenance, ctx))
    if ctx.held is not None:
        result = BytesIO()
        write(result)
        ctx.held.take(result.getvalue())
    else:
        with scratch_folder(ctx.limits.scratch) as folder:
            packed = folder / "result.zip"
            write(packed)
            ctx.storage.upload_new(key, packed)
    return {"output_file_name": key, "output_url": (ctx.link or ctx.storage.url)(key)}


def _provenance(ctx: Context[Any]) -> dict[str, Any]:
    job = ctx.job
    return {
        "job": {"id": job.id, "type": job.type_name, "created_at": job.created_at},
        "parameters": job.params.model_dump(mode="json"),
        "software": {
            "kiosk-tasks": _version("kiosk-tasks"),
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scikit-image": _version("scikit-image"),
        },
        **ctx.report.notes(),
    }


@cache
def _version(package: str) -> str:
    """Return the installed version; to read it takes a millisecond, and each record names it."""
    return version(package)


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
