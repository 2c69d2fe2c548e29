"""`kiosk run JOBTYPE IMAGE…`: send images through the queue and bring their results back."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from kiosk_tasks import service
from kiosk_tasks.cli.display import Board, Outcome, summary_table
from kiosk_tasks.cli.images import find_images, result_names
from kiosk_tasks.cli.in_process import model_server_and_bucket, run_here
from kiosk_tasks.cli.stack import embedded_stack
from kiosk_tasks.job import JobType, Status, new_job
from kiosk_tasks.ledger import Record
from kiosk_tasks.settings import default_home
from kiosk_tasks.stack import Stack, running

__all__ = ["run_command"]

_PATIENCE_S = 5.0
"""Jobs that none has begun for so long may be on a queue that nobody consumes."""


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
        in_process: Annotated[
            bool,
            typer.Option("--in-process", help="Run here, one by one, without broker and worker."),
        ] = False,
        as_json: Annotated[
            bool, typer.Option("--json", help="Print the outcome as JSON, and nothing else.")
        ] = False,
        params: Any = None,
    ) -> None:
        found = find_images(images)
        new_job(job_type, {**params, "input_file_name": "checked-before-anything-starts"})
        console = Console(stderr=True, quiet=as_json)
        request = _Request(
            job_type.name, params, dict(zip(result_names(found), found, strict=True)), output
        )
        try:
            if in_process:
                with model_server_and_bucket():
                    outcomes, seconds = _timed(lambda: _run_here(request, console))
            else:
                with _stack(console, min(workers, len(found))) as stack:
                    outcomes, seconds = _timed(lambda: _run_queued(request, console, stack))
        except KeyboardInterrupt:
            console.print("interrupted; jobs that had not ended are cancelled", highlight=False)
            raise typer.Exit(130) from None
        _report(outcomes, output, seconds=seconds, as_json=as_json)
        if any(outcome.status != "done" for outcome in outcomes):
            raise typer.Exit(1)

    return command


@dataclass(frozen=True)
class _Request:
    """What the command line asks for: images by the names of their results."""

    type_name: str
    params: Mapping[str, Any]
    images: Mapping[str, Path]
    output: Path


@contextmanager
def _stack(console: Console, concurrency: int) -> Iterator[Stack | None]:
    """Use the stack that `kiosk up` runs, or the one the environment names; else start one."""
    if running(default_home()) or os.environ.get("KIOSK_BROKER_URL"):
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


def _timed(run: Callable[[], list[Outcome]]) -> tuple[list[Outcome], float]:
    start = time.perf_counter()
    outcomes = run()
    return outcomes, time.perf_counter() - start


def _run_queued(request: _Request, console: Console, stack: Stack | None) -> list[Outcome]:
    """Submit every image; fetch each result as soon as it is there."""
    names = {
        service.submit_file(request.type_name, image, request.params, name=name).id: name
        for name, image in request.images.items()
    }
    outcomes: dict[str, Outcome] = {}
    begun, patience_ends = False, time.perf_counter() + _PATIENCE_S
    try:
        with Board(names, console=console) as board:
            for record in service.watch(names):
                if record is not None:
                    board.show(record)
                    begun |= record.status is not Status.NEW
                    if record.status.terminal:
                        outcomes[record.id] = _outcome(record, request, names[record.id])
                elif stack is not None:
                    stack.check()
                elif not begun and time.perf_counter() > patience_ends:
                    begun = True  # said once
                    _say_who_is_missing(request.type_name, console)
    except KeyboardInterrupt:
        for job_id in names.keys() - outcomes.keys():
            service.cancel(job_id)
        raise
    return [outcomes[job_id] for job_id in names]


def _say_who_is_missing(type_name: str, console: Console) -> None:
    for queue in service.unconsumed(type_name):
        console.print(
            f"no worker consumes the queue {queue}, so the jobs wait; "
            f"start one: celery -A kiosk_tasks worker -Q {queue}",
            highlight=False,
        )


def _run_here(request: _Request, console: Console) -> list[Outcome]:
    """Run one image after the other in this process."""
    with Board({name: name for name in request.images}, console=console) as board:
        return [
            _outcome(
                run_here(request.type_name, image, request.params, name=name, on_change=board.show),
                request,
                name,
            )
            for name, image in request.images.items()
        ]


def _outcome(record: Record, request: _Request, name: str) -> Outcome:
    """Bring a result home as soon as it is there; what is fetched leaves the bucket."""
    files: list[Path] = []
    status, reason = str(record.status), record.fields.get("reason", "")
    if status == "done":
        try:
            files = service.fetch(record, request.output)
        except OSError as exc:
            status = "failed"
            reason = f"the result cannot be written to {request.output}: {exc.strerror}."
    service.forget_files(record)
    return Outcome(
        image=name,
        job=record.id,
        status=status,
        seconds=float(record.fields.get("total_time") or 0),
        megabytes=request.images[name].stat().st_size / 1e6,
        cells=record.notes().get("cells"),
        reason=reason,
        files=tuple(str(file) for file in files),
        notes={"seconds": record.seconds(), **record.notes()},
    )


def _report(outcomes: Sequence[Outcome], output: Path, *, seconds: float, as_json: bool) -> None:
    if as_json:
        rows = [asdict(outcome) for outcome in outcomes]
        json.dump({"seconds": round(seconds, 3), "images": rows}, sys.stdout, indent=2)
        sys.stdout.write("\n")
        return
    console = Console()
    console.print(summary_table(outcomes, seconds=seconds))
    if any(o.files for o in outcomes):
        console.print(f"results in {output}{os.sep}", highlight=False)
