"""What happens in a thread while the viewer stays responsive: submit, follow, fetch."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

from kiosk_tasks.client import (
    Client,
    Job,
    JobCancelled,
    KioskClientError,
    State,
    WaitedTooLong,
)
from kiosk_tasks.napari.receiving import LayerData, layers_of
from kiosk_tasks.napari.sending import Sending

__all__ = ["Offer", "Outcome", "load_job_types", "run_job"]

_SILENCE_S = 2.0
"""napari waits for its threads when it is closed, and can end one only where it yields."""


@dataclass(frozen=True)
class Outcome:
    """How a job ended: with layers, or with a sentence.

    cancelled: it was ended on purpose, so the sentence is no error.
    """

    layers: list[LayerData] = field(default_factory=list)
    problem: str = ""
    cancelled: bool = False


@dataclass(frozen=True)
class Offer:
    """What a server offers, or why it cannot be asked."""

    job_types: dict[str, dict[str, Any]] = field(default_factory=dict)
    problem: str = ""


def load_job_types(connect: Callable[[], Client]) -> Offer:
    """Ask a server what it offers."""
    try:
        with connect() as client:
            return Offer(client.job_types())
    except KioskClientError as error:
        return Offer(problem=str(error))


def run_job(
    connect: Callable[[], Client],
    type_name: str,
    image: Sending,
    params: dict[str, Any],
    submitted: Callable[[Job], None],
) -> Generator[State, None, Outcome]:
    """Submit a job, yield its state until it has ended, and return the layers of its result.

    submitted: is told the job, so that it can be cancelled.
    """
    try:
        with connect() as client:
            name = f"{image.name}.tif"
            job = client.submit(type_name, image.array(), name=name, axes=image.axes, **params)
            submitted(job)
            yield from _states(job)
            return Outcome(layers_of(job.result(), image.name, image.place))
    except JobCancelled as error:
        return Outcome(problem=str(error), cancelled=True)
    except KioskClientError as error:
        return Outcome(problem=str(error))


def _states(job: Job) -> Iterator[State]:
    """Yield the job's state when it has changed, and once in a while in between."""
    while not job.ended:
        try:
            yield from job.watch(_SILENCE_S)
        except WaitedTooLong:
            yield job.state
