"""What a finished job leaves: the whole result, its files one by one, its overlay."""

from __future__ import annotations

from functools import partial
from pathlib import PurePosixPath
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import BaseModel

from kiosk_tasks.archive_jobs import ARCHIVE_END
from kiosk_tasks.errors import MissingObject
from kiosk_tasks.job import Status
from kiosk_tasks.ledger import Record
from kiosk_tasks.outputs import stem_of
from kiosk_tasks.web.errors import NoResult
from kiosk_tasks.web.job_json import ErrorJson
from kiosk_tasks.web.kept import kept
from kiosk_tasks.web.media_types import IMAGES, media_type
from kiosk_tasks.web.ranges import Content, send
from kiosk_tasks.web.results_cache import Directories, Directory, Member, read_object
from kiosk_tasks.web.site import Site, SiteOf

__all__ = ["directories", "result_of", "router"]

router = APIRouter(tags=["results"])

_OVERLAY = "_overlay.png"
_BYTES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"*/*": {}}, "description": "The bytes."},
    206: {"content": {"*/*": {}}, "description": "The range asked for."},
    304: {"description": "The client has these bytes already."},
    416: {"model": ErrorJson, "description": "The range lies behind the end."},
}
_MISSING: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorJson, "description": "No such job or file, or no result (yet)."},
    422: {"model": ErrorJson, "description": "The result's archive is damaged."},
}


class FileJson(BaseModel):
    """One file of a result."""

    name: str
    bytes: int
    media_type: str
    url: str


class FilesJson(BaseModel):
    """The files of a result, in the order in which they were written."""

    files: list[FileJson]


async def directories(request: Request, site: SiteOf) -> Directories:
    """Return this service's cache of the directories of results."""
    return kept(request, "directories", lambda: Directories(site.storage))


DirectoriesOf = Annotated[Directories, Depends(directories)]


def result_of(record: Record) -> str:
    """Return the key of a job's result; raises NoResult, which says why there is none."""
    status, name = record.status, record.fields.get("original_name", "")
    if status in (Status.FAILED, Status.CANCELLED):
        reason = record.fields.get("reason", "").strip().rpartition("\n")[2]
        told = f" It {status}: {reason}" if status is Status.FAILED and reason else ""
        raise NoResult(f"the job of {name} is {status} and has no result.{told}")
    key = record.fields.get("output_file_name")
    if status is not Status.DONE or not key:
        raise NoResult(
            f"the job of {name} has no result yet: it is {status}, {record.progress} %. "
            "Ask again when it is done."
        )
    return key


@router.get(
    "/jobs/{job_id}/result",
    response_class=Response,
    responses={
        **_BYTES,
        **_MISSING,
        307: {"description": "With redirect=true: the bucket's own link, where it has one."},
    },
)
def result(job_id: str, request: Request, site: SiteOf, redirect: bool = False) -> Response:
    """Fetch the whole result, named after the input; ranges are answered."""
    key = result_of(site.ledger.record(job_id))
    name = PurePosixPath(key).name
    url = site.storage.url(key, name=name) if redirect else ""
    if urlsplit(url).scheme in ("http", "https"):
        return RedirectResponse(url, 307)
    content = Content(
        name=name,
        size=_there(site, key),
        media_type=media_type(name),
        tag=job_id,
        read=partial(read_object, site.storage, key),
    )
    return send(content, request)


@router.get("/jobs/{job_id}/files", responses=_MISSING)
def files(job_id: str, site: SiteOf, found: DirectoriesOf) -> FilesJson:
    """List the files of the result."""
    directory = _opened(found, site.ledger.record(job_id))
    here = f"/jobs/{quote(job_id, safe='')}/files/"
    return FilesJson(
        files=[
            FileJson(
                name=member.name,
                bytes=member.size,
                media_type=media_type(member.name),
                url=here + quote(member.name),
            )
            for member in directory.members.values()
        ]
    )


@router.get(
    "/jobs/{job_id}/files/{name:path}", response_class=Response, responses={**_BYTES, **_MISSING}
)
def file(job_id: str, name: str, request: Request, site: SiteOf, found: DirectoriesOf) -> Response:
    """Fetch one file of the result; ranges are answered."""
    directory = _opened(found, site.ledger.record(job_id))
    if name not in directory.members:
        raise NoResult(f"the result has no file {name!r}; /jobs/{job_id}/files lists those it has.")
    return _send_member(directory, directory.members[name], job_id, request, site)


@router.get(
    "/jobs/{job_id}/overlay.png",
    response_class=Response,
    responses={**_BYTES, **_MISSING, 200: {"content": {"image/png": {}}, "description": "A PNG."}},
)
def overlay(job_id: str, request: Request, site: SiteOf, found: DirectoriesOf) -> Response:
    """Fetch the picture of what was found, drawn on the image."""
    record = site.ledger.record(job_id)
    directory = _opened(found, record)
    pictures = [one for one in directory.members.values() if one.name.endswith(_OVERLAY)]
    if record.fields.get("job_type", "").endswith(ARCHIVE_END) or not pictures:
        raise NoResult(
            f"this job has no overlay of its own; /jobs/{job_id}/files lists what it has."
        )
    whole = f"{stem_of(record.fields.get('original_name', ''))}{_OVERLAY}"
    best = next((one for one in pictures if one.name == whole), pictures[0])
    return _send_member(directory, best, job_id, request, site)


def _opened(found: Directories, record: Record) -> Directory:
    key = result_of(record)
    try:
        return found.of(key)
    except MissingObject as exc:
        raise _gone() from exc


def _there(site: Site, key: str) -> int:
    try:
        return site.storage.size(key)
    except MissingObject as exc:
        raise _gone() from exc


def _gone() -> NoResult:
    return NoResult("the result is gone from the bucket. Submit the job again.")


def _send_member(
    directory: Directory, member: Member, job_id: str, request: Request, site: Site
) -> Response:
    content = Content(
        name=PurePosixPath(member.name).name,
        size=member.size,
        media_type=media_type(member.name),
        tag=f"{job_id}-{member.tag}",
        read=partial(directory.read, site.storage, member),
        inline=PurePosixPath(member.name).suffix.lower() in IMAGES,
    )
    return send(content, request)
