"""The stages that job types share, and the one place that times and reports a stage."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.errors import ModelMismatch
from kiosk_tasks.imaging import io
from kiosk_tasks.imaging.boxes import Detections, detections_of, gather, is_boxes
from kiosk_tasks.imaging.image import Image
from kiosk_tasks.imaging.limits import check_file_bytes
from kiosk_tasks.imaging.tiling import Stitcher, iter_tiles
from kiosk_tasks.imaging.values import Heads, Tiles
from kiosk_tasks.job import Context, ImageParams, Model, Stage, Status
from kiosk_tasks.outputs import OutputFile, output_files, output_folder, pack, stem_of
from kiosk_tasks.ports import Signature
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

Predict = Callable[[Tiles], Heads]
"""Sends tiles to the model server and returns its stitched heads."""


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
    with scratch_folder(ctx.limits.scratch) as folder:
        image = io.read(
            fetch(ctx, folder),
            name=ctx.job.source.name,
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


def fetch(ctx: Context[Any], folder: Path) -> Path:
    """Fetch the job's input into a folder; return its path there.

    Raises FileTooLarge, MissingObject, StorageFull.
    """
    source, path = ctx.job.source, folder / "input"
    size = ctx.storage.size(source.input_file_name)  # first: it might fill the disk
    check_file_bytes(source.name, size, max_bytes=ctx.limits.max_file_bytes)
    with fetching_into(folder):
        ctx.storage.download(source.input_file_name, path)
    ctx.report.note(
        input={
            "name": source.name,
            "key": source.input_file_name,
            "bytes": path.stat().st_size,
            "sha256": _checksum(path),
        }
    )
    return path


def grpc_predict(model: Model) -> Stage:
    """Return the stage that sends tiles to the model server and stitches what comes back.

    model: used where the job names none. A stage that predicts more than once uses `predictor`.
    """

    def predict(tiles: Tiles, ctx: Context[Any]) -> Heads:
        signature = served(model, ctx)
        # Here, not in `check`: a newer version may have come since, and the record must be true.
        ctx.report.note(model={"name": signature.model, "version": signature.version})
        return predictor(signature, ctx)(tiles)

    def check(ctx: Context[Any]) -> None:
        _input_name(served(model, ctx))

    return Stage("predict", predict, Status.PREDICTING, model=model, check=check)


def predictor(signature: Signature, ctx: Context[Any], *, tell: bool = True) -> Predict:
    """Return what sends tiles to a model and stitches what comes back, as often as it is called.

    tell: whether it reports its progress, by the tiles of all calls.
    Raises ModelMismatch if the model takes more than one input.
    """
    return _Session(signature, ctx, tell=tell).predict


def served(model: Model, ctx: Context[Any]) -> Signature:
    """Return the signature of the model the job uses: the one it names, else `model`."""
    params = ctx.params
    default_version = model.version if params.model_name in (None, model.name) else None
    version_wanted = params.model_version or default_version
    return ctx.models.signature(params.model_name or model.name, version_wanted)


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
    with scratch_folder(ctx.limits.scratch) as folder:
        packed = folder / "result.zip"
        pack(files, f"{stem}_job.json", lambda: _provenance(ctx), packed)
        ctx.storage.upload_new(key, packed)
    return {"output_file_name": key, "output_url": (ctx.link or ctx.storage.url)(key)}


class _Session:
    """The predictions of one job: progress counts the tiles of all of them."""

    def __init__(self, signature: Signature, ctx: Context[Any], *, tell: bool) -> None:
        self._tell = tell
        self._signature = signature
        self._input = _input_name(signature)
        self._ctx = ctx
        self._finds_boxes = any(is_boxes(n, s.shape) for n, s in signature.outputs.items())
        self._done = 0
        self._total = 0

    def predict(self, tiles: Tiles) -> Heads:
        """Send the tiles in batches, several in flight; stitch the replies as they come."""
        layout = tiles.layout
        self._total += len(layout)
        stitchers = {name: Stitcher(layout) for name in self._signature.outputs}
        found: list[Detections] = []
        for reply in self._replies(tiles):
            self._done += len(next(iter(reply.values())))
            if self._finds_boxes:
                found += _take_detections(reply, layout.tile)
            for name, plane in reply.items():
                stitchers[name].add(plane)
            if self._tell:
                self._ctx.report.progress(self._done, self._total)
        if self._finds_boxes:
            stitchers = {name: one for name, one in stitchers.items() if one.added}
        planes = {name: stitcher.plane() for name, stitcher in stitchers.items()}
        detections = gather(found, layout) if self._finds_boxes else None
        return Heads(planes, tiles.scale, tiles.image, detections)

    def _replies(self, tiles: Tiles) -> Iterator[dict[str, NDArray[Any]]]:
        batches, check = self._batches(tiles), self._ctx.report.check
        return self._ctx.models.predict(self._signature, batches, check=check)

    def _batches(self, tiles: Tiles) -> Iterator[dict[str, NDArray[Any]]]:
        for batch in iter_tiles(tiles.plane, tiles.layout, batch=self._ctx.limits.max_batch):
            yield {self._input: batch}


def _take_detections(reply: dict[str, NDArray[Any]], tile: int) -> list[Detections]:
    """Take all that is no plane out of a reply, and return it as detections, one for each tile."""
    flat = [name for name, array in reply.items() if array.shape[1:3] != (tile, tile)]
    try:
        return detections_of({name: reply.pop(name) for name in flat})
    except KeyError as exc:
        raise ModelMismatch(f"the model finds objects, but gives no {exc.args[0]}.") from exc


def _input_name(signature: Signature) -> str:
    """Return the name of the model's one input; raises ModelMismatch if there are others."""
    names = sorted(signature.inputs)
    if len(names) != 1:
        raise ModelMismatch(
            f"model {signature.model} version {signature.version} takes {len(names)} inputs "
            f"({', '.join(names)}); this job gives it one, the image."
        )
    return names[0]


def _provenance(ctx: Context[Any]) -> dict[str, Any]:
    job = ctx.job
    return {
        "job": {"id": job.id, "type": job.type_name, "created_at": job.created_at},
        "parameters": job.params.model_dump(mode="json"),
        "software": {
            "kiosk-tasks": version("kiosk-tasks"),
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scikit-image": version("scikit-image"),
        },
        **ctx.report.notes(),
    }


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
