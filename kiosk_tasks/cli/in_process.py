"""`kiosk run --in-process`: the same stages in this process, one image after the other."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kiosk_tasks.errors import KioskError
from kiosk_tasks.inputs import put_input
from kiosk_tasks.job import Job, new_job
from kiosk_tasks.jobs import find_for
from kiosk_tasks.ledger import Record
from kiosk_tasks.ledger.records import now, time_field
from kiosk_tasks.run.local import MemoryReporter, run_local
from kiosk_tasks.serving.launch import ModelServerProcess
from kiosk_tasks.settings import Settings
from kiosk_tasks.wiring import adapters, model_folders

__all__ = ["model_server_and_bucket", "run_here"]


@contextmanager
def model_server_and_bucket() -> Iterator[None]:
    """Start a model server, unless one is named, and use a bucket that is gone afterwards."""
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="kiosk-") as folder:
        os.environ["KIOSK_BUCKET"] = Path(folder).as_uri()
        try:
            if os.environ.get("KIOSK_MODEL_SERVER"):
                yield
                return
            with (
                (Path(folder) / "model-server.log").open("wb") as log,
                ModelServerProcess(model_folders(Settings.load()), log=log) as server,
            ):
                os.environ["KIOSK_MODEL_SERVER"] = server.target
                yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def run_here(
    type_name: str,
    image: Path,
    params: Mapping[str, Any],
    *,
    name: str,
    on_change: Callable[[Record], None],
) -> Record:
    """Run one image's job; return the record that a ledger would have of it.

    on_change: told of every new status and percentage.
    """
    key = f"uploads/{name}"
    given = {**params, "input_file_name": key, "original_name": name}
    job = new_job(find_for(type_name, given), given, job_id=name)
    put_input(adapters().storage, key, image)
    report = MemoryReporter(
        lambda status, percent: on_change(_record(job, {"status": status}, percent))
    )
    start = time.perf_counter()
    try:
        fields = {"status": "done", **run_local(job, report=report)}
    except KioskError as exc:
        fields = {"status": "failed", "reason": str(exc)}
    fields["total_time"] = f"{time.perf_counter() - start:.4f}"
    fields |= {f"note:{k}": json.dumps(v) for k, v in report.notes().items() if k != "seconds"}
    fields |= {time_field(k): f"{seconds:.4f}" for k, seconds in report.seconds.items()}
    record = _record(job, fields, 100)
    on_change(record)
    return record


def _record(job: Job, fields: Mapping[str, str], percent: int) -> Record:
    source = {"input_file_name": job.source.input_file_name, "original_name": job.source.name}
    kind = {"job_type": job.type_name}
    return Record(
        job.id, {**source, **kind, "progress": str(percent), "updated_at": now(), **fields}
    )
