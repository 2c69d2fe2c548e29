"""The broker, as all machines of a cluster need it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import redis

from kiosk_tasks.cli.finding import Finding, wrong_or
from kiosk_tasks.settings import Settings, host_of, is_loopback, through_sentinels

__all__ = ["SKEW_S", "examine_broker"]

SKEW_S = 30.0
"""Clocks that differ by more make times in records and logs useless, and signed links void."""
_FULL = 0.8
"""Part of its memory from which on a broker is nearly full."""


def examine_broker(settings: Settings, client: redis.Redis) -> list[Finding]:
    """Look at the clock, memory, replicas, users, and at messages that nobody here reads."""
    found = wrong_or(_clock(client), "this machine's clock agrees with the broker's")
    for look in (_memory, _replicas, _user, _other_protocols):
        try:
            found += look(settings, client)
        except redis.exceptions.NoPermissionError:
            continue  # `examine` says that kiosk-admin may ask more
    return found


def _clock(client: redis.Redis) -> Iterator[str]:
    before = time.time()
    seconds, micros = client.time()
    ahead = (before + time.time()) / 2 - seconds - micros / 1e6
    if abs(ahead) > SKEW_S:
        yield (
            f"this machine's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} "
            "the broker's; set both by NTP."
        )


def _memory(_: Settings, client: redis.Redis) -> list[Finding]:
    memory: Any = client.info("memory")
    used, most = memory["used_memory"], memory["maxmemory"]
    if not most or used < _FULL * most:
        return []
    return [
        Finding(
            False,
            f"broker has used {used / most:.0%} of its memory; when it is full no job is taken: "
            "raise maxmemory, or keep records for less long (KIOSK_RECORD_EXPIRES).",
        )
    ]


def _replicas(settings: Settings, client: redis.Redis) -> list[Finding]:
    if not through_sentinels(settings.broker_url):
        return []
    count = client.info("replication")["connected_slaves"]
    return wrong_or(
        ["the broker has no replica: nothing can take its place; start one (replicaof)."]
        if not count
        else [],
        f"{count} replica(s) can take the broker's place",
    )


def _user(settings: Settings, client: redis.Redis) -> list[Finding]:
    if is_loopback(host_of(settings.broker_url)):
        return []
    name = str(client.acl_whoami())
    return wrong_or(
        [
            "the broker's user `default` is used, which may do everything; give each component "
            "its own user: kiosk acl, docs/security.md."
        ]
        if name == "default"
        else [],
        f"the broker knows this process as {name}",
    )


def _other_protocols(settings: Settings, client: redis.Redis) -> list[Finding]:
    ours, start = settings.broker_prefix, f"{settings.key_prefix}v"
    lists = client.scan_iter(match=f"{_literal(start)}[0-9]*:*", count=1000, _type="list")
    left: dict[str, int] = {}
    for key in lists:
        if key.startswith(ours) or ".reply.celery.pidbox" in key:
            continue
        prefix = start + key.removeprefix(start).partition(":")[0]
        left[prefix] = left.get(prefix, 0) + client.llen(key)
    return [
        Finding(
            False,
            f"{count} message(s) under {prefix}: are for workers of a release with another "
            f"protocol than this one ({ours}); keep one such worker until they are done.",
        )
        for prefix, count in sorted(left.items())
    ]


def _literal(text: str) -> str:
    """Return a pattern that is found in this text only."""
    return "".join(f"\\{letter}" if letter in "*?[]\\^" else letter for letter in text)
