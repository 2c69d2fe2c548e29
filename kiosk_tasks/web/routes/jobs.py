"""Jobs: submit, look, list, cancel, retry."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any
from uuid import uuid4

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from kiosk_tasks import service
from kiosk_tasks.web.job_json import JobJson, JobsJson, job_json
from kiosk_tasks.web.site import SiteOf
from kiosk_tasks.web.uploads import safe_name

__all__ = ["router"]

router = APIRouter(tags=["jobs"])


@router.post("/jobs/{type_name}", status_code=202)
async def submit(type_name: str, request: Request, response: Response, site: SiteOf) -> JobJson:
    """Submit a job: JSON that names a key of the bucket, or a form with a file."""
    if request.headers.get("content-type", "").startswith("multipart/"):
        form = await request.form()
        fields: dict[str, Any] = {k: v for k, v in form.multi_items() if isinstance(v, str)}
        file: Any = form["file"]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / safe_name(file.filename or "file")
            path.write_bytes(await file.read())
            key = f"uploads/{uuid4().hex}/{path.name}"
            await run_in_threadpool(site.storage.upload, key, path)
        fields |= {"input_file_name": key, "original_name": file.filename}
    else:
        fields = await request.json()
    job = await run_in_threadpool(service.submit, type_name, fields)
    record = await run_in_threadpool(service.status, job.id)
    response.headers["Location"] = f"/jobs/{job.id}"
    return job_json(record, site, request)


@router.get("/jobs")
def list_jobs(request: Request, site: SiteOf, limit: int = 50) -> JobsJson:
    """List the newest jobs."""
    records = service.newest(limit)
    return JobsJson(jobs=[job_json(record, site, request) for record in records], next=None)


@router.get("/jobs/{job_id}")
def job(job_id: str, request: Request, site: SiteOf) -> JobJson:
    """Look at a job."""
    return job_json(service.status(job_id), site, request)


@router.delete("/jobs/{job_id}")
def cancel(job_id: str, request: Request, site: SiteOf) -> JobJson:
    """Cancel a job."""
    service.cancel(job_id)
    return job_json(service.status(job_id), site, request)
