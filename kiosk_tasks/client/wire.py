"""Requests to be sent and answers that came: no network, no waiting, only what they mean."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kiosk_tasks.client.errors import (
    KioskClientError,
    NotFound,
    Refused,
    ServerError,
    ServerUnavailable,
    TooManyJobs,
    Unauthorized,
)

__all__ = ["Reply", "Request", "Upload", "error_of", "pause_s", "worth_repeating"]

_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 60.0
_BUSY = (429, 503)
_GATEWAY = (502, 504)


@dataclass(frozen=True)
class Upload:
    """A file to be sent: its name, and its bytes or the path of a file that has them."""

    name: str
    content: bytes | Path


@dataclass(frozen=True)
class Request:
    """A request to the server.

    path: below the server's URL, quoted, without a leading slash.
    fields: plain fields of a form, beside the upload. json: a body, in place of a form.
    safe: whether it may be sent again when nobody knows what became of it.
    read_s: how long to wait for bytes, if not the client's own timeout.
    """

    method: str
    path: str
    query: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    upload: Upload | None = None
    json: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    safe: bool = True
    read_s: float | None = None


@dataclass(frozen=True)
class Reply:
    """What came back; the body is empty where it was written to a file."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def ok(self) -> bool:
        """Whether the server did what it was asked."""
        return 200 <= self.status < 300

    def json(self) -> Any:
        """Return the body's JSON; raises ServerError for anything else."""
        try:
            return json.loads(self.body)
        except ValueError as exc:
            raise ServerError(
                "the server's answer cannot be read; is the URL that of a Kiosk?",
                status=self.status,
            ) from exc


def worth_repeating(reply: Reply, request: Request) -> bool:
    """Tell whether the same request may be answered otherwise in a moment."""
    return reply.status in _BUSY or (reply.status in _GATEWAY and request.safe)


def pause_s(attempt: int, reply: Reply | None = None) -> float:
    """Return how long to wait before the next attempt, seconds; what the server asks for counts.

    attempt: how many there were. Without a word of the server it doubles. There is some chance in
    it, so that many clients do not come back at once.
    """
    asked = (reply.headers.get("retry-after") or "") if reply is not None else ""
    if asked.isdigit():
        return min(float(asked) + random.random(), _LONGEST_PAUSE_S)  # noqa: S311  # no secret
    spread = 0.75 + random.random() / 2  # noqa: S311  # no secret
    return min(_FIRST_PAUSE_S * 2.0 ** (attempt - 1), _LONGEST_PAUSE_S) * spread


def error_of(reply: Reply, url: str) -> KioskClientError:
    """Return the error that a reply of 3xx, 4xx or 5xx stands for, in the server's words.

    url: the server's, for where it says nothing itself.
    """
    told = _told(reply)
    status, name = reply.status, str(told.get("error") or "")
    sentence = str(told.get("message") or f"{url} answered with HTTP status {status}.")
    if status in (401, 403):
        if "message" not in told or status == 401:
            sentence = (
                f"{url} does not let you in: {sentence.rstrip('.')}. Give Client a token of yours, "
                "or set KIOSK_TOKEN."
            )
        return Unauthorized(sentence, status=status, error=name)
    if status == 429:
        return TooManyJobs(sentence, status=status, error=name)
    if status == 404:
        return NotFound(sentence, status=status, error=name)
    if status in (*_BUSY, *_GATEWAY):
        return ServerUnavailable(sentence, status=status, error=name)
    kind = ServerError if status >= 500 or status < 400 else Refused
    return kind(sentence, status=status, error=name)


def _told(reply: Reply) -> dict[str, Any]:
    try:
        told = json.loads(reply.body)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
