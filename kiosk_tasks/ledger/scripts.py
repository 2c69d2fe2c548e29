"""The ledger's Lua scripts: each changes what it changes whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import redis

from kiosk_tasks.redis_clients import mapped_broker_errors

__all__ = ["Scripts", "flat"]

_NAMES = (
    *("submit", "claim", "write", "renew", "release", "finish", "reclaim", "resend"),
    "recount",
)


class Scripts:
    """The scripts over one Redis and one key prefix; sent once, called by their checksum."""

    def __init__(self, client: redis.Redis, *, prefix: str) -> None:
        """client: decodes its replies."""
        self.client = client
        self.prefix = prefix
        folder = files(__package__) / "scripts"
        common = (folder / "common.lua").read_text("utf-8")
        self._scripts = {
            name: client.register_script(common + (folder / f"{name}.lua").read_text("utf-8"))
            for name in _NAMES
        }

    def call(self, name: str, job_id: str, *args: str | float) -> Any:
        """Run a script on a job's record; raises BrokerUnavailable."""
        with mapped_broker_errors():
            return self._scripts[name](keys=[self.key(f"job:{job_id}")], args=[self.prefix, *args])

    def key(self, name: str) -> str:
        """Return the full name of a key."""
        return f"{self.prefix}{name}"


def flat(fields: Mapping[str, str]) -> list[str]:
    """Return names and values in turn, as HSET takes them."""
    return [item for pair in fields.items() for item in pair]
