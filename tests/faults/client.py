"""This test process as a client of a site: its own Celery application, under its settings."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any

import pytest

from kiosk_tasks.jobs import declared
from kiosk_tasks.ledger import Ledger
from kiosk_tasks.settings import Settings
from kiosk_tasks.wiring import make_ledger
from tests.conftest import forget_adapters
from tests.faults.site import INPUT, Site

__all__ = ["Client", "client_of"]

_FRESH = ("celeryconfig", "kiosk_tasks.service")
_FRESH_PACKAGE = "kiosk_tasks.run."


class Client:
    """Submits jobs; reads their records."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.app = import_module("kiosk_tasks").app
        self.settings = Settings.load()
        self.ledger = self.new_ledger()

    def new_ledger(self) -> Ledger:
        """Return another connection to the ledger, for another thread."""
        return make_ledger(self.settings)

    def submit(
        self,
        job_type: str,
        *,
        job_id: str | None = None,
        options: Mapping[str, Any] | None = None,
        **params: Any,
    ) -> str:
        """Submit a job on the site's input; return its id. options: Celery's, of the message."""
        task = getattr(import_module("kiosk_tasks"), job_type)
        fields = {"input_file_name": INPUT, **params}
        return str(task.apply_async(kwargs=fields, task_id=job_id, **options or {}).id)

    def close(self) -> None:
        self.ledger._redis.close()
        self.app.close()


@contextmanager
def client_of(site: Site) -> Iterator[Client]:
    """Let this process be a client of that site."""
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        for name, value in site.env.items():
            patch.setenv(name, value)
        patch.syspath_prepend(str(site.plugin))
        _forget_application()
        stack.callback(_forget_application)
        client = Client(site)
        stack.callback(client.close)
        client.app.finalize()
        yield client


def _forget_application() -> None:
    """Let the next use of the application read its settings anew."""
    forget_adapters()
    declared.cache_clear()
    for name in list(sys.modules):
        if name in _FRESH or name.startswith(_FRESH_PACKAGE):
            del sys.modules[name]
