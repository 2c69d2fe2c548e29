"""A thread that watches the records of jobs, and notices if one leaves its terminal state."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass

from kiosk_tasks.errors import BrokerUnavailable
from kiosk_tasks.job import Status
from kiosk_tasks.ledger import Ledger, Record

__all__ = ["End", "Watcher"]

_LOOK_EVERY_S = 0.2
_RECHECK_EVERY_S = 2.0


@dataclass(frozen=True)
class End:
    """What a record said when its job was first seen ended; it must never say anything else."""

    status: Status
    finished_at: str
    output: str
    attempts: int

    @classmethod
    def of(cls, record: Record) -> End:
        fields = record.fields
        return cls(
            record.status,
            fields.get("finished_at", ""),
            fields.get("output_file_name", ""),
            int(fields.get("attempts") or 0),
        )


class Watcher:
    """Samples records until it is told to stop.

    ends: the jobs seen ended. moved: jobs whose terminal state changed afterwards, with both.
    """

    def __init__(self, ledger: Ledger) -> None:
        """ledger: used by the thread alone."""
        self.ends: dict[str, End] = {}
        self.moved: dict[str, str] = {}
        self.last_end = 0.0  #: monotonic, s
        self.unseen = 0  #: looks at which the ledger did not answer
        self._ledger = ledger
        self._open: set[str] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self._thread.start()

    def add(self, job_ids: Iterable[str]) -> None:
        """Watch these, too."""
        with self._lock:
            self._open |= set(job_ids)

    def open_count(self) -> int:
        with self._lock:
            return len(self._open)

    def open_jobs(self) -> list[str]:
        with self._lock:
            return sorted(self._open)

    def stop(self) -> None:
        """Look at everything a last time, and end; once."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._thread.join()
        with suppress(BrokerUnavailable):
            self._look(self.open_jobs())
            self._look(self.ends)
        self._ledger._redis.close()

    def _run(self) -> None:
        next_recheck = time.monotonic() + _RECHECK_EVERY_S
        while not self._stop.wait(_LOOK_EVERY_S):
            try:
                self._look(self.open_jobs())
                if time.monotonic() > next_recheck:
                    self._look(self.ends)
                    next_recheck = time.monotonic() + _RECHECK_EVERY_S
            except BrokerUnavailable:
                self.unseen += 1

    def _look(self, job_ids: Collection[str]) -> None:
        ids = list(job_ids)
        for start in range(0, len(ids), 500):
            for record in self._ledger.records(ids[start : start + 500]):
                self._see(record)

    def _see(self, record: Record) -> None:
        known = self.ends.get(record.id)
        if known is None and record.status.terminal:
            self.ends[record.id] = End.of(record)
            self.last_end = time.monotonic()
            with self._lock:
                self._open.discard(record.id)
        elif known is not None and known != End.of(record):
            self.moved[record.id] = f"{known} became {End.of(record)}"
