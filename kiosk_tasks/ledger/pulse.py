"""A running job's sign of life: one thread per process renews the leases of its claims.

The same thread looks every second whether the job was cancelled or taken over, so that a run need
not ask the ledger between two tiles; and it writes what the run has to tell and not yet told.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kiosk_tasks.errors import BrokerUnavailable, Cancelled, ClaimLost, KioskError, TimeLimit
from kiosk_tasks.job import Status
from kiosk_tasks.ledger.ledger import Ledger
from kiosk_tasks.ledger.records import Claim
from kiosk_tasks.redis_clients import BrokerRefuses

__all__ = ["Heart", "Pulse"]

log = logging.getLogger(__name__)

_TELL_EVERY_S = 0.1
_LOOK_EVERY_S = 1.0
_RENEWALS_PER_LEASE = 4


class Pulse:
    """One run's view of whether it should go on."""

    def __init__(self, claim: Claim, *, seconds: float) -> None:
        """seconds: the run's time limit, which pools without limits of their own do not enforce."""
        self.claim = claim
        self._ends = time.monotonic() + seconds
        self._seconds = seconds
        self.error: KioskError | None = None
        self.looked_s = time.monotonic()  # when the ledger was last asked of the claim
        self.away_until_s = 0.0  # it did not answer, and is not asked before that
        self.tell: Callable[[], bool] = _nothing
        """Writes what the run has to tell, if it is time; says whether it did. Raises what a write
        does, and Cancelled."""

    def check(self) -> None:
        """Raise Cancelled, ClaimLost or TimeLimit if the run should stop; costs nothing."""
        if self.error is not None:
            raise self.error
        if time.monotonic() > self._ends:
            raise TimeLimit(f"the job took longer than {self._seconds:g} s. Split the image.")

    def heard(self, answer: str) -> None:
        """Take in what the ledger said of the claim."""
        if answer == Status.CANCELLED:
            self.error = Cancelled(f"job {self.claim.job_id} was cancelled.")
        elif answer != "written":
            self.error = ClaimLost(f"job {self.claim.job_id} is {answer} for this run.")


class Heart:
    """Renews the leases of the claims that run in this process; made after a fork, not before."""

    def __init__(self, ledger: Ledger) -> None:
        """ledger: whose claims they are. The thread starts with the first."""
        self._ledger = ledger
        self._every_s = ledger.lease_s / _RENEWALS_PER_LEASE
        self._look_s = min(_LOOK_EVERY_S, self._every_s)
        self._turn_s = min(_TELL_EVERY_S, self._look_s)
        self._changed = threading.Condition()
        self._asleep = False
        self._due: dict[Pulse, float] = {}
        self._thread: threading.Thread | None = None
        self._closed = False

    @contextmanager
    def beating(self, claim: Claim, *, seconds: float) -> Iterator[Pulse]:
        """Renew the claim's lease until the block is left."""
        pulse = Pulse(claim, seconds=seconds)
        with self._changed:
            self._due[pulse] = time.monotonic() + self._every_s
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._beat, name="leases", daemon=True)
                self._thread.start()
            if self._asleep:  # waking a thread that need not wake costs as much as a short job
                self._changed.notify()
        try:
            yield pulse
        finally:
            with self._changed:
                del self._due[pulse]
                pulse.tell = _nothing

    def close(self) -> None:
        """End the thread; the ledger's connection may be closed then."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _beat(self) -> None:
        while True:
            with self._changed:
                self._asleep = True
                self._changed.wait_for(lambda: self._due or self._closed)
                self._asleep = False
                self._changed.wait_for(lambda: self._closed, timeout=self._turn_s)
                if self._closed:
                    return
                pulses = dict(self._due)
            for pulse, due in pulses.items():
                try:
                    if time.monotonic() >= pulse.away_until_s:
                        self._look(pulse, renew=time.monotonic() >= due)
                except (Cancelled, ClaimLost) as exc:
                    pulse.error = exc
                except (BrokerUnavailable, BrokerRefuses) as exc:
                    # the lease may run out: then another run takes over
                    log.warning("no sign of life job_id=%s why=%s", pulse.claim.job_id, exc)
                    pulse.away_until_s = time.monotonic() + self._look_s

    def _look(self, pulse: Pulse, *, renew: bool) -> None:
        """Ask the ledger what is due: a write tells as much as a look."""
        told = pulse.tell()
        if renew:
            pulse.heard(self._ledger.renew(pulse.claim))
            with self._changed:
                if pulse in self._due:
                    self._due[pulse] = time.monotonic() + self._every_s
        elif not told:
            if time.monotonic() - pulse.looked_s < self._look_s:
                return
            pulse.heard(self._ledger.holds(pulse.claim))
        pulse.looked_s = time.monotonic()


def _nothing() -> bool:
    return False
