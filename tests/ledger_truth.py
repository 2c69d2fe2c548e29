"""What was true of the jobs at any moment, told by the server's own log of commands (MONITOR).

It knows nothing of the ledger's counters: it looks at what was written into the jobs' records, and
at the broker's lists.
"""

from __future__ import annotations

import re
import threading
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import redis

from tests.conftest import wait_for

__all__ = ["Counts", "Watch", "watching"]

_RECORD = re.compile(r"(HSET|HDEL) \S*job:(\S+) (.*)", re.DOTALL)
_ENDED = re.compile(r"\bstatus (done|failed|cancelled)\b")


@dataclass(frozen=True)
class Counts:
    """Jobs by what has become of them. claims: how often a job was taken so far."""

    waiting: int
    in_flight: int
    ended: int
    submitted: int


class Watch:
    """The log, from its beginning on."""

    def __init__(self) -> None:
        self._states: dict[str, str] = {}
        self._moments: list[float] = []
        self._counts: list[Counts] = []
        self.submitted_at: dict[str, float] = {}
        self.claimed_at: dict[str, float] = {}
        self.claims: Counter[str] = Counter()

    def at(self, moment: float) -> Counts:
        """Return what was true at a moment of the server's clock."""
        place = bisect_right(self._moments, moment)
        return self._counts[place - 1] if place else Counts(0, 0, 0, 0)

    def most(self, begin: float, end: float) -> list[Counts]:
        """Return what was true at the beginning of a time, and all that it became within it."""
        first, last = (bisect_right(self._moments, moment) for moment in (begin, end))
        return [self.at(begin), *self._counts[first:last]]

    @property
    def now(self) -> Counts:
        """What is true according to all that was read so far."""
        return self._counts[-1] if self._counts else Counts(0, 0, 0, 0)

    def read(self, moment: float, command: str) -> None:
        """Take in one line."""
        found = _RECORD.match(command)
        if not found:
            return
        state = self._state(found[1], found[2], found[3], moment)
        if not state:
            return
        self._states[found[2]] = state
        tally = Counter(self._states.values())
        self._moments.append(moment)
        self._counts.append(Counts(tally["waits"], tally["runs"], tally["over"], len(self._states)))

    def _state(self, verb: str, job_id: str, fields: str, moment: float) -> str:
        before = self._states.get(job_id)
        if verb == "HDEL":
            return "waits" if fields.split()[0] == "token" and before == "runs" else ""
        if fields.startswith("submission "):
            self.submitted_at[job_id] = moment
            return "waits"
        if fields.startswith("token "):
            self.claimed_at.setdefault(job_id, moment)
            self.claims[job_id] += 1
            return "runs"
        return "over" if _ENDED.search(fields) and before != "over" else ""


@contextmanager
def watching(client: redis.Redis) -> Iterator[Watch]:
    """Read the log in a thread; all that was done before this is left has been read then."""
    watch, last = Watch(), threading.Event()
    begun = threading.Event()

    def work() -> None:
        with client.monitor() as monitor:  # type: ignore[no-untyped-call]
            begun.set()
            while not last.is_set():
                line = monitor.next_command()
                if "last-line" in line["command"]:
                    last.set()
                watch.read(line["time"], line["command"])

    thread = threading.Thread(target=work, name="monitor", daemon=True)
    thread.start()
    wait_for(begun.is_set, what="MONITOR has begun")
    try:
        yield watch
    finally:
        client.echo("last-line")
        thread.join(20)
        assert last.is_set()
