"""What a plan may ask of a transport, and the plan's own type.

A plan is a generator: it yields an effect, is sent its outcome, and returns a value. It decides
all; a transport only carries out. Where the network fails, `NetworkDown` is raised at the `yield`,
and so are the client's own errors of what is to be done in a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from kiosk_tasks.client.wire import Request

__all__ = [
    "Effect",
    "HangUp",
    "Listen",
    "NetworkDown",
    "NextLine",
    "Pause",
    "Plan",
    "Send",
    "Stream",
    "Work",
    "work",
]

T = TypeVar("T")


class NetworkDown(Exception):
    """Nobody answered, or the connection broke.

    sent: whether the request may have reached the server.
    """

    def __init__(self, fact: str, *, sent: bool) -> None:
        super().__init__(fact)
        self.sent = sent


@dataclass(frozen=True)
class Send:
    """Send a request; gives a `Reply`. into: where to write the body of a good answer."""

    request: Request
    into: Path | None = None


@dataclass(frozen=True)
class Pause:
    """Wait."""

    seconds: float


@dataclass
class Stream:
    """An answer that is read line by line; `lines` and `response` are the transport's own."""

    status: int
    lines: Any
    response: Any


@dataclass(frozen=True)
class Listen:
    """Send a request whose answer goes on; gives a `Stream`."""

    request: Request


@dataclass(frozen=True)
class NextLine:
    """Wait for a stream's next line; gives None at its end."""

    stream: Stream


@dataclass(frozen=True)
class HangUp:
    """Close a stream."""

    stream: Stream


@dataclass(frozen=True)
class Work:
    """Do what computes or waits for a disk, beside an event loop; gives what it returns."""

    do: Callable[[], Any]


Effect = Send | Pause | Listen | NextLine | HangUp | Work
Plan = Generator[Effect, Any, T]


def work(do: Callable[[], T]) -> Plan[T]:
    """Do some work; return what it returns."""
    done: T = yield Work(do)
    return done
