"""The right to do something that two must not do at once; it ends by itself."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from kiosk_tasks.ledger.ledger import Ledger
from kiosk_tasks.redis_clients import mapped_broker_errors

__all__ = ["Reservation"]

# 0 ms end it at once; DEL would do the same, but those who submit may not delete
_IF_MINE = """\
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""


class Reservation:
    """One attempt to be the only one, under a name."""

    def __init__(self, ledger: Ledger, name: str, *, seconds: float) -> None:
        """seconds: after which it ends unless it is renewed: its holder has died."""
        self._redis = ledger.scripts.client
        self._key = ledger.scripts.key(f"reserved:{name}")
        self._token = uuid4().hex
        self._ms = int(1000 * seconds)
        self._script = self._redis.register_script(_IF_MINE)

    def take(self) -> bool:
        """Take it; False if another has it."""
        with mapped_broker_errors():
            return bool(self._redis.set(self._key, self._token, nx=True, px=self._ms))

    def renew(self) -> bool:
        """Have it for as long again; False if it was lost."""
        return self._if_mine(self._ms)

    def give_back(self) -> None:
        """Let others have it."""
        self._if_mine(0)

    def is_taken(self) -> bool:
        """Tell whether anybody has it."""
        with mapped_broker_errors():
            return bool(self._redis.exists(self._key))

    def _if_mine(self, ms: int) -> bool:
        with mapped_broker_errors():
            done: Any = self._script(keys=[self._key], args=[self._token, ms])
        return bool(done)
