"""Turns away submissions that would wait too long, at once: their senders come back in a second.

It learns how many the service works off quickly enough when they come at the same time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette.types import ASGIApp, Receive, Scope, Send

from kiosk_tasks.errors import TransientError
from kiosk_tasks.web.errors import error_response

__all__ = ["Overloaded", "Turnstile", "WaitingRoom", "is_small"]

_PATIENCE_S = 0.12
_FEWEST, _MOST = 8, 16
_CUT, _GROWTH = 0.7, 0.5
_SMALL_BYTES = 2**20
"""More than that takes its time on the way; what the service does with it is the lesser part."""
_COME_BACK_S = "1"
_SENTENCE = "too many submissions come at once; send this one again in a second."


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
        self._cut_at = float("-inf")

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
        self._refusal.headers["Retry-After"] = _COME_BACK_S

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it."""
        if not (_is_submission(scope) and is_small(scope)):
            await self._app(scope, receive, send)
            return
        try:
            with self._room.seat():
                await self._app(scope, receive, send)
        except Overloaded:
            await self._refusal(scope, receive, send)


def is_small(scope: Scope) -> bool:
    """Tell whether a request's body is announced as less than a megabyte."""
    length = dict(scope["headers"]).get(b"content-length", b"")
    return length.isdigit() and int(length) < _SMALL_BYTES


def _is_submission(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["method"] != "POST":
        return False
    return bool(scope["path"].startswith("/jobs/"))
