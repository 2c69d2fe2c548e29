"""A job's record as the web service shows it."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, quote

from fastapi import Request
from pydantic import BaseModel

from kiosk_tasks.archive_jobs import ARCHIVE_END
from kiosk_tasks.job import Source, Status
from kiosk_tasks.ledger import Record
from kiosk_tasks.web.errors import ErrorJson
from kiosk_tasks.web.site import Site, base_url, own_link

__all__ = ["ErrorJson", "JobJson", "JobsJson", "Units", "Urls", "job_json", "output_url"]


class Units(BaseModel):
    """Tiles, frames or files, whatever the job counts."""

    done: int
    total: int


class Urls(BaseModel):
    """Where more of the job is; null where there is none (yet)."""

    self: str
    events: str
    result: str | None
    files: str | None
    overlay: str | None
    view: str | None


class JobJson(BaseModel):
    """One job."""

    id: str
    type: str
    name: str
    status: Status
    ended: bool
    progress: int
    units: Units | None
    created_at: str
    started_at: str | None
    finished_at: str | None
    seconds: dict[str, float]
    reason: str | None
    failures: dict[str, str]
    params: dict[str, Any]
    input: str
    user: str | None
    urls: Urls
    output_url: str | None


class JobsJson(BaseModel):
    """Some jobs, newest first, and the cursor to those before them."""

    jobs: list[JobJson]
    next: str | None


def job_json(record: Record, site: Site, request: Request) -> JobJson:
    """Return a record as clients see it; no server's path is in it."""
    fields, status = record.fields, record.status
    done = fields.get("units_done", "")
    return JobJson(
        id=record.id,
        type=fields["job_type"],
        name=fields["original_name"],
        status=status,
        ended=status.terminal,
        progress=record.progress,
        units=Units(done=int(done), total=int(fields["units_total"])) if done else None,
        created_at=_utc(fields["created_at"]) or "",
        started_at=_utc(fields.get("started_at")),
        finished_at=_utc(fields.get("finished_at")),
        seconds=record.seconds(),
        reason=fields.get("reason") or None,
        failures=dict(parse_qsl(fields.get("failures", ""))),
        params={k: v for k, v in record.payload.items() if k not in Source.model_fields},
        input=fields["input_file_name"],
        user=fields.get("user") or None,
        urls=_urls(record),
        output_url=output_url(record, site, request),
    )


def output_url(record: Record, site: Site, request: Request) -> str | None:
    """Return where a browser fetches the result, without further rights and for a while."""
    key = record.fields.get("output_file_name")
    if not key or record.status is not Status.DONE:
        return None
    own = own_link(site.storage, key)
    return own or base_url(site, request) + site.signer.path(key)


def _urls(record: Record) -> Urls:
    here = f"/jobs/{quote(record.id, safe='')}"
    done = record.status is Status.DONE
    single = done and not record.fields["job_type"].endswith(ARCHIVE_END)
    return Urls(
        self=here,
        events=f"{here}/events",
        result=f"{here}/result" if done else None,
        files=f"{here}/files" if done else None,
        overlay=f"{here}/overlay.png" if single else None,
        view=f"{here}/view" if single else None,
    )


def _utc(moment: str | None) -> str | None:
    return moment.replace("+00:00", "Z") if moment else None
