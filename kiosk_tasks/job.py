"""The vocabulary of jobs: JobType, Job, Stage, Status, Context; parameters are in `params`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar
from uuid import uuid4

from kiosk_tasks.choices import Choices
from kiosk_tasks.limits import Limits
from kiosk_tasks.params import ImageParams, Params, Source, validated
from kiosk_tasks.ports import Model, ModelServer, Reporter, Storage

__all__ = [
    "Context",
    "Held",
    "ImageParams",
    "Job",
    "JobType",
    "Limits",
    "Model",
    "Params",
    "Source",
    "Stage",
    "Status",
    "new_job",
    "stage",
]


class Status(StrEnum):
    """The words of a job's `status`; clients poll them, so they are a contract."""

    NEW = "new"  #: accepted, waits for a worker
    STARTED = "started"  #: a worker has it and fetches the input
    PREPROCESSING = "pre-processing"
    PREDICTING = "predicting"  #: the model server works on it
    POSTPROCESSING = "post-processing"
    SAVING = "saving-results"
    WAITING = "waiting"  #: a parent whose children are not done
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Whether a job of this status has ended for good."""
        return self in (Status.DONE, Status.FAILED, Status.CANCELLED)


P = TypeVar("P", bound=Params)


@dataclass(frozen=True)
class Job:
    """One submission of a job type.

    input_bytes: size of the input, where whoever submits it knows; it tells how long it may take.
    files: how many files of an archive it does; None for a job of one input.
    """

    id: str
    type_name: str
    source: Source
    params: Params
    created_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat())
    input_bytes: int | None = None
    files: int | None = None


@dataclass(frozen=True)
class Held:
    """A job's input and result where both are small, and whoever runs the job has them in memory.

    input: the bytes of its input. take: is given the archive that is its result.
    """

    input: bytes
    take: Callable[[bytes], None]


@dataclass(frozen=True)
class Context(Generic[P]):
    """All that a stage may use. A stage that needs anything else is not a stage."""

    job: Job
    params: P
    storage: Storage
    models: ModelServer
    report: Reporter
    limits: Limits = field(default_factory=Limits)
    choices: Choices = field(default_factory=Choices)
    held: Held | None = None
    link: Callable[[str], str] | None = None
    """Makes a URL that a browser can fetch of a key, where those of `storage` are for this machine
    only."""


StageFunction = Callable[[Any, Context[Any]], Any]

_STATUS_OF = {
    "download": Status.STARTED,
    "preprocess": Status.PREPROCESSING,
    "predict": Status.PREDICTING,
    "postprocess": Status.POSTPROCESSING,
    "upload": Status.SAVING,
}


@dataclass(frozen=True)
class Stage:
    """One step of a job: a function `(value, ctx) -> value` and where it runs.

    queue: None means the job type's own queue.
    model: what the stage asks the model server for, where the job names nothing else.
    check: finds out, before any stage runs, whether this one could.
    fans_out: may return a `FanOut`; the next stage gets `Gathered` then, else what it returned.
    seldom: it fans out for few jobs, and leaves nothing in the bucket for others: these are not to
        pay for it. Its link goes on behind it, and is cut there only where it has fanned out.
    """

    name: str
    run: StageFunction
    status: Status | None = None
    queue: str | None = None
    model: Model | None = None
    check: Callable[[Context[Any]], None] | None = None
    fans_out: bool = False
    seldom: bool = False

    @property
    def ends_link(self) -> bool:
        """Whether a message never goes on behind it."""
        return self.fans_out and not self.seldom


def stage(
    run: StageFunction, *, name: str = "", queue: str | None = None, fans_out: bool = False
) -> Stage:
    """Make a stage of a plain function; its status word follows from its name."""
    name = name or run.__name__
    return Stage(name, run, _STATUS_OF.get(name), queue, fans_out=fans_out)


@dataclass(frozen=True)
class JobType(Generic[P]):
    """A job type, declared once: task, queue, route, options and forms are derived from it.

    name: name of the Celery task and of `kiosk run <name>`.
    stages: functions or `stage(…)` records, in order; values pass from one to the next.
    aliases: names that older clients send.
    accepts: endings of the files that it reads, for a person who picks one.
    seconds: time limit of one link of the job; the worker ends it after that.
    reads_archives: a zip archive is one input to it; else its files are inputs, one by one.
    internal: only other jobs submit it, as their children; no page, command or archive offers it.
    many: small files of an archive are done many at a time, by one process in turns; else each
        gets a job of its own. Its stages may not fan out for them.
    """

    name: str
    title: str
    queue: str
    params: type[P]
    stages: tuple[StageFunction | Stage, ...]
    aliases: tuple[str, ...] = ()
    accepts: tuple[str, ...] = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".ozx")
    seconds: int = 1800
    reads_archives: bool = False
    internal: bool = False
    many: bool = False

    def __post_init__(self) -> None:
        """Refuse a declaration that could not be run, where it is written."""
        for word in (self.name.removesuffix("-zip"), self.queue):  # archives': archive_jobs.py
            if not re.fullmatch(r"[a-z][a-z0-9_]*", word):
                raise ValueError(f"{word!r}: use lower-case letters, digits and _, a letter first.")
        names = [step.name for step in self.steps]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"job type {self.name!r} needs stages, each with a name of its own.")
        if self.steps[-1].fans_out:
            raise ValueError(f"job type {self.name!r} fans out last: no stage gathers the outcome.")
        if sum(step.fans_out for step in self.steps) > 1:
            raise ValueError(f"job type {self.name!r} fans out twice; let a child fan out instead.")

    @property
    def steps(self) -> tuple[Stage, ...]:
        """The stages as records."""
        return tuple(s if isinstance(s, Stage) else stage(s) for s in self.stages)

    @property
    def fans_out(self) -> bool:
        """Whether one of its stages may hand work to child jobs."""
        return any(step.fans_out for step in self.steps)

    @property
    def models(self) -> tuple[Model, ...]:
        """The models that its stages use where a job names none."""
        return tuple(step.model for step in self.steps if step.model is not None)


def new_job(
    job_type: JobType[Any],
    fields: Mapping[str, Any],
    *,
    job_id: str | None = None,
    input_bytes: int | None = None,
    files: int | None = None,
) -> Job:
    """Validate what a client sent, and make it a job.

    fields: source and parameters in one mapping, as `task.delay(**fields)` gives them.
    Raises InvalidParameter with a sentence that names the parameter, and a near miss if any.
    """
    source = {name: fields[name] for name in Source.model_fields if name in fields}
    params = {name: value for name, value in fields.items() if name not in Source.model_fields}
    known = [*Source.model_fields, *job_type.params.model_fields]
    return Job(
        id=job_id or uuid4().hex,
        type_name=job_type.name,
        source=validated(Source, source, job_type.name, known=known),
        params=validated(job_type.params, params, job_type.name, known=known),
        input_bytes=input_bytes,
        files=files,
    )
