"""Signed links into a local bucket."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from fastapi import APIRouter
from fastapi.responses import FileResponse, RedirectResponse, Response

from kiosk_tasks.errors import MissingObject
from kiosk_tasks.web.errors import LinkExpired
from kiosk_tasks.web.site import SiteOf

__all__ = ["router"]

router = APIRouter(tags=["results"])


@router.get("/files/{key:path}", response_class=Response)
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
    return FileResponse(path, filename=path.name, media_type="application/octet-stream")
