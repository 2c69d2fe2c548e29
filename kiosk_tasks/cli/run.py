"""`kiosk run JOBTYPE IMAGE…`: send images through the queue and bring their results back."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from kiosk_tasks import service
from kiosk_tasks.cli.display import Board, Outcome, summary_table
from kiosk_tasks.cli.images import find_images, result_names
from kiosk_tasks.cli.stack import embedded_stack
from kiosk_tasks.job import JobType, new_job
from kiosk_tasks.ledger import Record
from kiosk_tasks.settings import default_home
from kiosk_tasks.stack import Stack, running

__all__ = ["run_command"]


def run_command(job_type: JobType[Any]) -> Any:
    """Return the command that runs one job type; its parameters become options elsewhere."""

    def command(
        images: Annotated[
            list[str], typer.Argument(help="Images: files, folders or patterns.", metavar="IMAGE…")
        ],
        output: Annotated[
            Path, typer.Option("--output", "-o", help="Folder for the results.")
        ] = Path("results"),
        workers: Annotated[
            int, typer.Option("--workers", "-j", min=1, help="Jobs that run at once.")
        ] = os.cpu_count() or 1,
        as_json: Annotated[
            bool, typer.Option("--json", help="Print the outcome as JSON, and nothing else.")
        ] = False,
        params: Any = None,
    ) -> None:
        found = find_images(images)
        new_job(job_type, {**params, "input_file_name": "checked-before-anything-starts"})
        console = Console(stderr=True, quiet=as_json)
        with _stack(console, min(workers, len(found))) as stack:
            start = time.perf_counter()
            outcomes = _run_all(job_type, found, params, output, console=console, stack=stack)
            seconds = time.perf_counter() - start
        _report(outcomes, output, seconds=seconds, as_json=as_json)
        if any(outcome.status != "done" for outcome in outcomes):
            raise typer.Exit(1)

    return command


@contextmanager
def _stack(console: Console, concurrency: int) -> Iterator[Stack | None]:
    """Use the stack that `kiosk up` runs, or the one the environment names; else start one."""
    if running(default_home()) or os.environ.get("KIOSK_BROKER_URL"):
        yield None
        return
    runs = default_home() / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    home = Path(tempfile.mkdtemp(dir=runs))
    try:
        with embedded_stack(home, concurrency=concurrency, flower=False, console=console) as stack:
            yield stack
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _run_all(
    job_type: JobType[Any],
    images: Sequence[Path],
    params: Mapping[str, Any],
    output: Path,
    *,
    console: Console,
    stack: Stack | None,
) -> list[Outcome]:
    names = result_names(images)
    jobs = {
        service.submit_file(job_type.name, image, params, name=name).id: (image, name)
        for image, name in zip(images, names, strict=True)
    }
    outcomes: dict[str, Outcome] = {}
    with Board({job_id: name for job_id, (_, name) in jobs.items()}, console=console) as board:
        for record in service.watch(jobs):
            if record is None:
                if stack is not None:
                    stack.check()
                continue
            board.show(record)
            if record.status.terminal:
                image, name = jobs[record.id]
                outcomes[record.id] = _outcome(record, image, name, output)
    return [outcomes[job_id] for job_id in jobs]


def _outcome(record: Record, image: Path, name: str, output: Path) -> Outcome:
    """Bring a result home as soon as it is there; what is fetched leaves the bucket."""
    files: list[Path] = []
    status, reason = str(record.status), record.fields.get("reason", "")
    if status == "done":
        try:
            files = service.fetch(record, output)
        except OSError as exc:
            status, reason = "failed", f"the result cannot be written to {output}: {exc.strerror}."
    if status != "failed" or not record.fields.get("output_file_name"):
        service.forget_files(record)
    return Outcome(
        name=name,
        job_id=record.id,
        status=status,
        seconds=float(record.fields.get("total_time") or 0),
        megabytes=image.stat().st_size / 1e6,
        cells=record.notes().get("cells"),
        reason=reason,
        files=tuple(str(file) for file in files),
        record={"seconds": record.seconds(), **record.notes()},
    )


def _report(outcomes: Sequence[Outcome], output: Path, *, seconds: float, as_json: bool) -> None:
    if as_json:
        rows = [
            {
                "image": o.name,
                "job": o.job_id,
                "status": o.status,
                "cells": o.cells,
                "seconds": o.seconds,
                "reason": o.reason,
                "files": o.files,
                "notes": o.record,
            }
            for o in outcomes
        ]
        json.dump({"seconds": round(seconds, 3), "images": rows}, sys.stdout, indent=2)
        sys.stdout.write("\n")
        return
    console = Console()
    console.print(summary_table(outcomes, seconds=seconds))
    if any(o.files for o in outcomes):
        console.print(f"results in {output}{os.sep}", highlight=False)
