"""Exporter, Flower and Prometheus: whether they answer, and with the truth."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from kiosk_tasks.cli.finding import Finding, wrong_or
from kiosk_tasks.jobs import task_types
from kiosk_tasks.queues import numbers_of
from kiosk_tasks.run.links import queue_names
from kiosk_tasks.settings import Settings
from kiosk_tasks.wiring import adapters

__all__ = ["examine_watching"]

_PATIENCE_S = 5.0
_LOOKS = 3
"""Jobs that come and go while the exporter is asked look like a mistake of its; not three times."""


class _Wrong(Exception):
    """What is wrong with one that watches."""


def examine_watching(settings: Settings) -> list[Finding]:
    """Look at those whose addresses are known."""
    looks: list[tuple[str, str, Callable[[str, tuple[str, ...]], str]]] = [
        ("exporter", settings.exporter_url, _exporter),
        ("Flower", settings.flower_url, _flower),
        ("Prometheus", settings.prometheus_url, _prometheus),
    ]
    queues = queue_names(task_types(), settings.stage_queues)
    return [
        finding
        for what, url, look in looks
        if url
        for finding in _looked_at(what, url, queues, look)
    ]


def _looked_at(
    what: str, url: str, queues: tuple[str, ...], look: Callable[[str, tuple[str, ...]], str]
) -> list[Finding]:
    try:
        return [Finding(True, f"{what}: {look(url.rstrip('/'), queues)}")]
    except _Wrong as exc:
        return wrong_or([f"{what}: {exc}"], "")


def _exporter(url: str, queues: tuple[str, ...]) -> str:
    for _ in range(_LOOKS):
        before = _open_jobs(queues)
        told = _get(f"{url}/queues.json")["queues"]
        after = _open_jobs(queues)
        missing = set(queues) - set(told)
        if missing:
            raise _Wrong(
                f"does not know the queue(s) {', '.join(sorted(missing))}; start it anew with the "
                "job types and KIOSK_STAGE_QUEUES of the workers."
            )
        shown = {queue: told[queue]["waiting"] + told[queue]["in_flight"] for queue in queues}
        wrong = [queue for queue in queues if not _between(before, shown, after, queue)]
        if not wrong:
            return f"tells what the ledger says of {len(queues)} queues"
    raise _Wrong(
        f"tells {shown[wrong[0]]} open jobs on the queue {wrong[0]}, and the ledger "
        f"{after[wrong[0]]}; give it the KIOSK_LEDGER_URL, KIOSK_BROKER_URL and KIOSK_KEY_PREFIX "
        "of the workers."
    )


def _between(
    before: dict[str, int], shown: dict[str, int], after: dict[str, int], queue: str
) -> bool:
    least, most = sorted((before[queue], after[queue]))
    return least <= shown[queue] <= most


def _open_jobs(queues: tuple[str, ...]) -> dict[str, int]:
    numbers = numbers_of(adapters().ledger, queues)
    return {load.queue: load.waiting + load.in_flight for load in numbers.queues}


def _flower(url: str, queues: tuple[str, ...]) -> str:
    told = _get(f"{url}/api/queues/length")["active_queues"]
    missing = set(queues) - {queue["name"] for queue in told}
    if missing:
        raise _Wrong(
            f"does not show the queue(s) {', '.join(sorted(missing))}; start it with "
            "`kiosk flower` or `celery -A kiosk_tasks flower`, beside the workers' job types."
        )
    parts = urlsplit(url)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    try:
        _get(f"{bare}/api/queues/length")
    except _Wrong:
        return f"shows {len(told)} queues, and asks for its password"
    raise _Wrong("answers without a password; set KIOSK_FLOWER_AUTH=user:password and restart it.")


def _prometheus(url: str, queues: tuple[str, ...]) -> str:
    def series(name: str) -> Iterator[dict[str, Any]]:
        answer = _get(f"{url}/api/v1/query?query={quote(name)}")
        yield from answer["data"]["result"]

    up = [one["value"][1] for one in series("kiosk_broker_up")]
    if not up:
        raise _Wrong("has no series of ours; let it scrape `kiosk exporter` or /metrics.")
    if "1" not in up:
        raise _Wrong("has it that the broker does not answer the exporter; see the exporter's log.")
    missing = set(queues) - {one["metric"].get("queue") for one in series("kiosk_queue_waiting")}
    if missing:
        raise _Wrong(
            f"has no kiosk_queue_waiting of the queue(s) {', '.join(sorted(missing))}; start the "
            "exporter anew with the job types of the workers."
        )
    return f"has the series of {len(queues)} queues"


def _get(url: str) -> Any:
    """Return the JSON at an address; its login goes into the header."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise _Wrong(f"{parts.scheme or 'its address'} is no http:// or https://")
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    request = urllib.request.Request(bare)  # noqa: S310  # checked above
    if parts.username:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        word = base64.b64encode(login.encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {word}")  # for this server only
    try:
        with urllib.request.urlopen(request, timeout=_PATIENCE_S) as answer:  # noqa: S310
            return json.load(answer)
    except urllib.error.HTTPError as exc:
        exc.close()
        raise _Wrong(f"answers {exc.code} {exc.reason} at {bare}; check its address.") from None
    except (OSError, ValueError) as exc:
        why = getattr(exc, "reason", exc)
        raise _Wrong(f"does not answer at {bare} ({why}); start it, or correct its URL.") from None
