"""Who waits for news of which job: one task looks at the ledger, for all jobs in one round trip."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from sse_starlette.sse import AppStatus

from kiosk_tasks.errors import KioskError
from kiosk_tasks.ledger import Ledger, Record
from kiosk_tasks.ledger.stamps import Stamp, stamp_of, stamps

__all__ = ["JobWatch", "Mailbox"]

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.25
_MANY = 200
"""More jobs than so many are looked at more rarely, so that looking costs the same."""


class Mailbox:
    """What one client has not been told yet: the newest record only, however slow it reads."""

    def __init__(self) -> None:
        self._news = asyncio.Event()
        self._record: Record | None = None
        self._closed = False

    def put(self, record: Record) -> None:
        """Replace what was not taken."""
        self._record = record
        self._news.set()

    def close(self) -> None:
        """Nothing more will come."""
        self._closed = True
        self._news.set()

    async def take(self) -> Record | None:
        """Wait for a record; None if nothing more will come."""
        await self._news.wait()
        record, self._record = self._record, None
        if not self._closed:
            self._news.clear()
        return record


class JobWatch:
    """The watched jobs of one event loop; it looks only while somebody watches."""

    def __init__(self, ledger: Ledger, *, every_s: float = _LOOK_EVERY_S) -> None:
        """every_s: pause between two looks, seconds."""
        self._ledger = ledger
        self._every_s = every_s
        self._boxes: dict[str, set[Mailbox]] = {}
        self._seen: dict[str, Stamp] = {}
        self._task: asyncio.Task[None] | None = None

    @property
    def open_streams(self) -> int:
        """How many clients wait."""
        return sum(map(len, self._boxes.values()))

    @contextmanager
    def watching(self, record: Record) -> Iterator[Mailbox]:
        """Yield a mailbox of what changes in a job from that record on."""
        box = Mailbox()
        self._boxes.setdefault(record.id, set()).add(box)
        stamp = stamp_of(record)
        if self._seen.setdefault(record.id, stamp) != stamp:
            self._seen[record.id] = ()  # one of the two is old: everybody is told once more
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._look_on())
        try:
            yield box
        finally:
            boxes = self._boxes.get(record.id, set())
            boxes.discard(box)
            if not boxes:
                self._boxes.pop(record.id, None)
                self._seen.pop(record.id, None)

    async def _look_on(self) -> None:
        loop = asyncio.get_running_loop()
        while self._boxes:
            if AppStatus.should_exit:  # the server waits for its streams to end
                self._close(self._boxes)
            try:
                self._tell(*await loop.run_in_executor(None, self._look, dict(self._seen)))
            except KioskError as exc:  # clients wait on: the broker may come back
                log.warning("no look at jobs watched=%d why=%s", len(self._boxes), exc)
            await asyncio.sleep(self._every_s * max(1.0, len(self._boxes) / _MANY))

    def _look(self, seen: dict[str, Stamp]) -> tuple[list[Record], set[str]]:
        """Return the records that have changed, and the jobs that are gone."""
        found = stamps(self._ledger, seen)
        changed = [job_id for job_id, stamp in found.items() if stamp != seen[job_id]]
        return self._ledger.records(changed) if changed else [], seen.keys() - found.keys()

    def _tell(self, changed: list[Record], gone: set[str]) -> None:
        for record in changed:
            if record.id in self._boxes:
                self._seen[record.id] = stamp_of(record)
                for box in self._boxes[record.id]:
                    box.put(record)
        self._close(gone)

    def _close(self, job_ids: Collection[str]) -> None:
        for job_id in job_ids:
            for box in self._boxes.get(job_id, ()):
                box.close()
