"""A multipart form, read part by part as it arrives: memory is bounded by a chunk."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass

from fastapi import Request
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from kiosk_tasks.web.errors import InvalidRequest

__all__ = ["FormReader", "Part", "is_form"]

_BROKEN = "the form is not complete or not a form at all; send it as multipart/form-data."


@dataclass(frozen=True)
class Part:
    """What comes before a part's content.

    file_name: None if the part is no file.
    """

    name: str
    file_name: str | None


def is_form(request: Request) -> bool:
    """Tell whether a request's body is a multipart form."""
    kind, _ = parse_options_header(request.headers.get("content-type", ""))
    return kind == b"multipart/form-data"


class FormReader:
    """Gives a form's parts in turn, and each part's content in pieces."""

    def __init__(self, request: Request) -> None:
        """Raise InvalidRequest if there is no boundary to read by."""
        _, options = parse_options_header(request.headers.get("content-type", ""))
        boundary = options.get(b"boundary", b"")
        if not boundary:
            raise InvalidRequest(_BROKEN)
        self._body: AsyncIterator[bytes] = request.stream()
        self._events: deque[tuple[str, bytes]] = deque()
        self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_header_field": self._note("field"),
                "on_header_value": self._note("value"),
                "on_header_end": lambda: self._events.append(("header end", b"")),
                "on_headers_finished": lambda: self._events.append(("begin", b"")),
                "on_part_data": self._note("data"),
                "on_part_end": lambda: self._events.append(("end", b"")),
                "on_end": self._end,
            },
        )

    async def next_part(self) -> Part | None:
        """Return the next part; None if there is none. Call `next_piece` until its end before."""
        headers: dict[str, bytes] = {}
        name = value = b""
        while True:
            event = await self._next()
            if event is None:
                return None
            kind, data = event
            if kind == "field":
                name += data
            elif kind == "value":
                value += data
            elif kind == "header end":
                headers[name.decode("latin-1").lower()] = value
                name = value = b""
            elif kind == "begin":
                return _part(headers.get("content-disposition", b""))

    async def next_piece(self) -> bytes | None:
        """Return more of the part's content; None at its end."""
        event = await self._next()
        if event is None:
            raise InvalidRequest(_BROKEN)
        kind, data = event
        return data if kind == "data" else None

    async def _next(self) -> tuple[str, bytes] | None:
        """Return the next event; None at the form's end. Raises InvalidRequest if it never ends."""
        while not self._events:
            if self._ended:
                return None
            chunk = await anext(self._body, b"")
            if not chunk:  # at the end of the body, too
                raise InvalidRequest(_BROKEN)
            try:
                self._parser.write(chunk)
            except MultipartParseError as exc:
                raise InvalidRequest(_BROKEN) from exc
        return self._events.popleft()

    def _note(self, kind: str):  # type: ignore[no-untyped-def]  # the parser's own protocol
        def note(data: bytes, start: int, end: int) -> None:
            self._events.append((kind, data[start:end]))

        return note

    def _end(self) -> None:
        self._ended = True


def _part(disposition: bytes) -> Part:
    kind, options = parse_options_header(disposition)
    if kind != b"form-data" or b"name" not in options:
        raise InvalidRequest(_BROKEN)
    file_name = options.get(b"filename")
    return Part(_text(options[b"name"]), None if file_name is None else _text(file_name))


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")
