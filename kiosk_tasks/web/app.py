"""The web service as one ASGI application."""

from __future__ import annotations

import secrets

from fastapi import FastAPI

from kiosk_tasks import __version__
from kiosk_tasks.settings import Settings
from kiosk_tasks.web.errors import add_error_handlers
from kiosk_tasks.web.links import Signer
from kiosk_tasks.web.metrics import add_metrics
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
from kiosk_tasks.web.site import Site
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
    )
    app.state.site = Site(
        settings=settings,
        storage=outside.storage,
        ledger=outside.ledger,
        signer=Signer(secret, seconds=settings.link_seconds),
    )
    add_error_handlers(app)
    groups = (jobs, events, results, view, inspect, catalogue, health, files, old, page)
    for group in groups:  # the page last: it takes what is left
        app.include_router(group.router)
    add_metrics(app)  # around all else: what is refused counts, too
    return app
