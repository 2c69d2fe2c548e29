"""The two ways to carry out a plan: with httpx, blocking or not. Nothing is decided here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

import httpx

from kiosk_tasks.client.effects import (
    Effect,
    HangUp,
    Listen,
    NetworkDown,
    NextLine,
    Pause,
    Plan,
    Send,
    Stream,
    Work,
)
from kiosk_tasks.client.errors import KioskClientError
from kiosk_tasks.client.wire import Reply, Request, Upload

__all__ = ["AsyncTransport", "Transport"]

T = TypeVar("T")
_CHUNK = 2**20


class Transport:
    """Carries out plans, blocking; `http` is httpx's own client."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def run(self, plan: Plan[T]) -> T:
        """Return what the plan returns."""
        answer: Any = None
        failure: Exception | None = None
        with closing(plan):
            while True:
                try:
                    effect = plan.send(answer) if failure is None else plan.throw(failure)
                except StopIteration as end:
                    return end.value  # type: ignore[no-any-return]  # of a Plan[T]
                answer = failure = None
                try:
                    with _named():
                        answer = self._do(effect)
                except (NetworkDown, KioskClientError) as exc:
                    failure = exc

    def _do(self, effect: Effect) -> Any:
        match effect:
            case Pause(seconds):
                time.sleep(seconds)
            case NextLine(stream):
                return next(stream.lines, None)
            case HangUp(stream):
                with suppress(httpx.HTTPError):
                    stream.response.close()
            case Listen(request):
                response = self.http.send(_built(self.http, request, None), stream=True)
                return Stream(response.status_code, response.iter_lines(), response)
            case Send(request, into):
                return self._send(request, into)
            case Work(do):
                return do()
        return None

    def _send(self, request: Request, into: Path | None) -> Reply:
        with _opened(request.upload) as files:
            response = self.http.send(_built(self.http, request, files), stream=True)
        try:
            if into is None or not response.is_success:
                return _reply(response, response.read())
            with into.open("wb") as file:
                for chunk in response.iter_bytes(_CHUNK):
                    file.write(chunk)
            return _reply(response, b"")
        finally:
            response.close()


class AsyncTransport:
    """Carries out plans on the event loop; `http` is httpx's own client."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def run(self, plan: Plan[T]) -> T:
        """Return what the plan returns."""
        answer: Any = None
        failure: Exception | None = None
        with closing(plan):
            while True:
                try:
                    effect = plan.send(answer) if failure is None else plan.throw(failure)
                except StopIteration as end:
                    return end.value  # type: ignore[no-any-return]  # of a Plan[T]
                answer = failure = None
                try:
                    with _named():
                        answer = await self._do(effect)
                except (NetworkDown, KioskClientError) as exc:
                    failure = exc

    async def _do(self, effect: Effect) -> Any:
        match effect:
            case Pause(seconds):
                await asyncio.sleep(seconds)
            case NextLine(stream):
                return await anext(stream.lines, None)
            case HangUp(stream):
                with suppress(httpx.HTTPError):
                    await stream.response.aclose()
            case Listen(request):
                response = await self.http.send(_built(self.http, request, None), stream=True)
                return Stream(response.status_code, response.aiter_lines(), response)
            case Send(request, into):
                return await self._send(request, into)
            case Work(do):
                return await asyncio.to_thread(do)
        return None

    async def _send(self, request: Request, into: Path | None) -> Reply:
        with _opened(request.upload) as files:
            built = _built(self.http, request, files)
            if request.upload is not None and isinstance(request.upload.content, Path):
                built.stream = _FromDisk(built.stream)
            response = await self.http.send(built, stream=True)
        try:
            if into is None or not response.is_success:
                return _reply(response, await response.aread())
            with into.open("wb") as file:
                async for chunk in response.aiter_bytes(_CHUNK):
                    await asyncio.to_thread(file.write, chunk)
            return _reply(response, b"")
        finally:
            await response.aclose()


class _FromDisk(httpx.AsyncByteStream):
    """A request's body, of which each piece is read in a thread."""

    def __init__(self, body: Any) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = iter(self._body)
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            yield piece


@contextmanager
def _opened(upload: Upload | None) -> Iterator[dict[str, tuple[str, bytes | IO[bytes]]] | None]:
    """Give the file as httpx takes it, opened anew for each attempt."""
    if upload is None:
        yield None
    elif isinstance(upload.content, bytes):
        yield {"file": (upload.name, upload.content)}
    else:
        with upload.content.open("rb") as file:
            yield {"file": (upload.name, file)}


def _built(http: httpx.Client | httpx.AsyncClient, request: Request, files: Any) -> httpx.Request:
    wait = http.timeout
    if request.read_s is not None:
        wait = httpx.Timeout(wait.connect, read=request.read_s, write=wait.write, pool=wait.pool)
    return http.build_request(
        request.method,
        request.path,
        params=dict(request.query) or None,
        data=dict(request.fields) if files is not None else None,
        files=files,
        json=request.json,
        headers=dict(request.headers),
        timeout=wait,
    )


def _reply(response: httpx.Response, body: bytes) -> Reply:
    return Reply(response.status_code, dict(response.headers), body)


@contextmanager
def _named() -> Iterator[None]:
    """Turn httpx's errors of the network into the one that plans know."""
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as exc:
        raise NetworkDown(_fact(exc), sent=False) from exc
    except (httpx.TransportError, httpx.StreamError) as exc:
        raise NetworkDown(_fact(exc), sent=True) from exc


def _fact(exc: Exception) -> str:
    if isinstance(exc, httpx.TimeoutException):
        return "it does not answer in time"
    return str(exc).strip() or "the connection broke"
