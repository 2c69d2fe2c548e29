"""Turns away submissions that would wait too long, at once: their senders come back soon.

It learns how many the service works off quickly enough when they come at the same time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from starlette.types import ASGIApp, Receive, Scope, Send

from kiosk_tasks.errors import KioskError, TransientError
from kiosk_tasks.web.errors import error_response

__all__ = ["Overloaded", "Turnstile", "WaitingRoom", "is_small"]

_PATIENCE_S = 0.12
_FEWEST, _MOST = 6, 10
_CUT, _GROWTH = 0.7, 0.5
_SMALL_BYTES = 2**20
"""More than that takes its time on the way; what the service does with it is the lesser part."""
_EACH_S = 0.025
"""What a small submission takes of a busy machine: so much later each is told to come back."""
_LONGEST_S = 30.0
_SENTENCE = "too many submissions come at once; send this one again in a moment."


class Overloaded(TransientError):
    """More submissions come at once than can be worked off quickly."""


class WaitingRoom:
    """As many seats as leave quickly: one slow guest costs seats, a quick one adds to them."""

    def __init__(
        self, *, patience_s: float = _PATIENCE_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """patience_s: who stays longer was one too many. clock: seconds."""
        self._patience_s = patience_s
        self._clock = clock
        self._inside = 0
        self._seats = float(_MOST)
        self._cut_at = self._turn = float("-inf")

    @contextmanager
    def seat(self) -> Iterator[None]:
        """Take a seat while the body runs; raises Overloaded if there is none."""
        if self._inside >= int(self._seats):
            raise Overloaded(_SENTENCE)
        self._inside += 1
        begun = self._clock()
        try:
            yield
        finally:
            self._inside -= 1
            self._learn(begun, self._clock())

    def come_back_s(self) -> int:
        """Return when whoever is turned away may find a seat: not all of them at once, seconds."""
        now = self._clock()
        self._turn = min(max(self._turn, now) + _EACH_S, now + _LONGEST_S)
        return 1 + int(self._turn - now)

    def _learn(self, begun: float, now: float) -> None:
        if now - begun <= self._patience_s:
            self._seats = min(_MOST, self._seats + _GROWTH)
        elif begun >= self._cut_at:  # not again for those who were inside already
            self._seats = max(_FEWEST, self._seats * _CUT)
            self._cut_at = now


class Turnstile:
    """ASGI middleware: every small submission passes the waiting room."""

    def __init__(self, app: ASGIApp, *, room: WaitingRoom | None = None) -> None:
        """room: by default one of its own."""
        self._app = app
        self._room = room or WaitingRoom()
        self._refusal = error_response(Overloaded(_SENTENCE))  # made once: it must cost little
        del self._refusal.headers["Retry-After"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it."""
        if not (_is_submission(scope) and is_small(scope)):
            await self._app(scope, receive, send)
            return
        try:
            with self._room.seat():
                await self._app(scope, receive, send)
        except Overloaded:
            await self._refuse(receive, send)

    async def _refuse(self, receive: Receive, send: Send) -> None:
        with suppress(KioskError):  # one that is too slow is refused as well
            while (await receive()).get("more_body", False):
                pass  # closed on a client that still sends, a connection takes the answer with it
        wait = (b"retry-after", str(self._room.come_back_s()).encode())
        headers = [*self._refusal.raw_headers, wait]
        status = self._refusal.status_code
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": self._refusal.body})


def is_small(scope: Scope) -> bool:
    """Tell whether a request's body is announced as less than a megabyte."""
    length = dict(scope["headers"]).get(b"content-length", b"")
    return length.isdigit() and int(length) < _SMALL_BYTES


def _is_submission(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["method"] != "POST":
        return False
    return bool(scope["path"].startswith("/jobs/"))
