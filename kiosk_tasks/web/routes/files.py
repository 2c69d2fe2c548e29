"""Signed links into a local bucket."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from fastapi import APIRouter
from fastapi.responses import FileResponse, RedirectResponse, Response, StreamingResponse

from kiosk_tasks.errors import MissingObject
from kiosk_tasks.web.errors import LinkExpired
from kiosk_tasks.web.media_types import media_type
from kiosk_tasks.web.site import SiteOf, own_link

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
    own = own_link(site.storage, key)
    if own is not None:
        return RedirectResponse(own, 302)
    name = key.rpartition("/")[2]
    kind = media_type(name)
    if site.settings.bucket_url.startswith("file:"):
        path = Path(unquote(urlsplit(site.storage.url(key)).path))
        return FileResponse(path, filename=name, media_type=kind)
    headers = {
        "Content-Disposition": f"attachment; filename*=utf-8''{quote(name, safe='')}",
        "Content-Length": str(site.storage.size(key)),
    }
    return StreamingResponse(site.storage.open(key), headers=headers, media_type=kind)
