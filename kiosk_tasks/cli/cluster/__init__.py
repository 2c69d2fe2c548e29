"""`kiosk doctor --cluster`: what is misconfigured between processes and machines."""

from __future__ import annotations

from contextlib import ExitStack
from uuid import uuid4

from kombu.exceptions import OperationalError

from kiosk_tasks.cli.cluster.broker import examine_broker
from kiosk_tasks.cli.cluster.models import examine_models
from kiosk_tasks.cli.cluster.watching import examine_watching
from kiosk_tasks.cli.cluster.work import examine_work
from kiosk_tasks.cli.cluster.workers import examine_workers
from kiosk_tasks.cli.finding import Finding
from kiosk_tasks.errors import KioskError
from kiosk_tasks.redis_clients import mapped_broker_errors, redis_client
from kiosk_tasks.settings import Settings
from kiosk_tasks.storage import from_url

__all__ = ["examine_cluster"]


def examine_cluster(settings: Settings) -> list[Finding]:
    """Look at what `examine` does not: whether all processes agree, and what watches them."""
    url = settings.broker_url
    with ExitStack() as life:
        client = life.enter_context(
            redis_client(url, **settings.way_to(url), timeout_s=5, retries=0)
        )
        try:
            with mapped_broker_errors():
                return [
                    *examine_broker(settings, client),
                    _workspace(settings),
                    *examine_workers(settings, client),
                    *examine_work(settings),
                    *examine_models(settings),
                    *examine_watching(settings),
                ]
        except (KioskError, OperationalError) as exc:
            return [Finding(False, f"no more could be looked at: {exc}")]


def _workspace(settings: Settings) -> Finding:
    """Try the place where values wait between links, as `examine` tries the bucket."""
    where, key = f"workspace {settings.workspace_url.shown}", f"doctor-{uuid4().hex}"
    try:
        storage = from_url(settings.workspace_url)
        storage.put(key, b"")
        storage.delete(key)
    except KioskError as exc:
        return Finding(False, f"{where}: {exc}")
    return Finding(True, f"{where} answers")
