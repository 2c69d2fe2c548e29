"""The web service as one ASGI application."""

from __future__ import annotations

import secrets

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from kiosk_tasks import __version__
from kiosk_tasks.settings import Settings
from kiosk_tasks.signed_links import Signer
from kiosk_tasks.web.access import Gate
from kiosk_tasks.web.errors import RESPONSES, add_error_handlers
from kiosk_tasks.web.metrics import add_metrics
from kiosk_tasks.web.patience import Patience
from kiosk_tasks.web.routes import (
    catalogue,
    events,
    files,
    health,
    inspect,
    jobs,
    old,
    page,
    results,
    view,
)
from kiosk_tasks.web.safe_headers import SafeHeaders
from kiosk_tasks.web.site import Site
from kiosk_tasks.web.token_in_path import TokenInPath
from kiosk_tasks.web.turnstile import Turnstile
from kiosk_tasks.web.uploads import Uploads
from kiosk_tasks.wiring import Adapters, adapters

__all__ = ["create_app"]


def create_app(settings: Settings | None = None, *, outside: Adapters | None = None) -> FastAPI:
    """Return the application.

    settings, outside: by default what this process's environment says.
    """
    settings = settings or Settings.load()
    outside = outside or adapters()
    secret = settings.link_secret.get_secret_value() or secrets.token_hex(32)
    app = FastAPI(
        title="kiosk-tasks",
        version=__version__,
        description="Run microscopy image models through a queue.",
        docs_url=None,  # the page brings its own, which needs no other server
        redoc_url=None,
        responses=RESPONSES,
        redirect_slashes=False,
    )
    app.state.site = Site(
        settings=settings,
        storage=outside.storage,
        ledger=outside.ledger,
        signer=Signer(secret, seconds=settings.link_seconds),
        uploads=Uploads(outside.storage, max_bytes=settings.max_file_bytes),
    )
    add_error_handlers(app)
    _guard(app, settings)
    groups = (jobs, events, results, view, inspect, catalogue, health, files, old, page)
    for group in groups:  # the page last: it takes what is left
        app.include_router(group.router)
    add_metrics(app)  # around all else: what is refused counts, too
    return app


def _guard(app: FastAPI, settings: Settings) -> None:
    """Put what every request passes around the routes; the last is the outermost."""
    app.add_middleware(Gate, settings=settings)
    app.add_middleware(Turnstile)  # before the gate, which counts how often each user asks
    app.add_middleware(TokenInPath)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key"],
            expose_headers=["Location", "Retry-After"],
        )
    app.add_middleware(Patience, max_file_bytes=settings.max_file_bytes)
    app.add_middleware(SafeHeaders)
