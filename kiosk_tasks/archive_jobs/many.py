"""A job that does many small images of an archive, each as a job of its own would do it.

The stages are those of the job type that would do each image; they run image by image, in turns:
where one asks the model, another goes on, and what many ask goes out together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from billiard.exceptions import SoftTimeLimitExceeded

from kiosk_tasks.archive_jobs.batches import Done, Inputs, Results
from kiosk_tasks.archive_jobs.facts import COUNTS, old_facts, told_of
from kiosk_tasks.archive_jobs.sharing import SharedModels
from kiosk_tasks.archive_jobs.small import SMALL_PIXELS, pixels_of
from kiosk_tasks.archive_jobs.turns import Turns
from kiosk_tasks.errors import Cancelled, ClaimLost, InternalError, TimeLimit
from kiosk_tasks.fan_out import FanOut, child_id
from kiosk_tasks.job import Context, Held, Job, JobType, Source, Stage, Status
from kiosk_tasks.outputs import output_folder
from kiosk_tasks.ports import Fact, Storage
from kiosk_tasks.scratch import scratch_folder
from kiosk_tasks.stages import check_job, fetch, run_stages
from kiosk_tasks.unforeseen import in_our_words

__all__ = ["many_name", "many_of"]

_REQUESTS_AHEAD = 4
"""What images that are begun and not ended have asked, in requests to the model: two are on their
way, one is being filled, and one has been answered."""
_AHEAD, _AHEAD_PIXELS = 128, 2**21
"""Images that are begun and not ended, at most: of 64² so many, of 256² 32."""


def many_of(job_type: JobType[Any]) -> JobType[Any]:
    """Return the job type that does many inputs of another at a time; archives submit its jobs."""
    return replace(
        job_type,
        name=many_name(job_type),
        title=f"{job_type.title}, for many small files of a zip archive",
        stages=(
            Stage(
                "do_many",
                partial(_do_many, job_type=job_type),
                Status.PREDICTING,
                check=partial(check_job, job_type.steps),
            ),
        ),
        aliases=(),
        internal=True,
        many=False,
    )


def many_name(job_type: JobType[Any]) -> str:
    """Return the name of that job type; empty if there is none."""
    return f"{job_type.name}_many" if job_type.many else ""


def _do_many(_: None, ctx: Context[Any], *, job_type: JobType[Any]) -> dict[str, str]:
    """Do the images of a batch; return the key of their results, and what a record says of them."""
    with scratch_folder(ctx.limits.scratch) as folder:
        packed = folder / "results.zip"
        with Inputs(fetch(ctx, folder)) as inputs, Results(packed, new=True) as results:
            work = _Work(ctx, job_type, inputs, results)
            work.run()
            results.end(work.done)
        key = f"{output_folder(ctx.job.id)}results.zip"
        ctx.storage.upload_new(key, packed)
    return {"output_file_name": key, **told_of(ctx.job.id, work.done)}


class _Work:
    """The images of a batch, in turns."""

    def __init__(
        self,
        ctx: Context[Any],
        job_type: JobType[Any],
        inputs: Inputs,
        results: Results,
    ) -> None:
        self._ctx, self._steps, self._type_name = ctx, job_type.steps, job_type.name
        self._names, self._results = inputs.names, results
        self._data = [inputs.read(number) for number in range(len(inputs.names))]
        self.done = [Done() for _ in inputs.names]
        self._ended = 0

    def run(self) -> None:
        """Do all of them; raises what ends the batch, and not one image."""
        tasks = (partial(self._do, number) for number in range(len(self.done)))
        limits, check = self._ctx.limits, self._ctx.report.check
        ahead = max(self._ahead(), _REQUESTS_AHEAD * limits.max_batch)
        limits = replace(
            limits, max_items=min(limits.max_items or limits.max_batch, ahead // _REQUESTS_AHEAD)
        )
        with Turns(tasks, at_once=ahead) as turns:
            self._turns = turns
            self._models = SharedModels(self._ctx.models, turns, limits=limits, check=check)
            self._models.run()

    def _ahead(self) -> int:
        """Return how many images may be begun at once, as the largest has it."""
        largest = max(map(pixels_of, self._data), default=0)
        return min(_AHEAD_PIXELS // (largest or SMALL_PIXELS), _AHEAD)

    def _do(self, number: int) -> None:
        self._ctx.report.check()
        report = _ImageReport(self._ctx, self._turns)
        ctx = self._context(number, report)
        try:
            value: Any = None
            for step in self._steps:
                value = run_stages([step], value, ctx)
                if isinstance(value, FanOut):
                    raise InternalError("a small image asked for jobs of its own; send it alone.")
            self.done[number] = report.done()
        except (Cancelled, ClaimLost, TimeLimit, SoftTimeLimitExceeded):
            raise
        except Exception as exc:  # what ends one image is its own: as the task boundary has it
            error = in_our_words(exc, ctx.job.id)
            if error.retry:
                raise
            self.done[number] = Done(reason=str(error), seconds=self._turns.seconds())
        self._ended += 1
        self._ctx.report.progress(self._ended, len(self.done))

    def _context(self, number: int, report: _ImageReport) -> Context[Any]:
        batch = self._ctx.job
        name, data = self._names[number], self._data[number]
        key = f"{batch.source.input_file_name}/{number}"
        source = Source(input_file_name=key, original_name=name)
        take = partial(self._results.add, number)
        return replace(
            self._ctx,
            job=Job(
                child_id(batch.id, number), self._type_name, source, batch.params, batch.created_at
            ),
            storage=cast(Storage, _OneImage(data, take)),
            held=Held(data, take),
            models=self._models,
            report=report,
            link=None,
        )


class _OneImage:
    """The bucket as the job of one image sees it: its input, and a place for its result."""

    def __init__(self, data: bytes, take: Callable[[bytes], None]) -> None:
        self._data, self._take = data, take

    def size(self, _key: str) -> int:
        return len(self._data)

    def get(self, _key: str) -> bytes:
        return self._data

    def open(self, _key: str) -> Iterator[bytes]:
        return iter([self._data])

    def read_range(self, _key: str, start: int, length: int) -> bytes:
        return self._data[start : start + length]

    def download(
        self, _key: str, target: Path, *, check: Callable[[int], None] = lambda _: None
    ) -> None:
        check(len(self._data))
        target.write_bytes(self._data)

    def upload_new(self, _key: str, source: Path) -> bool:
        self._take(source.read_bytes())
        return True

    def url(self, _key: str) -> str:
        return ""


class _ImageReport:
    """The `Reporter` of one image: what it notes is its own; whether to stop, the batch knows."""

    def __init__(self, ctx: Context[Any], turns: Turns) -> None:
        self._check, self._turns = ctx.report.check, turns
        self._facts: dict[str, Fact] = {}
        self._seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, _status: str | None) -> Iterator[None]:
        self._check()
        start = self._turns.seconds()
        yield
        self._seconds[name] = round(self._turns.seconds() - start, 4)

    def check(self) -> None:
        self._check()

    def progress(self, _done: int, _total: int) -> None:
        self._check()

    def note(self, **facts: Fact) -> None:
        self._facts |= facts

    def notes(self) -> dict[str, Fact]:
        return {**self._facts, "seconds": dict[str, Fact](self._seconds)}

    def done(self) -> Done:
        """Return what became of an image that is done."""
        facts = self._facts
        counts = {c: facts[c] for c in COUNTS if isinstance(facts.get(c), int)}
        return Done(
            seconds=self._turns.seconds(),
            counts=cast("dict[str, int]", counts),
            told=old_facts(facts, self._seconds),
        )
