"""Bytes as HTTP sends them: whole, in part, or not at all where the client has them already."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from kiosk_tasks.errors import UserError
from kiosk_tasks.web.errors import error_response

__all__ = ["Content", "RangeNotSatisfiable", "send"]

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "private, max-age=3600, immutable",
    "Accept-Ranges": "bytes",
}


class RangeNotSatisfiable(UserError):
    """The range that was asked for is past the end of the file."""

    http_status = 416


@dataclass(frozen=True)
class Content:
    """What may be sent.

    name: what a browser saves it as. tag: the same only for the same bytes.
    read: yields the bytes from one position up to another.
    inline: a browser shows it rather than saving it.
    """

    name: str
    size: int
    media_type: str
    tag: str
    read: Callable[[int, int], Iterator[bytes]]
    inline: bool = False


def send(content: Content, request: Request) -> Response:
    """Return the answer to a request for it; memory stays bounded whatever its size.

    What goes wrong with the first chunk is raised here.
    """
    etag = f'"{content.tag}"'
    shown = "inline" if content.inline else "attachment"
    headers = {**_SAFE, "ETag": etag, "Content-Disposition": _disposition(shown, content.name)}
    if _known(request.headers.get("if-none-match", ""), etag):
        return Response(status_code=304, headers=headers)
    start, stop, status = 0, content.size, 200
    if request.headers.get("if-range", etag) == etag:
        try:
            part = _part(request.headers.get("range", ""), content.size)
        except RangeNotSatisfiable as exc:
            refusal = error_response(exc)
            refusal.headers["Content-Range"] = f"bytes */{content.size}"
            return refusal
        if part:
            (start, stop), status = part, 206
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{content.size}"
    headers["Content-Length"] = str(stop - start)
    chunks = content.read(start, stop)
    first = next(chunks, b"")
    return StreamingResponse(
        chain([first], chunks), status, headers=headers, media_type=content.media_type
    )


def _known(if_none_match: str, etag: str) -> bool:
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return bool(tags & {etag, "*"})


def _part(header: str, size: int) -> tuple[int, int] | None:
    """Return the first byte and the one after the last; None for all, as for several ranges."""
    match = _RANGE.fullmatch(header.replace(" ", ""))
    if not match or match[0] == "bytes=-":
        return None
    first, last = match[1], match[2]
    if not first:  # so many from the end
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return None
    if start >= stop:
        raise RangeNotSatisfiable(f"the file has {size} bytes; the range lies behind its end.")
    return start, stop


def _disposition(kind: str, name: str) -> str:
    """Return the header: a plain name for old programs, the true one for all others."""
    plain = re.sub(r'[^ -~]|["\\%;]', "_", name)
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
