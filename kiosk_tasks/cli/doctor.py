"""`kiosk doctor`: what is missing or misconfigured, each with the way out."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

import redis

from kiosk_tasks import service
from kiosk_tasks.errors import KioskError
from kiosk_tasks.jobs import job_types
from kiosk_tasks.run.links import queue_names
from kiosk_tasks.settings import Settings
from kiosk_tasks.wiring import adapters

__all__ = ["Finding", "examine"]

_WITHOUT_MEANING = ("INTERVAL", "EMPTY_QUEUE_TIMEOUT", "QUEUE", "CONSUMER_TYPE", "GRPC_BACKOFF")
"""The old Kiosk's settings that nothing reads: a worker no longer polls."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    ok: bool
    text: str


def examine(settings: Settings) -> list[Finding]:
    """Look at Python, job types, broker, bucket, model server and forgotten settings."""
    version = ".".join(map(str, sys.version_info[:3]))
    findings = [
        Finding(True, f"Python {version}"),
        Finding(True, f"job types: {', '.join(job_types())}"),
        Finding(True, f"queues: {', '.join(queue_names(job_types(), settings.stage_queues))}"),
        *_broker(settings),
        _attempt("bucket", settings.bucket_url, _write_and_delete),
        _attempt("model server", settings.model_server, _ask_model),
    ]
    findings += [
        Finding(False, f"{name} is set, but has no meaning any more; remove it.")
        for name in _WITHOUT_MEANING
        if name in os.environ
    ]
    return findings


def _broker(settings: Settings) -> list[Finding]:
    where = settings.broker_url.rpartition("@")[2]  # never show a password
    try:
        client = redis.Redis.from_url(
            settings.broker_url, decode_responses=True, socket_timeout=5, socket_connect_timeout=2
        )
        with client:
            persistent = client.config_get("appendonly").get("appendonly") == "yes"
            policy = client.config_get("maxmemory-policy").get("maxmemory-policy")
    except redis.RedisError:
        return [
            Finding(
                False, f"broker {where} does not answer; run `kiosk up` or set KIOSK_BROKER_URL."
            )
        ]
    return [
        Finding(True, f"broker {where} answers"),
        *_workers(settings),
        Finding(
            persistent,
            "broker writes every change to disk"
            if persistent
            else "broker has no append-only file: a crash loses jobs; set `appendonly yes`.",
        ),
        Finding(
            policy == "noeviction",
            "broker never evicts keys"
            if policy == "noeviction"
            else f"broker evicts keys ({policy}), jobs can vanish; set it to noeviction.",
        ),
    ]


def _workers(settings: Settings) -> list[Finding]:
    consumed = service.consumers()
    return [
        Finding(True, f"queue {queue} is consumed by {consumed[queue]} worker(s)")
        if queue in consumed
        else Finding(
            False,
            f"no worker consumes the queue {queue}, jobs on it wait; "
            f"start one: celery -A kiosk_tasks worker -Q {queue}",
        )
        for queue in queue_names(job_types(), settings.stage_queues)
    ]


def _attempt(what: str, where: str, attempt: Callable[[], None]) -> Finding:
    try:
        attempt()
    except KioskError as exc:
        return Finding(False, f"{what} {where}: {exc}")
    return Finding(True, f"{what} {where} answers")


def _write_and_delete() -> None:
    key, storage = f"uploads/doctor-{uuid4().hex}", adapters().storage
    storage.put(key, b"")
    storage.delete(key)


def _ask_model() -> None:
    for job_type in job_types().values():
        for model in job_type.models:
            adapters().models.signature(model.name, model.version)
