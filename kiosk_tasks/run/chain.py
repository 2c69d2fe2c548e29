"""The Celery application: an entry task per job type, and a task per later stage.

A job is a Celery chain of links. The first is the task named after the job type (`predict`), the
others are named after their first stage (`predict.postprocess`). Messages carry the job's id and
the key of an artifact, never pixels; what the job is stands in the ledger.
"""

from __future__ import annotations

import os
from typing import Any

from celery import Celery, chain
from celery.canvas import Signature
from celery.result import AsyncResult

from kiosk_tasks.job import Job, JobType, new_job
from kiosk_tasks.jobs import find, job_types
from kiosk_tasks.run import worker
from kiosk_tasks.run.links import ADMIT, CONTINUE, Link, plan_links
from kiosk_tasks.run.task import LinkTask, run_link
from kiosk_tasks.settings import Settings
from kiosk_tasks.wiring import adapters

__all__ = ["app", "send", "submit"]

app = Celery("kiosk_tasks")
app.config_from_object(os.environ.get("CELERY_CONFIG_MODULE", "celeryconfig"))
worker.connect()


class JobTask(LinkTask):
    """The entry task of a job type: `predict.delay(input_file_name=…)` submits a job."""

    ignore_result = False

    def __init__(self, job_type: JobType[Any], *, max_retries: int) -> None:
        """Take the job type's name."""
        super().__init__(job_type, job_type.name, max_retries=max_retries)

    def apply_async(  # type: ignore[override]  # a job's fields are all there is to send
        self,
        args: Any = None,
        kwargs: dict[str, Any] | None = None,
        task_id: str | None = None,
        **options: Any,
    ) -> AsyncResult[Any]:
        """Record the job, then send its first link; the result is that of the whole job.

        Raises InvalidParameter at once for parameters that the job type does not take.
        """
        fields = dict(kwargs or {})
        if "job_id" in fields or options.get("retries"):  # the job is recorded already
            return super().apply_async(args, fields, task_id=task_id, **options)
        return submit(new_job(self.job_type, fields, job_id=task_id), **options)

    def run(self, **fields: Any) -> Any:
        """Run the first link; a message sent by name with parameters becomes a job first."""
        if "job_id" in fields:
            return run_link(self, fields["job_id"], start=0, stop=fields["stop"])
        job = new_job(self.job_type, fields, job_id=self.request.id)
        adapters().ledger.submit(job)
        return run_link(self, job.id, start=0, stop=len(self.job_type.steps))


class LaterTask(LinkTask):
    """A link that begins at a later stage."""

    def __init__(self, job_type: JobType[Any], start: int, *, max_retries: int) -> None:
        """start: index of the link's first stage."""
        name = f"{job_type.name}.{job_type.steps[start].name}"
        super().__init__(job_type, name, max_retries=max_retries)
        self.start = start

    def run(self, artifact: str, *, job_id: str, stop: int) -> Any:
        """Run the stages on the value that the link before left in the workspace."""
        return run_link(self, job_id, start=self.start, stop=stop, artifact=artifact)


def submit(job: Job, **options: Any) -> AsyncResult[Any]:
    """Write the job's record, then send its first link.

    In this order: a crash between the two leaves a record that can be sent again, never a message
    that nobody accounts for. A job that is recorded already is not sent a second time.
    options: as for `Task.apply_async`.
    """
    if adapters().ledger.submit(job):
        return send(job, **options)
    return app.AsyncResult(job.id)


def send(job: Job, **options: Any) -> AsyncResult[Any]:
    """Send a recorded job's chain of links; the last link's id and result are the job's."""
    job_type = find(job.type_name)
    settings = Settings.load()
    links = plan_links(job_type, mode=settings.links, stage_queues=settings.stage_queues)
    signatures = [_signature(job_type, job.id, link) for link in links]
    if len(signatures) == 1:
        return signatures[0].apply_async(task_id=job.id, **options)
    return chain(*signatures).apply_async(task_id=job.id, **options)


def _signature(job_type: JobType[Any], job_id: str, link: Link) -> Signature[Any]:
    first = link.start == 0
    name = job_type.name if first else f"{job_type.name}.{job_type.steps[link.start].name}"
    signature: Signature[Any] = app.tasks[name].s(job_id=job_id, stop=link.stop)
    signature.options.update(
        queue=link.queue,
        priority=ADMIT if first else CONTINUE,
        ignore_result=link.stop < len(job_type.steps),
    )
    return signature


_retries = Settings.load().max_retries
for _job_type in job_types().values():
    app.register_task(JobTask(_job_type, max_retries=_retries))
    for _start in range(1, len(_job_type.steps)):
        app.register_task(LaterTask(_job_type, _start, max_retries=_retries))
