"""What the page and napari draw of a finished job."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from pydantic import BaseModel

from kiosk_tasks.archive_jobs import ARCHIVE_END
from kiosk_tasks.imaging.limits import ImageLimits
from kiosk_tasks.imaging.preview import preview_scale
from kiosk_tasks.ledger import Record
from kiosk_tasks.web.errors import NoResult
from kiosk_tasks.web.job_json import ErrorJson
from kiosk_tasks.web.kept import kept
from kiosk_tasks.web.results_cache import Directories
from kiosk_tasks.web.routes.results import directories, result_of
from kiosk_tasks.web.site import SiteOf
from kiosk_tasks.web.views import Views
from kiosk_tasks.web.views_of import View

__all__ = ["router"]

router = APIRouter(tags=["view"])

_MISSING: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorJson, "description": "A frame that is no number."},
    404: {"model": ErrorJson, "description": "No such job or frame, or no result (yet)."},
    413: {"model": ErrorJson, "description": "Too large to be drawn here."},
    422: {"model": ErrorJson, "description": "The input or the result is damaged."},
}
_SAME: dict[int | str, dict[str, Any]] = {304: {"description": "The client has it already."}}
_PNG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/png": {}}, "description": "A PNG."},
    **_SAME,
    **_MISSING,
}
_NO_NAME = "-"
"""In an address, the one label image of a job that has no name."""


class LabelsJson(BaseModel):
    """A label image; `{frame}` in its address is a number from 0. Count: of cells or tracks."""

    name: str
    count: int | None
    url: str


class ViewJson(BaseModel):
    """What there is to draw; `{frame}` in addresses is a number from 0.

    Scale: pixels of the pictures per pixel of the image.
    """

    width: int
    height: int
    frames: int
    mpp: float | None
    image: str
    labels: list[LabelsJson]
    tracks: str | None
    spots: str | None
    scale: float


class TrackJson(BaseModel):
    """A cell's way; points are [frame, y, x], px."""

    id: int
    parent: int | None
    points: list[tuple[int, float, float]]


class TracksJson(BaseModel):
    """The tracks of a movie."""

    tracks: list[TrackJson]


class SpotsJson(BaseModel):
    """Places of spots, [y, x], px, and the cell (0: none) and frame of each where there are any."""

    spots: list[tuple[float, float]]
    cells: list[int] | None
    frames: list[int] | None
    total: int


def _views(
    request: Request, site: SiteOf, found: Annotated[Directories, Depends(directories)]
) -> Views:
    settings = site.settings
    limits = ImageLimits(settings.max_pixels, settings.max_frames, settings.max_file_bytes)

    def make() -> Views:
        return Views(site.storage, found, limits=limits, scratch=settings.scratch)

    return kept(request, "views", make)


ViewsOf = Annotated[Views, Depends(_views)]


@router.get("/jobs/{job_id}/view", responses=_MISSING)
def view(job_id: str, site: SiteOf, views: ViewsOf) -> ViewJson:
    """Tell what there is to draw of a finished job."""
    found = _found(site.ledger.record(job_id), views)
    here = f"/jobs/{quote(job_id, safe='')}/view"
    height, width = found.size
    return ViewJson(
        width=width,
        height=height,
        frames=found.frames,
        mpp=found.mpp,
        image=f"{here}/image/{{frame}}.png",
        labels=[
            LabelsJson(
                name=part.name,
                count=part.count,
                url=f"{here}/labels/{quote(part.name, safe='') or _NO_NAME}/{{frame}}.png",
            )
            for part in found.parts.values()
        ],
        tracks=f"{here}/tracks.json" if "tracks" in found.tables else None,
        spots=f"{here}/spots.json" if "spots" in found.tables else None,
        scale=preview_scale(found.size),
    )


@router.get("/jobs/{job_id}/view/image/{frame}.png", response_class=Response, responses=_PNG)
def image(job_id: str, frame: int, request: Request, site: SiteOf, views: ViewsOf) -> Response:
    """Draw a frame of the job's input in grey, at most 1024 px on its long side."""
    record = site.ledger.record(job_id)
    found = _found(record, views)
    key, name = record.fields["input_file_name"], record.fields.get("original_name") or "the input"
    return _send(request, "image/png", found, lambda: views.image(found, frame, key=key, name=name))


@router.get(
    "/jobs/{job_id}/view/labels/{name}/{frame}.png", response_class=Response, responses=_PNG
)
def labels(
    job_id: str, name: str, frame: int, request: Request, site: SiteOf, views: ViewsOf
) -> Response:
    """Draw a frame of a label image: label = R · 65536 + G · 256 + B; `-` is that of no name."""
    found = _found(site.ledger.record(job_id), views)
    part = "" if name == _NO_NAME else name
    return _send(request, "image/png", found, lambda: views.labels(found, part, frame))


@router.get(
    "/jobs/{job_id}/view/tracks.json",
    response_class=Response,
    responses={200: {"model": TracksJson}, **_SAME, **_MISSING},
)
def tracks(job_id: str, request: Request, site: SiteOf, views: ViewsOf) -> Response:
    """List the tracks of a movie, with each one's places."""
    found = _found(site.ledger.record(job_id), views)
    return _send(request, "application/json", found, lambda: views.tracks(found))


@router.get(
    "/jobs/{job_id}/view/spots.json",
    response_class=Response,
    responses={200: {"model": SpotsJson}, **_SAME, **_MISSING},
)
def spots(job_id: str, request: Request, site: SiteOf, views: ViewsOf) -> Response:
    """List the places of spots, 50 000 at most."""
    found = _found(site.ledger.record(job_id), views)
    return _send(request, "application/json", found, lambda: views.spots(found))


def _found(record: Record, views: Views) -> View:
    if record.fields.get("job_type", "").endswith(ARCHIVE_END):
        raise NoResult(
            "the job of an archive has many images and no view of its own; look at its files, "
            "or submit one of its images alone."
        )
    return views.of(result_of(record))


def _send(request: Request, media_type: str, found: View, draw: Any) -> Response:
    """Draw and send, unless the client has it: what is drawn of a result never changes."""
    facts = f"{request.url.path} {found.directory.key} {found.directory.size}"
    etag = f'"{hashlib.sha256(facts.encode()).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": "private, max-age=3600"}
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(draw(), media_type=media_type, headers=headers)
