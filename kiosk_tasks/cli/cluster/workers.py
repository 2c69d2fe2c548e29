"""The workers that answer: whether they agree with each other and with this process."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import redis

from kiosk_tasks.cli.cluster.broker import SKEW_S
from kiosk_tasks.cli.finding import Finding, wrong_or
from kiosk_tasks.jobs import task_types
from kiosk_tasks.run.chain import app
from kiosk_tasks.run.reports import REPORT, report
from kiosk_tasks.settings import Settings
from kiosk_tasks.wiring import adapters

__all__ = ["examine_workers"]

_PATIENCE_S = 2.0
_HERE = "this process"
_ALL_AGREE = {
    "version": "the release",
    "links": "KIOSK_LINKS",
    "stage_queues": "KIOSK_STAGE_QUEUES",
    "max_batch": "KIOSK_MAX_BATCH",
    "lease": "KIOSK_LEASE",
    "visibility_timeout": "KIOSK_VISIBILITY_TIMEOUT",
    "max_attempts": "KIOSK_MAX_ATTEMPTS",
    "bucket": "KIOSK_BUCKET",
    "workspace": "KIOSK_WORKSPACE",
}
_WORKERS_AGREE = {"ledger": "KIOSK_LEDGER_URL", "model_server": "KIOSK_MODEL_SERVER"}
"""The way there may be another one from here, through a tunnel say."""
_PUT_BACK_S = 15
"""What a worker needs after its soft shutdown to put its jobs back and end."""


@dataclass(frozen=True)
class _Seen:
    """What workers answered: their reports by name, their queues, how many jobs each does."""

    reports: Mapping[str, Mapping[str, Any]]
    queues: Mapping[str, set[str]]
    processes: Mapping[str, int]
    twice: tuple[str, ...] = ()


def examine_workers(settings: Settings, client: redis.Redis) -> list[Finding]:
    """Ask all workers for their settings, and compare."""
    key = f"uploads/doctor-{uuid4().hex}"
    is_folder = settings.bucket_url.startswith("file:")
    if is_folder:
        adapters().storage.put(key, b"")
    try:
        now_s = float(client.time()[0])
        seen = _ask(key if is_folder else "")
    finally:
        if is_folder:
            adapters().storage.delete(key)
    if not seen.queues:
        return [
            Finding(
                settings.autoscaled,
                "no worker answers; they come with the jobs"
                if settings.autoscaled
                else "no worker answers; start one, or see whether its log can reach the broker.",
            )
        ]
    return [
        *wrong_or(
            [*_silent(seen), *_differences(seen)],
            f"{len(seen.queues)} worker(s) have this release and these settings",
        ),
        *wrong_or(_types(seen), "each job type has a worker that knows it, where any runs"),
        *wrong_or(_clocks(seen, now_s), "the workers' clocks agree with the broker's"),
        *wrong_or(_ends(seen), "workers that are told to end put their jobs back"),
        *(_slots(settings, seen) if settings.autoscaled else ()),
        *(_folder(settings, seen) if is_folder else ()),
    ]


def _ask(key: str) -> _Seen:
    answers = app.control.broadcast(REPORT, arguments={"key": key}, reply=True, timeout=_PATIENCE_S)
    told = [(name, answer) for one in answers or () for name, answer in one.items()]
    # those who have answered do so again at once; nobody waits for others
    inspect = app.control.inspect(timeout=_PATIENCE_S, limit=len(told) or None)
    queues = inspect.active_queues() or {}
    stats = (inspect.stats() or {}) if queues else {}
    return _Seen(
        {name: answer for name, answer in told if "version" in answer},
        {name: {queue["name"] for queue in its} for name, its in queues.items()},
        {name: its.get("pool", {}).get("max-concurrency", 0) for name, its in stats.items()},
        tuple(sorted(name for name, n in Counter(name for name, _ in told).items() if n > 1)),
    )


def _silent(seen: _Seen) -> Iterator[str]:
    for name in sorted(seen.queues.keys() - seen.reports.keys()):
        yield f"worker {name} cannot tell its settings: another release; deploy one everywhere."
    for name in seen.twice:
        yield f"several workers are called {name}; give each its own name: -n NAME@%h."


def _differences(seen: _Seen) -> Iterator[str]:
    here = {_HERE: report(app)}
    for field, setting in {**_ALL_AGREE, **_WORKERS_AGREE}.items():
        asked = {**seen.reports, **(here if field in _ALL_AGREE else {})}
        holders = defaultdict(list)
        for name, told in sorted(asked.items()):
            holders[str(told[field]) or "unset"].append(name)
        if len(holders) > 1:
            each = "; ".join(f"{value} at {', '.join(who)}" for value, who in holders.items())
            yield f"{setting} differs: {each}. Give all processes the same."


def _types(seen: _Seen) -> Iterator[str]:
    for name, job_type in task_types().items():
        consumers = [who for who, queues in seen.queues.items() if job_type.queue in queues]
        able = [who for who in consumers if name in seen.reports.get(who, {}).get("job_types", ())]
        if consumers and not able:
            yield (
                f"no worker on the queue {job_type.queue} has the job type {name}, its jobs wait; "
                f"install its package beside {', '.join(sorted(consumers))}."
            )


def _clocks(seen: _Seen, now_s: float) -> Iterator[str]:
    for name, told in sorted(seen.reports.items()):
        ahead = told["time"] - now_s
        if abs(ahead) > SKEW_S:
            side = "ahead of" if ahead > 0 else "behind"
            yield f"the clock of {name} is {abs(ahead):.0f} s {side} the broker's; set it by NTP."


def _ends(seen: _Seen) -> Iterator[str]:
    for name, told in sorted(seen.reports.items()):
        soft, grace = told["soft_shutdown"], told["grace"]
        if told["remap_sigterm"] != "SIGQUIT":
            yield (
                f"worker {name} waits for its jobs when it is told to end, until it is killed; "
                "start it with REMAP_SIGTERM=SIGQUIT."
            )
        elif grace and grace < soft + _PUT_BACK_S:
            yield (
                f"worker {name} is killed {grace:g} s after it is told to end, and its jobs have "
                f"{soft:g} s of them; make the grace period {soft + _PUT_BACK_S:g} s or more, or "
                "worker_soft_shutdown_timeout shorter."
            )


def _slots(settings: Settings, seen: _Seen) -> list[Finding]:
    wrong = [
        f"worker {name} does {seen.processes[name]} job(s) at once, and the scaler counts with "
        f"{settings.policy(queue).slots} on the queue {queue}; set KIOSK_WORKER_SLOTS to its -c."
        for name, queues in sorted(seen.queues.items())
        for queue in sorted(queues)
        if name in seen.processes and settings.policy(queue).slots != seen.processes[name]
    ]
    return wrong_or(wrong, "workers do as many jobs at once as the scaler counts with")


def _folder(settings: Settings, seen: _Seen) -> list[Finding]:
    blind = [
        f"worker {name} on {told['host']} does not see what this process puts into the bucket "
        f"{settings.bucket_url.shown}: it is a folder, and not the same one there; use a folder "
        "that all machines share, or s3:// or gs://."
        for name, told in sorted(seen.reports.items())
        if told["sees"] is False
    ]
    hosts = {told["host"] for told in seen.reports.values()}
    return wrong_or(blind, f"the bucket is one folder for workers on {len(hosts)} machine(s)")
