"""How a running job writes its progress into its record."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from kiosk_tasks.errors import Cancelled, ClaimLost
from kiosk_tasks.job import Status
from kiosk_tasks.ledger.ledger import Ledger
from kiosk_tasks.ledger.pulse import Pulse
from kiosk_tasks.ledger.records import Record, time_field
from kiosk_tasks.ledger.tallies import Tallies
from kiosk_tasks.ports import Fact

__all__ = ["LedgerReporter"]

log = logging.getLogger(__name__)

_MIN_INTERVAL_S = 0.2
"""Progress is written at most this often: a person sees no more, and a write is a round trip."""


class LedgerReporter:
    """The `Reporter` of a worker: status, progress and facts go to the ledger.

    What nobody waits for is kept until the next status word takes it along: a write costs a round
    trip, and an image of a tenth of a second should not pay for twenty.
    """

    def __init__(self, ledger: Ledger, pulse: Pulse, tallies: Tallies | None = None) -> None:
        """pulse: of the run whose claim every write is checked against.

        tallies: count how long stages take.
        """
        self._ledger = ledger
        self._tallies = tallies or Tallies(None)
        self._pulse = pulse
        self._claim = pulse.claim
        self._known = dict(pulse.claim.record.fields)
        self._unwritten: dict[str, str] = {}
        self._last_write_s = float("-inf")

    @contextmanager
    def stage(self, name: str, status: str | None) -> Iterator[None]:
        """Enclose one stage: its status word before, its seconds after."""
        self.check()
        if status and self._known["status"] != status:
            self._write({"status": str(status)})
        start = time.perf_counter()
        yield
        seconds = time.perf_counter() - start
        self._keep({time_field(name): f"{seconds:.4f}"})
        self._tallies.stage(self._known["job_type"], name, seconds)
        log.info("stage job_id=%s stage=%s seconds=%.3f", self._claim.job_id, name, seconds)

    def check(self) -> None:
        """Raise Cancelled, ClaimLost or TimeLimit if the run should stop."""
        self._pulse.check()

    def progress(self, done: int, total: int) -> None:
        """Record the percentage, and how many units it is of how many."""
        self.check()
        share = str(100 * done // max(total, 1))
        self._keep({"progress": share, "units_done": str(done), "units_total": str(total)})
        if time.monotonic() - self._last_write_s >= _MIN_INTERVAL_S:
            self._write({})

    def note(self, **facts: Fact) -> None:
        """Keep facts as `note:*` fields of the record."""
        self._keep({f"note:{name}": json.dumps(value) for name, value in facts.items()})

    def notes(self) -> dict[str, Fact]:
        """Return the facts noted so far, and the seconds of the stages that are done.

        Links before this one noted theirs before this run's claim was made: nothing need be asked.
        """
        record = Record(self._claim.job_id, self._known)
        return {**record.notes(), "seconds": dict(record.seconds())}

    def put(self, fields: Mapping[str, str]) -> None:
        """Keep fields of the record that are no facts."""
        self._keep(dict(fields))

    def unwritten(self) -> dict[str, str]:
        """Return the fields that the record lacks, for the write that ends the run."""
        return dict(self._unwritten)

    def _keep(self, fields: dict[str, str]) -> None:
        self._unwritten |= fields
        self._known |= fields

    def _write(self, fields: dict[str, str]) -> None:
        try:
            self._ledger.write(self._claim, {**self._unwritten, **fields})
        except ClaimLost:
            if self._ledger.record(self._claim.job_id).status is Status.CANCELLED:
                raise Cancelled(f"job {self._claim.job_id} was cancelled.") from None
            raise
        self._known |= fields
        self._unwritten.clear()
        self._last_write_s = time.monotonic()
