"""Whether the broker and the bucket answer, found out quickly and once for all who ask."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from kiosk_tasks.errors import KioskError

__all__ = ["OK", "Readiness"]

OK = "ok"
_LATE = "it does not answer in time."


class Readiness:
    """Checks of one event loop; whoever asks while they run gets the same answer."""

    def __init__(self, checks: Mapping[str, Callable[[], object]], *, limit_s: float = 2.0) -> None:
        """checks: each returns at once or blocks, and raises KioskError. limit_s: for each."""
        self._checks = checks
        self._limit_s = limit_s
        self._running: dict[str, asyncio.Future[str]] = {}

    async def look(self) -> dict[str, str]:
        """Return "ok" or what is wrong, by the name of the check."""
        said = await asyncio.gather(*map(self._one, self._checks))
        return dict(zip(self._checks, said, strict=True))

    async def _one(self, name: str) -> str:
        if name not in self._running:
            loop = asyncio.get_running_loop()
            self._running[name] = loop.run_in_executor(None, self._ask, name)
            self._running[name].add_done_callback(lambda _: self._running.pop(name, None))
        try:
            return await asyncio.wait_for(asyncio.shield(self._running[name]), self._limit_s)
        except TimeoutError:  # it goes on: no second one is begun beside it
            return _LATE

    def _ask(self, name: str) -> str:
        try:
            self._checks[name]()
        except KioskError as exc:
            return str(exc)
        return OK
