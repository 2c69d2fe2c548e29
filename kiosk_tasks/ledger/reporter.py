"""How a running job writes its progress into its record."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from kiosk_tasks.errors import Cancelled, ClaimLost, UnknownJob
from kiosk_tasks.job import Status
from kiosk_tasks.ledger.ledger import Ledger
from kiosk_tasks.ledger.pulse import Pulse
from kiosk_tasks.ledger.records import Record, time_field
from kiosk_tasks.ledger.tallies import Tallies
from kiosk_tasks.ports import Fact

__all__ = ["QUIET_S", "LedgerReporter"]

log = logging.getLogger(__name__)

QUIET_S = 0.2
"""Status and progress are written at most this often: a person sees no more."""
_SEEN = frozenset({"status", "progress"})
"""What a person waits to see; the rest may wait for the end."""


class LedgerReporter:
    """The `Reporter` of a worker: status, progress and facts go to the ledger.

    What nobody waits for is kept until a write takes it along, and a write comes at most every
    fifth of a second: it costs a round trip, and an image of a tenth of a second should pay for
    none but its claim and its end. What a long stage leaves unwritten the run's heart writes.
    """

    def __init__(
        self,
        ledger: Ledger,
        pulse: Pulse,
        tallies: Tallies | None = None,
        *,
        quiet_s: float = QUIET_S,
    ) -> None:
        """pulse: of the run whose claim every write is checked against.

        tallies: count how long stages take. quiet_s: between two writes, and after the claim.
        """
        self._ledger = ledger
        self._tallies = tallies or Tallies(None)
        self._pulse = pulse
        self._claim = pulse.claim
        self._known = dict(pulse.claim.record.fields)
        self._unwritten: dict[str, str] = {}
        self._keeping, self._writing = threading.Lock(), threading.Lock()
        self._quiet_s = quiet_s
        self._written_s = time.monotonic()  # by the claim, which said that the job has started
        pulse.tell = self._tell

    @contextmanager
    def stage(self, name: str, status: str | None) -> Iterator[None]:
        """Enclose one stage: its status word before, its seconds after."""
        self.check()
        if status and self._known["status"] != status:
            self._keep({"status": str(status)})
            self._write_soon()
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
        self._write_soon()

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
        with self._keeping:
            return dict(self._unwritten)

    def _keep(self, fields: dict[str, str]) -> None:
        with self._keeping:
            self._unwritten |= fields
            self._known |= fields

    def _write_soon(self) -> None:
        """Write now, or leave it to the next write or to the heart."""
        if self._is_time():
            self._write()

    def _is_time(self) -> bool:
        return time.monotonic() - self._written_s >= self._quiet_s

    def _tell(self) -> bool:
        """Write what a person waits to see, if it is time; called by the heart, of its thread."""
        if not (self._is_time() and _SEEN & self._unwritten.keys()):
            return False
        self._write()
        return True

    def _write(self) -> None:
        """Write what is kept. One at a time: an older word must not come after a newer one."""
        with self._writing:
            with self._keeping:
                fields = dict(self._unwritten)
            try:
                self._ledger.write(self._claim, fields)
            except ClaimLost:
                with suppress(UnknownJob):  # the record is gone, which the heart is to outlive
                    if self._ledger.record(self._claim.job_id).status is Status.CANCELLED:
                        raise Cancelled(f"job {self._claim.job_id} was cancelled.") from None
                raise
            self._written_s = time.monotonic()
            with self._keeping:
                for name, value in fields.items():
                    if self._unwritten[name] == value:  # else it was changed meanwhile
                        del self._unwritten[name]
