"""A server between a client and a real HTTP server that does to requests what networks do.

    with FaultyProxy("http://127.0.0.1:5000") as proxy:
        proxy.plan = lambda request: Answer(503) if request.method == "PUT" else None
        ...                          # the client talks to proxy.url
        assert [r.method for r in proxy.requests] == [...]

`plan` is asked about each request, possibly by several threads at once; None passes it on.
"""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import Any
from urllib.parse import urlsplit

__all__ = ["Answer", "Cut", "CutAnswer", "Fault", "FaultyProxy", "Hold", "LoseAnswer", "Request"]

_PER_CONNECTION = {"connection", "keep-alive", "transfer-encoding", "expect", "content-length"}


@dataclass(frozen=True)
class Request:
    """One request as the client sent it."""

    method: str
    path: str  #: with the query
    headers: dict[str, str]  #: names in small letters
    number: int  #: how many came before it

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return int(self.headers.get("content-length", 0))


@dataclass(frozen=True)
class Answer:
    """Answer without asking the real server."""

    status: int
    body: bytes = b""


@dataclass(frozen=True)
class Cut:
    """Close the connection after so many bytes of the request's body."""

    after_bytes: int = 0


@dataclass(frozen=True)
class LoseAnswer:
    """Let the real server do it, then close the connection without an answer."""


@dataclass(frozen=True)
class CutAnswer:
    """Close the connection after so many bytes of the answer's body."""

    after_bytes: int = 0


@dataclass(frozen=True)
class Hold:
    """Take so many bytes of the request's body, then wait; go on once `release` is set."""

    after_bytes: int = 0
    reached: Event = field(default_factory=Event)
    release: Event = field(default_factory=Event)


Fault = Answer | Cut | LoseAnswer | CutAnswer | Hold


class FaultyProxy:
    """Passes requests on to `upstream`, save those for which `plan` names a fault."""

    def __init__(self, upstream: str, *, one_at_a_time: bool = False) -> None:
        """one_at_a_time: the real server gets the next request when it has answered the last."""
        address = urlsplit(upstream)
        assert address.hostname
        self.upstream = (address.hostname, address.port or 80)
        self.plan: Callable[[Request], Fault | None] = lambda _: None
        self.requests: list[Request] = []
        self._counting = Lock()
        self._turn = Lock() if one_at_a_time else None
        self._server = _Server(("127.0.0.1", 0), _handler_of(self))

    @property
    def url(self) -> str:
        """Where clients reach the proxy."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FaultyProxy:
        self._thread = Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def note(self, handler: BaseHTTPRequestHandler) -> Request:
        """Remember a request that comes in."""
        headers = {name.lower(): value for name, value in handler.headers.items()}
        with self._counting:
            number = len(self.requests)
            request = Request(handler.command, handler.path, headers, number)
            self.requests.append(request)
        return request

    def ask(self, request: Request, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        """Return the real server's answer."""
        headers = {k: v for k, v in request.headers.items() if k not in _PER_CONNECTION}
        if self._turn:
            with self._turn:
                return self._ask(request, headers, body)
        return self._ask(request, headers, body)

    def _ask(
        self, request: Request, headers: dict[str, str], body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(*self.upstream, timeout=60)
        try:
            connection.request(request.method, request.path, body or None, headers)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        """A client that went away is what these tests are about."""


class _CutOff(Exception):
    """The connection ends here."""


def _handler_of(proxy: FaultyProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def __getattr__(self, name: str) -> Any:
            if name.startswith("do_"):
                return self.serve
            raise AttributeError(name)

        def serve(self) -> None:
            request = proxy.note(self)
            fault = proxy.plan(request)
            try:
                body = self.take(request, fault)
                if isinstance(fault, Answer):
                    self.answer(fault.status, [], fault.body, None)
                    return
                status, headers, content = proxy.ask(request, body)
                if isinstance(fault, LoseAnswer):
                    raise _CutOff
                self.answer(status, headers, content, fault)
            except (_CutOff, ConnectionError):
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)

        def take(self, request: Request, fault: Fault | None) -> bytes:
            if isinstance(fault, Cut | Hold):
                head = self.rfile.read(min(fault.after_bytes, request.size))
                if isinstance(fault, Cut):
                    raise _CutOff
                fault.reached.set()
                fault.release.wait()
                return head + self.read(request.size - len(head))
            return self.read(request.size)

        def read(self, size: int) -> bytes:
            data = self.rfile.read(size)
            if len(data) < size:
                raise _CutOff  # the client went away
            return data

        def answer(
            self, status: int, headers: list[tuple[str, str]], body: bytes, fault: Fault | None
        ) -> None:
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() not in _PER_CONNECTION:
                    self.send_header(name, value)
            length = dict((name.lower(), value) for name, value in headers).get("content-length")
            self.send_header("Content-Length", length or str(len(body)))
            self.end_headers()
            if self.command == "HEAD":
                return
            if isinstance(fault, CutAnswer):
                self.wfile.write(body[: fault.after_bytes])
                self.wfile.flush()
                raise _CutOff
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
