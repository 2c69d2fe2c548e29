"""`kiosk run JOBTYPE IMAGE…`: send images through the queue and bring their results back."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from kiosk_tasks.cli.batch import Interrupted, Request, run_here_one_by_one, run_queued
from kiosk_tasks.cli.display import Outcome, summary_table
from kiosk_tasks.cli.images import find_images, result_names
from kiosk_tasks.cli.in_process import model_server_and_bucket
from kiosk_tasks.cli.options import ALL_CORES, Images, InProcess, Workers
from kiosk_tasks.cli.resume import results_there
from kiosk_tasks.cli.stack import embedded_stack
from kiosk_tasks.job import JobType, new_job
from kiosk_tasks.jobs import find_for
from kiosk_tasks.settings import default_home
from kiosk_tasks.stack import Stack, running

__all__ = ["run_command"]


def run_command(job_type: JobType[Any]) -> Any:
    """Return the command that runs one job type; its parameters become options elsewhere."""

    def command(
        images: Images,
        output: Annotated[
            Path, typer.Option("--output", "-o", help="Folder for the results.")
        ] = Path("results"),
        workers: Workers = ALL_CORES,
        in_process: InProcess = False,
        again: Annotated[
            bool,
            typer.Option("--again", help="Do images anew whose results are there already."),
        ] = False,
        as_json: Annotated[
            bool, typer.Option("--json", help="Print the outcome as JSON, and nothing else.")
        ] = False,
        params: Any = None,
    ) -> None:
        found = find_images(images)
        new_job(job_type, {**params, "input_file_name": "checked-before-anything-starts"})
        console = Console(stderr=True, quiet=as_json)
        names = result_names(found)
        left = Request(job_type.name, params, dict(zip(names, found, strict=True)), output)
        there: dict[str, Outcome] = {}
        if not again:
            left, there = _skip_what_is_there(left, console)
        try:
            new, seconds = _run(left, console, in_process=in_process, workers=workers)
        except Interrupted as exc:
            console.print(
                f"interrupted; {exc.done + len(there)} of {len(names)} results are in "
                f"{output}{os.sep}; jobs that had not ended are cancelled; the same command does "
                "the rest",
                highlight=False,
                soft_wrap=True,
            )
            raise typer.Exit(130) from None
        except KeyboardInterrupt:
            console.print("interrupted", highlight=False)
            raise typer.Exit(130) from None
        ended = there | {outcome.image: outcome for outcome in new}
        outcomes = [ended[name] for name in names]
        _report(outcomes, output, seconds=seconds, as_json=as_json)
        if any(outcome.status != "done" for outcome in outcomes):
            raise typer.Exit(1)

    return command


def _names_a_broker() -> bool:
    return any(os.environ.get(f"KIOSK_BROKER_URL{end}") for end in ("", "_FILE"))


@contextmanager
def _stack(console: Console, concurrency: int) -> Iterator[Stack | None]:
    """Use the stack that `kiosk up` runs, or the one the environment names; else start one."""
    if running(default_home()) or _names_a_broker():
        yield None
        return
    runs = default_home() / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(runs)
    home = Path(tempfile.mkdtemp(dir=runs))
    try:
        with embedded_stack(home, concurrency=concurrency, flower=False, console=console) as stack:
            yield stack
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _remove_leftovers(runs: Path) -> None:
    """Remove the folders of runs that were killed: a day old, and nobody at home."""
    yesterday = time.time() - 86400
    for folder in runs.iterdir():
        if folder.stat().st_mtime < yesterday and not running(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _run(
    request: Request, console: Console, *, in_process: bool, workers: int
) -> tuple[list[Outcome], float]:
    """Run all images; return how each ended, and the seconds without starting and stopping."""
    if not request.images:
        return [], 0.0
    if in_process:
        with model_server_and_bucket():
            start = time.perf_counter()
            outcomes = run_here_one_by_one(request, console)
            return outcomes, time.perf_counter() - start
    # A movie or an archive has jobs of its own: one image may keep all workers busy.
    types = (find_for(request.type_name, {"input_file_name": name}) for name in request.images)
    fans_out = any(step.ends_link for one in types for step in one.steps)
    fans_out = fans_out or any(map(_is_large, request.images.values()))
    with _stack(console, workers if fans_out else min(workers, len(request.images))) as stack:
        start = time.perf_counter()
        outcomes = run_queued(request, console, stack.check if stack else None)
        return outcomes, time.perf_counter() - start


def _is_large(path: Path) -> bool:
    """Tell whether an image may be split up: 4096² px of 16 bits, or the folder of an OME-Zarr."""
    return path.is_dir() or (path.is_file() and path.stat().st_size > 2**25)


def _skip_what_is_there(request: Request, console: Console) -> tuple[Request, dict[str, Outcome]]:
    """Return what is left to be done, and what an earlier run has done."""
    there = results_there(request)
    if there:
        total = len(request.images)
        console.print(
            f"{len(there)} of {total} images have their results in {request.output}{os.sep} "
            "already, of the same parameters; --again does them anew",
            highlight=False,
            soft_wrap=True,
        )
    left = {name: path for name, path in request.images.items() if name not in there}
    return replace(request, images=left), there


def _report(outcomes: Sequence[Outcome], output: Path, *, seconds: float, as_json: bool) -> None:
    if as_json:
        rows = [{**asdict(o), "cells": o.counts.get("cells")} for o in outcomes]
        json.dump({"seconds": round(seconds, 3), "images": rows}, sys.stdout, indent=2)
        sys.stdout.write("\n")
        return
    console = Console()
    console.print(summary_table(outcomes, seconds=seconds))
    if any(o.files for o in outcomes):
        console.print(f"results in {output}{os.sep}", highlight=False)
