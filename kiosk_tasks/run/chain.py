"""The Celery application: an entry task per job type, and a task per later stage.

A job is a Celery chain of links. The first is the task named after the job type (`predict`), the
others are named after their first stage (`predict.postprocess`).
"""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from celery.exceptions import Ignore
from celery.result import AsyncResult

from kiosk_tasks.job import Job, JobType, new_job
from kiosk_tasks.jobs import find_for, task_types
from kiosk_tasks.run import dashboard, messages, reports, worker
from kiosk_tasks.run.heartbeat import add_signs_of_life
from kiosk_tasks.run.names import REAP
from kiosk_tasks.run.reaper import make_reaper
from kiosk_tasks.run.task import LinkTask, run_link
from kiosk_tasks.run.visibility import VisibilityHeartbeat
from kiosk_tasks.wiring import adapters

__all__ = ["app", "submit"]

app = Celery("kiosk_tasks")
app.config_from_object(os.environ.get("CELERY_CONFIG_MODULE", "celeryconfig"))
app.steps["consumer"].add(VisibilityHeartbeat)
add_signs_of_life(app)
worker.connect()
dashboard.connect()
reports.connect()


class JobTask(LinkTask):
    """The entry task of a job type: `predict.delay(input_file_name=…)` submits a job."""

    ignore_result = False

    def __init__(self, job_type: JobType[Any]) -> None:
        """Take the job type's name."""
        super().__init__(job_type, job_type.name)

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
        job_type = find_for(self.name, fields)
        return submit(new_job(job_type, fields, job_id=task_id), **options)

    def run(self, **fields: Any) -> Any:
        """Run the first link; a message sent by name with parameters becomes a job first."""
        if "job_id" in fields:
            return run_link(self, fields["job_id"], start=0, stop=fields["stop"])
        job = new_job(find_for(self.name, fields), fields, job_id=self.request.id)
        if job.type_name != self.name:  # an archive: another task does it
            submit(job)
            raise Ignore
        link = messages.link_at(self.job_type, 0)
        adapters().ledger.submit(job, lane=link.lane)
        # All that follows from the first link is in no message: it runs here, up to a fan-out.
        value = run_link(self, job.id, start=0, stop=messages.reach(self.job_type, 0))
        if isinstance(value, str):  # the key of an artifact: the message's id is the job's, whose
            raise Ignore  # result is yet to come
        return value


class LaterTask(LinkTask):
    """A link that begins at a later stage."""

    def __init__(self, job_type: JobType[Any], start: int) -> None:
        """start: index of the link's first stage."""
        name = f"{job_type.name}.{job_type.steps[start].name}"
        super().__init__(job_type, name)
        self.start = start

    def run(self, artifact: str, *, job_id: str, stop: int) -> Any:
        """Run the stages on the value that the link before left in the workspace."""
        return run_link(self, job_id, start=self.start, stop=stop, artifact=artifact)


def submit(job: Job, *, mirror: str = "", **options: Any) -> AsyncResult[Any]:
    """Write the job's record, then send its first link; see `messages.submit`."""
    return messages.submit(app, adapters().ledger, job, mirror=mirror, **options)


@app.task(name=REAP, ignore_result=True, shared=False)
def reap() -> None:
    """Look for lost jobs, once; Celery beat sends it."""
    make_reaper(app).look()


for _job_type in task_types().values():
    app.register_task(JobTask(_job_type))
    for _start in range(1, len(_job_type.steps)):
        app.register_task(LaterTask(_job_type, _start))
