"""From settings to adapters to a Context; the only reader of Settings while jobs run."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

from kiosk_tasks.choices import Choices
from kiosk_tasks.job import Context, Job, Limits
from kiosk_tasks.ledger import Heart, Ledger, Tallies
from kiosk_tasks.ports import ModelServer, Reporter, Storage
from kiosk_tasks.redis_clients import redis_client
from kiosk_tasks.serving.client import TensorFlowServing
from kiosk_tasks.serving.deployed import deployed
from kiosk_tasks.settings import Settings, host_of, is_loopback
from kiosk_tasks.signed_links import Signer
from kiosk_tasks.storage import from_url
from kiosk_tasks.workspace import Workspace

__all__ = [
    "Adapters",
    "adapters",
    "flush_tallies",
    "make_context",
    "make_ledger",
    "model_folders",
]

_MAX_ITEMS = 32
"""What the embedded model server runs at once (docs/decisions/0020-many-small-images.md)."""
_TALLIES_PATIENCE_S = 2.0
"""Counters that the ledger does not take by then are dropped."""


@dataclass(frozen=True)
class Adapters:
    """The outside world as this process reaches it."""

    storage: Storage
    workspace: Workspace
    models: ModelServer
    ledger: Ledger
    limits: Limits
    choices: Choices = field(default_factory=Choices)
    tallies: Tallies = field(default_factory=lambda: Tallies(None))
    max_retries: int = 5
    link: Callable[[str], str] | None = None
    """As for `Context`."""

    @cached_property
    def heart(self) -> Heart:
        """What renews the leases of the jobs that run in this process."""
        return Heart(self.ledger)


_made: dict[int, Adapters] = {}
"""By process: connections do not survive a fork, so each worker child makes its own."""


def adapters() -> Adapters:
    """Return this process's adapters, made on first use."""
    pid = os.getpid()
    if pid not in _made:
        _made.clear()
        _made[pid] = _make(Settings.load())
    return _made[pid]


def flush_tallies() -> None:
    """Write what this process has counted, if it has made adapters: it is about to end."""
    made = _made.get(os.getpid())
    if made is not None:
        made.tallies.close()


def make_ledger(settings: Settings) -> Ledger:
    """Return the ledger that the settings name."""
    url = settings.records_url
    return Ledger(
        redis_client(url, **settings.way_to(url)),
        prefix=settings.key_prefix,
        expires_s=settings.record_expires_s,
        lease_s=settings.lease_s,
        max_attempts=settings.max_attempts,
    )


def model_folders(settings: Settings) -> list[Path]:
    """Return the folders of models to serve: the user's own first, then those that come along."""
    own = [settings.models_dir] if settings.models_dir else []
    return [*own, Path(str(files("kiosk_tasks.serving") / "models"))]


def make_context(job: Job, report: Reporter, *, given: Adapters | None = None) -> Context[Any]:
    """Return what the stages of a job may use."""
    outside = given or adapters()
    return Context(
        job=job,
        params=job.params,
        storage=outside.storage,
        models=outside.models,
        report=report,
        limits=outside.limits,
        choices=outside.choices,
        link=outside.link,
    )


def _link(settings: Settings) -> Callable[[str], str] | None:
    """Return what makes links of the web service, where workers know what they look like.

    A cloud bucket's own link is better than one that only works on the web service's machine.
    """
    secret, public_url = settings.link_secret.get_secret_value(), settings.public_url
    if not (public_url and secret):
        return None
    if is_loopback(host_of(public_url)) and not settings.bucket_url.startswith("file:"):
        return None
    signer = Signer(secret, seconds=settings.link_seconds)
    return lambda key: public_url + signer.plain_path(key)


def _max_items(settings: Settings) -> int:
    """Return how many small tiles a request may have.

    Who says how many large ones may have said so because the server takes no more of any.
    """
    said = settings.max_batch if "max_batch" in settings.model_fields_set else _MAX_ITEMS
    return settings.max_items or said


def _tallies(settings: Settings) -> Tallies:
    url = settings.records_url
    client = redis_client(url, **settings.way_to(url), timeout_s=_TALLIES_PATIENCE_S, retries=0)
    return Tallies(client, prefix=settings.key_prefix)


def _make(settings: Settings) -> Adapters:
    tallies = _tallies(settings)

    def replied(model: str, tiles: int, seconds: float) -> None:
        slots = max(tiles, settings.max_batch)
        tallies.replied(model, tiles=tiles, slots=slots, seconds=seconds)

    return Adapters(
        storage=from_url(settings.bucket_url),
        workspace=Workspace(from_url(settings.workspace_url)),
        models=TensorFlowServing(
            settings.model_server,
            deadline_s=settings.grpc_timeout_s,
            in_flight=settings.in_flight,
            metadata_ttl_s=settings.metadata_ttl_s,
            wait_s=settings.model_wait_s,
            known_models=lambda: deployed(model_folders(settings)),
            on_reply=replied,
        ),
        ledger=make_ledger(settings),
        tallies=tallies,
        max_retries=settings.max_retries,
        link=_link(settings),
        choices=Choices(**{f.name: getattr(settings, f.name) for f in fields(Choices)}),
        limits=Limits(
            max_pixels=settings.max_pixels,
            max_whole_pixels=settings.max_whole_pixels,
            max_large_pixels=settings.max_large_pixels,
            max_batch=settings.max_batch,
            max_items=_max_items(settings),
            max_frames=settings.max_frames,
            max_file_bytes=settings.max_file_bytes,
            max_archive_members=settings.max_archive_members,
            max_archive_bytes=settings.max_archive_bytes,
            max_archive_ratio=settings.max_archive_ratio,
            scratch=settings.scratch,
        ),
    )
