"""What a request's body may take: bytes and time."""

from __future__ import annotations

import asyncio
import time
from typing import NoReturn

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kiosk_tasks.errors import FileTooLarge, KioskError
from kiosk_tasks.imaging.limits import spaced
from kiosk_tasks.web.errors import TooSlow, error_response

__all__ = ["Patience"]

_PLAIN_BYTES = 2**20
"""Of a body that is no form: a job's parameters."""
_FORM_BYTES = 2**22
"""Of a form, beside its file."""
_SILENCE_S = 30.0
_SLOW_AFTER_S = 60.0
_SLOWEST = 1024
"""Bytes a second, on average, after that time."""


class Patience:
    """Limits every request's body.

    One that is answered early is read on by the server, a little: a client that still sends when
    the connection closes may never see why.
    """

    def __init__(self, app: ASGIApp, *, max_file_bytes: int, silence_s: float = _SILENCE_S) -> None:
        """silence_s: how long nothing may come of a body that is not complete."""
        self._app = app
        self._max_file_bytes = max_file_bytes
        self._silence_s = silence_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        is_form = headers.get("content-type", "").lower().startswith("multipart/")
        limit = self._max_file_bytes + _FORM_BYTES if is_form else _PLAIN_BYTES
        body = _Body(receive, headers, limit=limit, silence_s=self._silence_s)
        try:
            body.check_length()
        except KioskError as exc:
            await error_response(exc)(scope, receive, send)
            return
        scope["kiosk_body"] = body
        await self._app(scope, body.receive, send)


class _Body:
    """One request's body on its way."""

    def __init__(self, receive: Receive, headers: Headers, *, limit: int, silence_s: float) -> None:
        self._receive = receive
        self._limit, self._silence_s = limit, silence_s
        self._length = headers.get("content-length", "")
        self._complete = self._length in ("", "0") and "transfer-encoding" not in headers
        self._began, self._size = time.monotonic(), 0
        self.refusal: KioskError | None = None  #: why it was not read to its end

    def check_length(self) -> None:
        """Raise FileTooLarge for a body that says so before it comes."""
        if self._length.isdecimal() and int(self._length) > self._limit:
            self._too_large()

    async def receive(self) -> Message:
        """Return what comes next; raises FileTooLarge and TooSlow."""
        if self._complete:
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), self._silence_s)
        except TimeoutError:
            self._too_slow()
        self._count(message)
        if self._size > self._limit:
            self._too_large()
        elapsed = time.monotonic() - self._began
        if not self._complete and elapsed > _SLOW_AFTER_S and self._size < _SLOWEST * elapsed:
            self._too_slow()
        return message

    def _count(self, message: Message) -> None:
        self._size += len(message.get("body", b""))
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._complete = True

    def _too_large(self) -> NoReturn:
        self.refusal = FileTooLarge(
            f"the request has more than the {spaced(self._limit)} bytes that this service takes."
        )
        raise self.refusal

    def _too_slow(self) -> NoReturn:
        self.refusal = TooSlow("the request came too slowly, or stopped; send it again.")
        raise self.refusal
