"""The old frontend's API, each call with and without a slash at the end."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any, TypeVar
from uuid import uuid4

from anyio import to_thread
from fastapi import APIRouter, Depends, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse

from kiosk_tasks import __version__, service
from kiosk_tasks.bridge.events import is_text, queue_names
from kiosk_tasks.errors import UserError
from kiosk_tasks.job import Status
from kiosk_tasks.ledger import Owner, Record
from kiosk_tasks.web.catalogue import served_models
from kiosk_tasks.web.errors import InvalidRequest, error_response
from kiosk_tasks.web.job_json import ErrorJson
from kiosk_tasks.web.multipart import is_form
from kiosk_tasks.web.old_api import id_of, job_for, told
from kiosk_tasks.web.old_json import (
    FILE,
    Expiry,
    Hash,
    JobTypes,
    Message,
    Models,
    StatusWord,
    Uploaded,
    Value,
    string,
    takes,
)
from kiosk_tasks.web.routes.files import file
from kiosk_tasks.web.site import Site, SiteOf, UserOf, base_url

__all__ = ["router"]

router = APIRouter(prefix="/api", tags=["old frontend"])

F = TypeVar("F", bound=Callable[..., Any])
Body = dict[str, Any]

_LONGEST_BODY = 2**16
_REFUSED: dict[int | str, dict[str, Any]] = {400: {"model": ErrorJson}}


def _route(method: str, path: str, **options: Any) -> Callable[[F], F]:
    """Register a handler under both forms of a path: some clients cannot follow a redirect."""

    def register(handler: F) -> F:
        for form, shown in ((path, True), (f"{path}/", False)):
            router.add_api_route(
                form, handler, methods=[method], include_in_schema=shown, **options
            )
        return handler

    return register


async def _body(request: Request) -> Body:
    """Return a request's JSON object, whatever it says of its type."""
    text = b""
    async for chunk in request.stream():
        text += chunk
        if len(text) > _LONGEST_BODY:
            raise InvalidRequest("the request is too long; send the image to /api/upload.")
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise InvalidRequest("the request is no JSON.") from exc
    if not isinstance(body, dict):
        raise InvalidRequest("the request should be a JSON object.")
    return body


BodyOf = Annotated[Body, Depends(_body)]


@_route("GET", "/health-check")
def health() -> Message:
    """Say that the service is there."""
    return Message(message="OK")


@_route("GET", "/jobtypes")
def types() -> JobTypes:
    """List every name that a job can be asked for by."""
    return JobTypes(jobTypes=list(queue_names()))


@_route("GET", "/models", responses={503: {"model": ErrorJson}})
def models(site: SiteOf) -> Models:
    """List models and their versions."""
    return Models(models=served_models(site.settings, site.storage))


@_route("GET", "/swagger.json")
def swagger() -> Body:
    """Describe this part of the service."""
    return get_openapi(title="kiosk-tasks, old API", version=__version__, routes=router.routes)


@_route("POST", "/upload", responses=_REFUSED, openapi_extra=FILE)
async def upload(request: Request, site: SiteOf, user: UserOf) -> Uploaded:
    """Put a file into the bucket, under a key of its own."""
    if not is_form(request):
        raise InvalidRequest("send a form with the image as its part 'file'.")
    await to_thread.run_sync(service.check_open, _owner(site, user))
    form = await site.uploads.receive(request, folder=f"uploads/{uuid4().hex}")
    if not form.key:
        raise InvalidRequest("send the image as the form's part 'file'.")
    return Uploaded(imageURL=_link(form.key, site, request), uploadedName=form.key)


@_route(
    "POST",
    "/predict",
    responses=_REFUSED,
    openapi_extra=takes(jobType=string(), imageName=string(), uploadedName=string(optional=1)),
    response_model=Hash,
)
def predict(body: BodyOf, site: SiteOf, user: UserOf) -> Hash | JSONResponse:
    """Submit a job; the same submission again is the same job."""
    try:
        key, job = job_for(body, ledger=site.ledger, bucket_url=site.settings.bucket_url, user=user)
    except UserError as exc:
        return JSONResponse(json.loads(bytes(error_response(exc).body)), 400)
    service.submit_for(_owner(site, user), job)
    return Hash(hash=key)


@_route("POST", "/status", responses=_REFUSED, openapi_extra=takes(hash=string()))
def status(body: BodyOf, site: SiteOf) -> StatusWord:
    """Return a job's status."""
    record = _record(body, site)
    return StatusWord(status=record and told(record, "status", output_url=None))


@_route(
    "POST",
    "/redis",
    responses=_REFUSED,
    openapi_extra=takes(
        hash=string(), key={"oneOf": [string(), {"type": "array", "items": string()}]}
    ),
)
def fields(body: BodyOf, site: SiteOf, request: Request) -> Value:
    """Return a field of a job, or several."""
    asked: Any = body.get("key")
    names: list[Any] = asked if isinstance(asked, list) else [asked]
    if not all(isinstance(name, str) for name in names):
        raise InvalidRequest("'key' should be a text, or a list of them.")
    record = _record(body, site)
    url = _result_link(record, site, request) if record and "output_url" in names else None
    values = [record and told(record, name, output_url=url) for name in names]
    return Value(value=values if isinstance(asked, list) else values[0])


@_route(
    "POST",
    "/redis/expire",
    responses={**_REFUSED, 404: {"model": Expiry}},
    openapi_extra=takes(hash=string(), expireIn={"type": "integer"}),
)
def expire(body: BodyOf, site: SiteOf, response: Response) -> Expiry:
    """Let a job that has ended be forgotten after so many seconds."""
    try:
        seconds = int(float(body.get("expireIn", "")))
    except (TypeError, ValueError, OverflowError) as exc:
        raise InvalidRequest("'expireIn' should be a number of seconds.") from exc
    record = _record(body, site)
    if record is None:
        response.status_code = 404
        return Expiry(value=0)
    if record.status.terminal:
        site.ledger.expire(record.id, seconds)
    return Expiry(value=1)


@router.get("/files/{expires}/{signature}/{key:path}", response_class=Response)
def signed(expires: int, signature: str, key: str, site: SiteOf) -> Response:
    """Return a result; the address ends in its file's name, as old clients need it."""
    return file(key, site, expires, signature)


def _owner(site: Site, user: str) -> Owner:
    return Owner(user, site.settings.web_open_jobs)


def _record(body: Body, site: Site) -> Record | None:
    """Return the record of the job that a request names, if there is one."""
    key = body.get("hash")
    if not isinstance(key, str) or not key:
        raise InvalidRequest("the request has no 'hash'.")
    found = site.ledger.records([id_of(key)]) if is_text(key) else []
    return found[0] if found else None


def _result_link(record: Record, site: Site, request: Request) -> str | None:
    key = record.fields.get("output_file_name")
    return _link(key, site, request) if key and record.status is Status.DONE else None


def _link(key: str, site: Site, request: Request) -> str:
    return base_url(site, request) + site.signer.plain_path(key)
