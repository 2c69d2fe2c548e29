"""How a running job writes its progress into its record."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from kiosk_tasks.errors import Cancelled, ClaimLost
from kiosk_tasks.job import Status
from kiosk_tasks.ledger.records import Claim, Ledger, time_field
from kiosk_tasks.ports import Fact

__all__ = ["LedgerReporter"]

log = logging.getLogger(__name__)

_MIN_INTERVAL_S = 0.2
"""Progress is written at most this often: a person sees no more, and a write is a round trip."""


class LedgerReporter:
    """The `Reporter` of a worker: status, progress and facts go to the ledger."""

    def __init__(self, ledger: Ledger, claim: Claim) -> None:
        """claim: what every write is checked against."""
        self._ledger = ledger
        self._claim = claim
        self._last_write_s = float("-inf")

    @contextmanager
    def stage(self, name: str, status: str | None) -> Iterator[None]:
        """Enclose one stage: its status word before, its seconds after."""
        if status:
            self._write({"status": str(status)})
        start = time.perf_counter()
        yield
        seconds = time.perf_counter() - start
        self._write({time_field(name): f"{seconds:.4f}"})
        log.info("stage job_id=%s stage=%s seconds=%.3f", self._claim.job_id, name, seconds)

    def progress(self, done: int, total: int) -> None:
        """Record the percentage; the last unit is always written."""
        moment = time.monotonic()
        if done < total and moment - self._last_write_s < _MIN_INTERVAL_S:
            return
        self._last_write_s = moment
        self._write({"progress": str(100 * done // max(total, 1))})

    def note(self, **facts: Fact) -> None:
        """Keep facts as `note:*` fields of the record."""
        self._write({f"note:{name}": json.dumps(value) for name, value in facts.items()})

    def notes(self) -> dict[str, Fact]:
        """Return the facts noted so far, and the seconds of the stages that are done."""
        record = self._ledger.record(self._claim.job_id)
        return {**record.notes(), "seconds": dict(record.seconds())}

    def _write(self, fields: dict[str, str]) -> None:
        try:
            self._ledger.write(self._claim, fields)
        except ClaimLost:
            if self._ledger.record(self._claim.job_id).status is Status.CANCELLED:
                raise Cancelled(f"job {self._claim.job_id} was cancelled.") from None
            raise
