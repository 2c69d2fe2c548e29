"""What the header of an image file says, before it is sent as the input of a job."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from kiosk_tasks.errors import FileTooLarge
from kiosk_tasks.imaging.header import Header, read_header
from kiosk_tasks.imaging.limits import ImageLimits, spaced
from kiosk_tasks.scratch import scratch_folder
from kiosk_tasks.web.errors import InvalidRequest
from kiosk_tasks.web.job_json import ErrorJson
from kiosk_tasks.web.site import Site, SiteOf

__all__ = ["router"]

router = APIRouter(tags=["view"])

_MOST_BYTES = 2**24
"""Of a request: enough for the headers of any file, of which the beginning will do."""

_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            }
        },
    },
    "parameters": [
        {
            "name": "X-File-Truncated",
            "in": "header",
            "required": False,
            "schema": {"type": "string", "enum": ["1"]},
            "description": "The file goes on behind what is sent.",
        }
    ],
}


class HeaderJson(BaseModel):
    """What a file says of itself; null is what it does not say. mpp: µm per pixel."""

    axes: str | None
    shape: list[int] | None
    dtype: str | None
    mpp: float | None


@router.post(
    "/inspect",
    openapi_extra=_FORM,
    responses={
        400: {"model": ErrorJson, "description": "No form with a file."},
        413: {"model": ErrorJson, "description": "Too much was sent."},
    },
)
async def inspect(request: Request, site: SiteOf) -> HeaderJson:
    """Read the header of an image; the first 4 MB of the file are enough.

    A file that is no image, or cannot be read, gives nulls and no error.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise InvalidRequest('send a form with the file in its field "file".')
    try:
        form = await MultiPartParser(request.headers, _limited(request), max_files=1).parse()
    except (MultiPartException, LookupError, ValueError) as exc:
        raise InvalidRequest(f"the form cannot be read ({exc}).") from exc
    try:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise InvalidRequest('the form has no file in its field "file".')
        whole = request.headers.get("x-file-truncated") != "1"
        header = await run_in_threadpool(_header, file, site, whole=whole)
    finally:
        await form.close()
    shape = None if header.shape is None else list(header.shape)
    return HeaderJson(axes=header.axes, shape=shape, dtype=header.dtype, mpp=header.mpp)


async def _limited(request: Request) -> AsyncGenerator[bytes]:
    """Yield the body; raises FileTooLarge as soon as it is too long."""
    total = 0
    async for chunk in request.stream():
        total += len(chunk)
        if total > _MOST_BYTES:
            raise FileTooLarge(
                f"more than {spaced(_MOST_BYTES)} bytes were sent; send the first 4 MB of the file "
                "with the header X-File-Truncated: 1."
            )
        yield chunk


def _header(file: UploadFile, site: Site, *, whole: bool) -> Header:
    settings = site.settings
    limits = ImageLimits(settings.max_pixels, settings.max_frames, settings.max_file_bytes)
    with scratch_folder(settings.scratch) as folder:
        path = folder / "file"
        with path.open("wb") as target:
            while chunk := file.file.read(2**20):
                target.write(chunk)
        return read_header(path, name="the file", limits=limits, whole=whole)
