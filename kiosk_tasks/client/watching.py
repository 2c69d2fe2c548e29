"""Following a job to its end: by the server's events, or by asking where those do not come."""

from __future__ import annotations

import json
import time

from kiosk_tasks.client.calls import Calls, job_path
from kiosk_tasks.client.effects import HangUp, Listen, NetworkDown, NextLine, Pause, Plan, Stream
from kiosk_tasks.client.errors import ServerUnavailable, WaitedTooLong
from kiosk_tasks.client.state import State
from kiosk_tasks.client.wire import Request

__all__ = ["Watching"]

_SILENCE_S = 20.0
"""The server says something every 15 s; longer silence means that a proxy holds events back."""
_FIRST_POLL_S, _LONGEST_POLL_S = 0.2, 2.0
_MOST_STREAMS = 3
_PATIENCE_S = 120.0
"""A server that is away, because it is started anew, is waited for so long."""


class Watching:
    """The states of one job, as they come."""

    def __init__(self, calls: Calls, job_id: str, *, timeout: float | None = None) -> None:
        """timeout: seconds after which `next` raises WaitedTooLong; at worst half as many more."""
        self._calls = calls
        self._job_id = job_id
        self._end = None if timeout is None else time.monotonic() + timeout
        self._timeout = timeout
        self._stream: Stream | None = None
        self._stream_s = 0.0
        self._streams_left = _MOST_STREAMS
        self._poll_s = 0.0
        self._last: State | None = None
        self._away_since: float | None = None

    def next(self) -> Plan[State | None]:
        """Return the job's state when it has changed; None once the end has been told.

        Raises NotFound, ServerUnavailable, WaitedTooLong.
        """
        if self._last is not None and self._last.ended:
            return None
        while True:
            self._check_time()
            state = (yield from self._told()) if self._streams_left else (yield from self._asked())
            if state is not None and state != self._last:
                self._last = state
                if state.ended:
                    yield from self.stop()
                return state

    def stop(self) -> Plan[None]:
        """Stop listening; the job goes on."""
        if self._stream is not None:
            stream, self._stream = self._stream, None
            yield HangUp(stream)

    def _told(self) -> Plan[State | None]:
        """Wait for the next event; None where there was none."""
        try:
            if self._left_s() < self._stream_s / 2:
                yield from self.stop()  # its silence would be borne for longer than is left
            if self._stream is None:
                self._stream_s = self._silence_s()
                request = Request(
                    "GET",
                    f"{job_path(self._job_id)}/events",
                    headers={"Accept": "text/event-stream"},
                    read_s=self._stream_s,
                )
                self._stream = yield Listen(request)
                if self._stream.status != 200:
                    return (yield from self._no_events())
            line = yield NextLine(self._stream)
        except NetworkDown:
            return (yield from self._no_events())
        if line is None:
            return (yield from self._no_events())
        if not line.startswith("data:"):
            return None
        return State.parse(json.loads(line[5:]))

    def _no_events(self) -> Plan[State | None]:
        """Take note that a stream has ended too early, and ask instead."""
        self._streams_left -= 1
        yield from self.stop()
        return (yield from self._asked())

    def _asked(self) -> Plan[State | None]:
        """Ask, not too often; a server that is away for a while is no reason to give up."""
        if self._poll_s:
            yield Pause(min(self._poll_s, self._left_s()))
        self._poll_s = min(max(self._poll_s * 1.5, _FIRST_POLL_S), _LONGEST_POLL_S)
        try:
            state = yield from self._calls.job(self._job_id)
        except ServerUnavailable:
            now = time.monotonic()
            self._away_since = self._away_since or now
            if now - self._away_since > _PATIENCE_S:
                raise
            return None
        self._away_since = None
        return state

    def _silence_s(self) -> float:
        return max(0.05, min(_SILENCE_S, self._left_s()))

    def _left_s(self) -> float:
        return float("inf") if self._end is None else max(0.0, self._end - time.monotonic())

    def _check_time(self) -> None:
        if self._end is not None and time.monotonic() >= self._end:
            status = self._last.status if self._last else "open"
            raise WaitedTooLong(
                f"job {self._job_id} has not ended within {self._timeout:g} s (it is {status}); "
                "it goes on."
            )
