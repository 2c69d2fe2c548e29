"""Jobs: submit, look, list, cancel, do again."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Header, Query, Request, Response
from starlette.status import HTTP_200_OK, HTTP_202_ACCEPTED

from kiosk_tasks import service
from kiosk_tasks.errors import BrokerUnavailable
from kiosk_tasks.inputs import input_bytes
from kiosk_tasks.job import Job, Status, new_job
from kiosk_tasks.jobs import find, find_for
from kiosk_tasks.ledger import Owner, Record
from kiosk_tasks.web.errors import AlreadyEnded, InvalidRequest
from kiosk_tasks.web.job_json import JobJson, JobsJson, job_json
from kiosk_tasks.web.multipart import is_form
from kiosk_tasks.web.site import Site, SiteOf, UserOf
from kiosk_tasks.web.submission import Submission
from kiosk_tasks.web.turnstile import is_small
from kiosk_tasks.web.uploads import discard_body, shown_name

__all__ = ["router"]

router = APIRouter(tags=["jobs"])

Key = Annotated[
    str,
    Header(
        max_length=200,
        description="The same key again, from the same user, is the same job: nothing is sent or "
        "run twice.",
    ),
]

_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {"file": {"type": "string", "format": "binary"}},
                "required": ["file"],
                "additionalProperties": {"type": "string"},
            }
        },
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {
                    "input_file_name": {"type": "string"},
                    "original_name": {"type": "string"},
                },
                "required": ["input_file_name"],
                "additionalProperties": True,
            }
        },
    },
}


@router.post(
    "/jobs/{type_name}",
    status_code=HTTP_202_ACCEPTED,
    responses={200: {"model": JobJson, "description": "The job that this key was used for."}},
    openapi_extra={"requestBody": _BODY},
)
async def submit(
    type_name: str,
    request: Request,
    response: Response,
    site: SiteOf,
    user: UserOf,
    idempotency_key: Key = "",
) -> JobJson:
    """Submit a job: a form with a file, or JSON that names a key of the bucket.

    The job type's parameters are fields beside it, as `/job-types` lists them. An archive (.zip) is
    one job, with a child for each of its files.
    """
    find(type_name)  # before a byte is read
    submission, owner = Submission(site.ledger, user, idempotency_key), _owner(site, user)
    if is_form(request):
        record, new = await _submit_form(type_name, request, site, submission, owner)
    else:
        fields = await _json(request)
        record, new = await to_thread.run_sync(
            lambda: _submit_key(type_name, fields, site, submission, owner)
        )
    return _accepted(record, new, response, site, request)


@router.get("/jobs")
def list_jobs(
    request: Request,
    site: SiteOf,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    before: Annotated[
        str, Query(max_length=40, description="`next` of the page before, or a time, ISO 8601.")
    ] = "",
) -> JobsJson:
    """List jobs, newest first; not those that are parts of another one."""
    page = service.page(limit, before=before)
    shown = [job_json(record, site, request) for record in page.records]
    return JobsJson(jobs=shown, next=page.before)


@router.get("/jobs/{job_id}")
def look(job_id: str, request: Request, site: SiteOf) -> JobJson:
    """Look at a job."""
    return job_json(service.status(job_id), site, request)


@router.delete("/jobs/{job_id}")
def cancel(job_id: str, request: Request, site: SiteOf) -> JobJson:
    """Cancel a job; one that runs stops at its next tile."""
    service.cancel(job_id)
    record = service.status(job_id)
    if record.status is not Status.CANCELLED:
        raise AlreadyEnded(f"job {job_id} is {record.status} already.")
    return job_json(record, site, request)


@router.post(
    "/jobs/{job_id}/retry",
    status_code=HTTP_202_ACCEPTED,
    responses={200: {"model": JobJson, "description": "The job that this key was used for."}},
)
def retry(
    job_id: str,
    request: Request,
    response: Response,
    site: SiteOf,
    user: UserOf,
    idempotency_key: Key = "",
) -> JobJson:
    """Do a job that has ended once more, as a new job."""
    submission = Submission(site.ledger, user, idempotency_key)
    record, new = service.again(_owner(site, user), job_id, new_id=submission.job_id)
    return _accepted(record, new, response, site, request)


def _owner(site: Site, user: str) -> Owner:
    return Owner(user, site.settings.web_open_jobs)


def _accepted(
    record: Record, new: bool, response: Response, site: Site, request: Request
) -> JobJson:
    response.status_code = HTTP_202_ACCEPTED if new else HTTP_200_OK
    shown = job_json(record, site, request)
    response.headers["Location"] = shown.urls.self
    return shown


async def _submit_form(
    type_name: str, request: Request, site: Site, submission: Submission, owner: Owner
) -> tuple[Record, bool]:
    """Take the file, then the job: an upload that is cut off leaves neither."""
    most = site.settings.max_file_bytes
    async with submission.alone() as alone:
        before = await to_thread.run_sync(submission.before) if submission.repeats else None
        if alone and before is None:
            if not is_small(request.scope):  # of a small one, submitting it is soon enough
                await to_thread.run_sync(service.check_open, owner)
            return await _upload(type_name, request, site, submission, owner)
        await discard_body(request, max_bytes=most)
    return before or await submission.of_the_other(), False


async def _upload(
    type_name: str, request: Request, site: Site, submission: Submission, owner: Owner
) -> tuple[Record, bool]:
    form = await site.uploads.receive(request, folder=submission.folder)
    fields = form.fields
    if not form.key:
        raise InvalidRequest("send the image as the form's part 'file'.")
    try:
        if "input_file_name" in fields:
            raise InvalidRequest("send a file or the key of one, not both.")
        given = {"original_name": form.name, **fields, "input_file_name": form.key}
        job = replace(_new_job(type_name, given, submission), input_bytes=form.size)
        return await to_thread.run_sync(service.submit_for, owner, job, limiter=site.submitting)
    except BrokerUnavailable:
        raise  # it may be recorded all the same, and then needs its file
    except Exception:  # where this task is cancelled, the thread goes on, and records the job
        await site.uploads.remove(form.key)
        raise


def _submit_key(
    type_name: str, fields: dict[str, Any], site: Site, submission: Submission, owner: Owner
) -> tuple[Record, bool]:
    before = submission.before()
    if before is not None:
        return before, False
    job = _new_job(type_name, fields, submission)
    size = input_bytes(site.storage, job.source.input_file_name)  # raises MissingObject
    return service.submit_for(owner, replace(job, input_bytes=size))


def _new_job(type_name: str, fields: dict[str, Any], submission: Submission) -> Job:
    name = fields.get("original_name")
    if isinstance(name, str) and name:
        fields = {**fields, "original_name": shown_name(name)}
    return new_job(find_for(type_name, fields), fields, job_id=submission.job_id)


async def _json(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError) as exc:
        raise InvalidRequest(
            "send a form with the part 'file', or a JSON object with 'input_file_name'."
        ) from exc
    if not isinstance(body, dict):
        raise InvalidRequest("the request should be a JSON object.")
    return body
