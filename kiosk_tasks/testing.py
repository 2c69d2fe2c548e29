"""For tests of job types: one image through all stages, with neither broker nor TensorFlow."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from kiosk_tasks.errors import UnknownModel
from kiosk_tasks.fan_out import FanOut
from kiosk_tasks.job import Context, JobType, new_job
from kiosk_tasks.ports import Fact, Signature, TensorSpec, no_check
from kiosk_tasks.run.local import MemoryReporter
from kiosk_tasks.stages import check_job, run_stages
from kiosk_tasks.storage.memory import MemoryStorage

__all__ = ["Answer", "PretendModel", "Ran", "run_job"]

Answer = Callable[[NDArray[np.float32]], Mapping[str, NDArray[Any]]]
"""What a model makes of a batch: (B, Y, X, C) -> heads by name, each (B, Y, X, K)."""


@dataclass(frozen=True)
class Ran:
    """How a job ended: the files of its result by name, and what its stages noted."""

    files: Mapping[str, bytes]
    notes: Mapping[str, Fact]


@dataclass(frozen=True)
class PretendModel:
    """A model server with one model, which is a function.

    channels: of the images that it takes. name: None answers to any name.
    """

    answer: Answer
    channels: int = 1
    name: str | None = None

    def signature(self, name: str, version: int | None = None) -> Signature:
        """Return what it takes and gives, found out with an image of zeros."""
        if self.name not in (None, name):
            raise UnknownModel(f"model {name} is not served; served are {self.name}.")
        heads = self.answer(np.zeros((1, 64, 64, self.channels), np.float32))
        any_size, float32 = (-1, -1, -1), np.dtype(np.float32)
        return Signature(
            name,
            version or 1,
            {"image": TensorSpec("image", float32, (*any_size, self.channels))},
            {
                head: TensorSpec(head, float32, (*any_size, plane.shape[-1]))
                for head, plane in heads.items()
            },
        )

    def predict(
        self,
        signature: Signature,
        batches: Iterable[Mapping[str, NDArray[Any]]],
        *,
        check: Callable[[], None] = no_check,
        in_flight: int | None = None,  # noqa: ARG002  as a model server has it
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield the heads of each batch."""
        for batch in batches:
            check()
            heads = self.answer(batch["image"])
            yield {head: np.asarray(heads[head], np.float32) for head in signature.outputs}


def run_job(
    job_type: JobType[Any],
    pixels: NDArray[Any] | bytes,
    *,
    answer: Answer | None = None,
    name: str = "image.tif",
    **params: Any,
) -> Ran:
    """Run a job on an image, in this process; the job type need not be installed.

    pixels: an array, (Y, X) or with channels last, or the bytes of a file.
    answer: stands for the model, of one channel; a job type without one needs none.
    name: the user's name of the file. params: the job's parameters.
    Raises the KioskError that would make the job fail, and ValueError where the job fans out: test
    its stages one by one.
    """
    storage, key = MemoryStorage(), f"uploads/{name}"
    storage.put(key, pixels if isinstance(pixels, bytes) else _tiff(pixels))
    job = new_job(job_type, {"input_file_name": key, **params})
    report = MemoryReporter()
    models = PretendModel(answer or (lambda _: {}))
    ctx = Context(job, job.params, storage, models, report)
    check_job(job_type.steps, ctx)
    value: Any = None
    for step in job_type.steps:
        value = run_stages([step], value, ctx)
        if isinstance(value, FanOut):
            raise ValueError(f"{job_type.name} hands work to children, which run_job does not run.")
    with zipfile.ZipFile(io.BytesIO(storage.get(value["output_file_name"]))) as packed:
        files = {member: packed.read(member) for member in packed.namelist()}
    return Ran(files, report.notes())


def _tiff(pixels: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, photometric="minisblack")
    return file.getvalue()
