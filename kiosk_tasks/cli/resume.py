"""Which results are there already: of the same image, job type and parameters, and whole."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from kiosk_tasks.archive_jobs import ARCHIVE_END, COUNTS
from kiosk_tasks.cli.batch import Request, failed_files
from kiosk_tasks.cli.display import Outcome
from kiosk_tasks.inputs import bytes_of
from kiosk_tasks.job import Job, new_job
from kiosk_tasks.jobs import find_for
from kiosk_tasks.outputs import stem_of

__all__ = ["results_there"]


def results_there(request: Request) -> dict[str, Outcome]:
    """Return what an earlier run has left of the images asked for, by the names of their results.

    A newer model or version of this software is not noticed. An OME-Zarr is always done anew: no
    record has its checksum.
    """
    found = {name: _result_there(request, name) for name in request.images}
    return {name: outcome for name, outcome in found.items() if outcome is not None}


def _result_there(request: Request, name: str) -> Outcome | None:
    image, stem = request.images[name], stem_of(name)
    given = {**request.params, "input_file_name": name}
    job = new_job(find_for(request.type_name, given), given)
    folder = request.output / stem if job.type_name.endswith(ARCHIVE_END) else request.output
    record_file = folder / f"{stem}_job.json"  # unpacked last
    record = _read(record_file)
    if not _is_of(record, job, image) or not _is_whole(record, folder):
        return None
    return Outcome(
        image=name,
        job=record["job"]["id"],
        status="done",
        seconds=0.0,
        megabytes=bytes_of(image) / 1e6,
        counts={name: record[name] for name in COUNTS if isinstance(record.get(name), int)},
        reason=failed_files(record),
        files=tuple(str(folder / file) for file in sorted([*record["outputs"], record_file.name])),
        notes={},
        there=True,
    )


def _read(file: Path) -> dict[str, Any]:
    try:
        record = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _is_of(record: dict[str, Any], job: Job, image: Path) -> bool:
    """Tell whether a record is of that image with those parameters; the checksum comes last."""
    try:
        return bool(
            record["job"]["type"] == job.type_name
            and record["parameters"] == job.params.model_dump(mode="json")
            and record["input"]["bytes"] == image.stat().st_size
            and record["input"]["sha256"] == _checksum(image)
        )
    except (KeyError, TypeError, OSError):
        return False


def _is_whole(record: dict[str, Any], folder: Path) -> bool:
    """Tell whether the files that a record lists are there, with their lengths."""
    try:
        sizes = {folder / file: about["bytes"] for file, about in record["outputs"].items()}
    except (KeyError, TypeError, AttributeError):
        return False
    return all(file.is_file() and file.stat().st_size == size for file, size in sizes.items())


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
