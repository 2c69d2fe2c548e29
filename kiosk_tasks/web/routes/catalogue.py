"""What the service offers: job types, models, and how it is asked."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, Field

from kiosk_tasks.web.catalogue import described, served_models
from kiosk_tasks.web.docs_page import HEADERS, docs_page
from kiosk_tasks.web.job_json import ErrorJson
from kiosk_tasks.web.kept import kept
from kiosk_tasks.web.lately import Lately
from kiosk_tasks.web.site import SiteOf

__all__ = ["router"]

router = APIRouter(tags=["catalogue"])

_MODELS_S = 5.0
"""So long an answer about models is given again, be it that there is none."""

Models = dict[str, list[str]]


class JobTypeJson(BaseModel):
    """One job type. mpp: the pixel size its model was trained at, µm per pixel."""

    name: str
    title: str
    queue: str
    aliases: list[str]
    accepts: list[str] = Field(description="Endings of the files that it reads.")
    models: list[str]
    mpp: float | None
    form: dict[str, Any] = Field(
        alias="schema", description="JSON Schema of its parameters, in the order of a form."
    )


class JobTypesJson(BaseModel):
    """All job types; archives of their inputs are submitted under the same names."""

    job_types: list[JobTypeJson]


class ModelsJson(BaseModel):
    """The versions of each model that the model server answers with."""

    models: Models


async def _models(request: Request, site: SiteOf) -> Lately[Models]:
    ask = partial(served_models, site.settings, site.storage)
    return kept(request, "models", lambda: Lately(ask, seconds=_MODELS_S))


@router.get("/job-types")
async def job_types() -> JobTypesJson:
    """List what can be done with an image."""
    return JobTypesJson(job_types=[JobTypeJson(**one) for one in described()])


@router.get(
    "/models",
    responses={503: {"model": ErrorJson, "description": "The model server does not answer."}},
)
def models(lately: Annotated[Lately[Models], Depends(_models)]) -> ModelsJson:
    """List the models that are served."""
    return ModelsJson(models=lately())


@router.get("/docs", include_in_schema=False)
def docs(request: Request) -> HTMLResponse:
    """Show every operation to a person."""
    base = str(request.base_url).rstrip("/")
    return HTMLResponse(docs_page(request.app.openapi(), base), headers=HEADERS)
