"""Signed links into a local bucket."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from fastapi import APIRouter
from fastapi.responses import FileResponse, RedirectResponse, Response

from kiosk_tasks.errors import MissingObject
from kiosk_tasks.web.errors import LinkExpired
from kiosk_tasks.web.media_types import media_type
from kiosk_tasks.web.site import SiteOf

__all__ = ["router"]

router = APIRouter(tags=["results"])


_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The object.", "content": {"*/*": {}}},
    206: {"description": "A part of it, as `Range` asks for."},
    302: {"description": "Where the bucket itself gives it."},
    416: {"description": "It has no such part."},
}


@router.get("/files/{key:path}", response_class=Response, responses=_ANSWERS)
def file(key: str, site: SiteOf, expires: int = 0, signature: str = "") -> Response:
    """Return an object of the bucket to whoever has a signed link to it."""
    if not site.signer.allows(key, expires, signature):
        raise LinkExpired(
            "this link has expired or is not complete; look at the job again for one."
        )
    if not site.storage.exists(key):
        raise MissingObject(f"the bucket has no object {key!r}.")
    url = urlsplit(site.storage.url(key))
    if url.scheme != "file":
        return RedirectResponse(url.geturl(), 302)
    path = Path(unquote(url.path))
    return FileResponse(path, filename=path.name, media_type=media_type(path.name))
