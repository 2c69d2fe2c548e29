"""Many images on their way: submitted a few at a time, each result written when it is ready."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from rich.console import Console

from kiosk_tasks import service
from kiosk_tasks.archive_jobs import COUNTS
from kiosk_tasks.cli.display import Board, Outcome
from kiosk_tasks.cli.in_process import run_here
from kiosk_tasks.errors import KioskError, MissingObject, UnknownJob
from kiosk_tasks.inputs import bytes_of, is_folder
from kiosk_tasks.job import Status
from kiosk_tasks.ledger import Record
from kiosk_tasks.settings import Settings

__all__ = ["Interrupted", "Request", "failed_files", "run_here_one_by_one", "run_queued"]

IN_FLIGHT = 256
"""Jobs that are submitted and have not ended: enough for many workers, few to cancel."""
_PATIENCE_S = 5.0
"""Jobs that none has begun for so long may be on a queue that nobody consumes."""


@dataclass(frozen=True)
class Request:
    """What the command line asks for: images by the names of their results."""

    type_name: str
    params: Mapping[str, Any]
    images: Mapping[str, Path]
    output: Path


class Interrupted(Exception):
    """Ctrl-C was pressed; what had not ended is cancelled.

    done: how many results have been written.
    """

    def __init__(self, done: int) -> None:
        """done: see above."""
        super().__init__()
        self.done = done


def run_queued(
    request: Request, console: Console, check: Callable[[], None] | None
) -> list[Outcome]:
    """Run the images through the queue; raises Interrupted.

    check: raises if the stack has died; None for a stack that is somebody else's.
    """
    batch = _Batch(request, shared=check is None)
    begun, patience_ends = False, time.perf_counter() + _PATIENCE_S
    try:
        with Board(len(request.images), console=console) as board:
            batch.submit()
            for record in service.watch(batch.open):
                if record is not None:
                    board.show(record, batch.open[record.id])
                    begun |= record.status is not Status.NEW
                    if record.status.terminal:
                        batch.end(record)
                    continue
                batch.submit()
                if check is not None:
                    check()
                elif not begun and time.perf_counter() > patience_ends:
                    begun = True  # said once
                    _say_who_is_missing(request.type_name, console)
    except KeyboardInterrupt:
        batch.cancel()
        raise Interrupted(batch.done) from None
    except KioskError:
        if batch.shared:  # a stack of our own ends with this process, and its jobs with it
            with suppress(KioskError):  # the first error says more
                batch.cancel()
        raise
    return [batch.outcomes[name] for name in request.images]


def run_here_one_by_one(request: Request, console: Console) -> list[Outcome]:
    """Run one image after the other in this process; raises Interrupted."""
    outcomes: list[Outcome] = []
    with Board(len(request.images), console=console) as board:
        for name, image in request.images.items():
            if reason := _unreadable(image):
                outcomes.append(_never_sent(name, reason))
                continue
            try:
                record = run_here(
                    request.type_name,
                    image,
                    request.params,
                    name=name,
                    on_change=lambda record, name=name: board.show(record, name),  # type: ignore[misc]
                )
            except KeyboardInterrupt:
                raise Interrupted(sum(o.status == "done" for o in outcomes)) from None
            outcomes.append(_outcome(record, request, name))
    return outcomes


class _Batch:
    """The jobs of a request: those that wait to be submitted, are open, have ended."""

    def __init__(self, request: Request, *, shared: bool) -> None:
        self._request = request
        self.shared = shared
        self._waiting = iter(request.images.items())
        self.open: dict[str, str] = {}
        self.outcomes: dict[str, Outcome] = {}

    @property
    def done(self) -> int:
        return sum(outcome.status == "done" for outcome in self.outcomes.values())

    def submit(self) -> None:
        """Submit as many more as may be open at once."""
        while len(self.open) < IN_FLIGHT:
            name, image = next(self._waiting, ("", None))
            if image is None:
                return
            if reason := _unreadable(image):
                self.outcomes[name] = _never_sent(name, reason)
                continue
            request, job_id = self._request, uuid4().hex
            self.open[job_id] = name  # before: an interrupt must find the job, however far it is
            service.submit_file(request.type_name, image, request.params, name=name, job_id=job_id)

    def end(self, record: Record) -> None:
        name = self.open[record.id]
        self.outcomes[name] = _outcome(record, self._request, name, shared=self.shared)
        del self.open[record.id]  # an interrupt while its result was written leaves it here

    def cancel(self) -> None:
        for job_id in self.open:
            with suppress(UnknownJob):  # it was about to be submitted
                service.cancel(job_id)
                service.forget_files(service.status(job_id))


def _say_who_is_missing(type_name: str, console: Console) -> None:
    if Settings.load().autoscaled:  # one is started as soon as the jobs are there
        return
    for queue in service.unconsumed(type_name):
        console.print(
            f"no worker consumes the queue {queue}, so the jobs wait; "
            f"start one: celery -A kiosk_tasks worker -Q {queue}",
            highlight=False,
        )


def failed_files(notes: Mapping[str, Any]) -> str:
    """Return a sentence on those files of an archive that failed; "" if none did."""
    failed = notes.get("failed")
    return f"{failed} of its {notes['files']} files failed, see failures.csv." if failed else ""


def _unreadable(image: Path) -> str:
    """Return why an image cannot be sent; "" if it can. It may have gone since it was listed."""
    try:
        if not is_folder(image):
            image.open("rb").close()
    except OSError as exc:
        return f"{image} cannot be read: {exc.strerror}."
    return ""


def _never_sent(name: str, reason: str) -> Outcome:
    return Outcome(name, "", "failed", 0.0, 0.0, {}, reason, (), {})


def _megabytes(image: Path) -> float:
    """Return an image's size; 0 if it has gone since it was sent."""
    try:
        return bytes_of(image) / 1e6
    except OSError:
        return 0.0


def _outcome(record: Record, request: Request, name: str, *, shared: bool = False) -> Outcome:
    """Bring a result home as soon as it is there; what is fetched leaves the bucket.

    shared: the bucket is there when this process has ended; a result that could not be written is
    left in it then, since it may have taken hours.
    """
    files: list[Path] = []
    kept = False
    status, reason = str(record.status), record.fields.get("reason", "")
    if status == "done":
        try:
            files = service.fetch(record, request.output)
        except (OSError, KioskError) as exc:
            status, reason = "failed", _why(exc, request.output)
            if shared and not isinstance(exc, MissingObject):
                kept = True
                reason += f" It is still in the bucket, as {record.fields['output_file_name']}."
    with suppress(KioskError):  # a bucket that does not answer now is no reason to stop
        service.forget_files(record, output=not kept)
    notes = record.notes()
    if status == "done":
        reason = failed_files(notes)
    return Outcome(
        image=name,
        job=record.id,
        status=status,
        seconds=float(record.fields.get("total_time") or 0),
        megabytes=_megabytes(request.images[name]),
        counts={name: notes[name] for name in COUNTS if isinstance(notes.get(name), int)},
        reason=reason,
        files=tuple(str(file) for file in files),
        notes={"seconds": record.seconds(), **notes},
    )


def _why(error: OSError | KioskError, folder: Path) -> str:
    if isinstance(error, OSError):
        return f"the result cannot be written to {folder}: {error.strerror}."
    return str(error)
