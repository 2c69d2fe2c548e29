"""`kiosk doctor`: what is missing or misconfigured, each with the way out."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from urllib.parse import urlsplit
from uuid import uuid4

import redis
from kombu.exceptions import OperationalError

from kiosk_tasks import service
from kiosk_tasks.cli.finding import Finding
from kiosk_tasks.errors import KioskError
from kiosk_tasks.jobs import job_types, task_types
from kiosk_tasks.redaction import without_password
from kiosk_tasks.redis_clients import mapped_broker_errors, redis_client
from kiosk_tasks.run.links import queue_names
from kiosk_tasks.settings import Settings, host_of, is_loopback
from kiosk_tasks.wiring import adapters

__all__ = ["examine"]

_LATE_S = 60.0
"""A reaper that has not looked for so long is taken for gone."""
_WITHOUT_MEANING = ("INTERVAL", "EMPTY_QUEUE_TIMEOUT", "QUEUE", "CONSUMER_TYPE", "GRPC_BACKOFF")
"""The old Kiosk's settings that nothing reads: a worker no longer polls."""


def examine(settings: Settings) -> list[Finding]:
    """Look at Python, job types, broker, bucket, model server and forgotten settings."""
    version = ".".join(map(str, sys.version_info[:3]))
    findings = [
        Finding(True, f"Python {version}"),
        Finding(True, f"job types: {', '.join(job_types())}"),
        Finding(True, f"queues: {', '.join(queue_names(task_types(), settings.stage_queues))}"),
        *_broker(settings),
        _attempt("bucket", settings.bucket_url.shown, _write_and_delete),
        _attempt("model server", settings.model_server, _ask_model),
    ]
    findings += [
        Finding(False, f"{name} is set, but has no meaning any more; remove it.")
        for name in _WITHOUT_MEANING
        if name in os.environ
    ]
    return findings


def _broker(settings: Settings) -> list[Finding]:
    where = without_password(settings.broker_url)
    exposed = _exposed("broker", settings.broker_url, settings)
    if settings.ledger_url:
        exposed += _exposed("ledger", settings.ledger_url, settings)
    url, way = settings.broker_url, settings.way_to(settings.broker_url)
    try:
        with redis_client(url, **way, timeout_s=5, retries=0) as client, mapped_broker_errors():
            client.ping()
            return [
                Finding(True, f"broker {where} answers"),
                *exposed,
                *_workers(settings),
                _reaper(settings),
                *_persistence(client),
            ]
    except KioskError as exc:
        return [Finding(False, f"broker {where}: {exc}"), *exposed]


def _reaper(settings: Settings) -> Finding:
    try:
        ago_s = service.seconds_since_reaping()
    except KioskError as exc:
        return Finding(False, f"ledger: {exc}")
    if ago_s is not None and ago_s < max(_LATE_S, 4 * settings.reap_every_s):
        return Finding(True, f"lost jobs were last looked for {ago_s:.0f} s ago")
    when = "never" if ago_s is None else f"{ago_s:.0f} s ago"
    return Finding(
        False, f"lost jobs were last looked for: {when}; start `kiosk reap --every 15` somewhere."
    )


def _exposed(what: str, url: str, settings: Settings) -> list[Finding]:
    """Say what anyone on the way to a server on another machine could do."""
    if is_loopback(host_of(url)):
        return []
    encrypted, login = settings.tls(url), urlsplit(url).password
    return [
        Finding(True, f"{what} is reached over TLS")
        if encrypted
        else Finding(
            False,
            f"{what} is reached over the network without TLS: whoever listens reads passwords "
            "and jobs; use rediss:// or KIOSK_SENTINEL_TLS, see docs/security.md.",
        ),
        Finding(True, f"{what} is reached with a password")
        if login
        else Finding(
            False,
            f"{what} is reached over the network without a password: whoever gets there can run "
            "jobs and read results; see docs/security.md.",
        ),
    ]


def _persistence(client: redis.Redis) -> list[Finding]:
    try:
        persistent = client.config_get("appendonly").get("appendonly") == "yes"
        policy = client.config_get("maxmemory-policy").get("maxmemory-policy")
    except redis.exceptions.NoPermissionError:
        return [Finding(True, "broker keeps its settings from this user; ask as kiosk-admin")]
    return [
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
    try:
        consumed = service.consumers()
    except OperationalError as exc:
        return [
            Finding(
                False,
                f"workers cannot be asked through the broker: {exc}. Is its user file made for "
                "this database and KIOSK_KEY_PREFIX? See docs/security.md, users.",
            )
        ]
    return [
        Finding(True, f"queue {queue} is consumed by {consumed[queue]} worker(s)")
        if queue in consumed
        else _nobody(queue, autoscaled=settings.autoscaled)
        for queue in queue_names(task_types(), settings.stage_queues)
    ]


def _nobody(queue: str, *, autoscaled: bool) -> Finding:
    if autoscaled:
        return Finding(True, f"queue {queue} has no worker now; one is started when a job comes")
    return Finding(
        False,
        f"no worker consumes the queue {queue}, jobs on it wait; "
        f"start one: celery -A kiosk_tasks worker -Q {queue}",
    )


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
