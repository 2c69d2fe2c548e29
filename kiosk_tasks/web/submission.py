"""Submissions that may come twice: one key, one job, and one upload."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from uuid import NAMESPACE_URL, uuid4, uuid5

import anyio
from anyio import to_thread

from kiosk_tasks.errors import BrokerUnavailable, UnknownJob, UserError
from kiosk_tasks.ledger import Ledger, Record, Reservation

__all__ = ["Submission", "UnderWay"]

_LEASE_S = 60.0
_RENEW_S = 10.0
_PATIENCE_S = 30.0
_LOOK_S = 0.1


class UnderWay(UserError):
    """The same submission is on its way already."""

    http_status = 409


class Submission:
    """One attempt to submit a job; the job's id follows from the client's key, if there is one.

    repeats: whether there is a key, so that there may be other attempts.
    """

    def __init__(self, ledger: Ledger, user: str, key: str) -> None:
        """key: what all attempts to submit the same job have in common; empty: there is one."""
        self._ledger = ledger
        self.repeats = bool(key)
        name = f"kiosk-web:{len(user)}:{user}:{key}"
        self.job_id = uuid5(NAMESPACE_URL, name).hex if key else uuid4().hex

    @property
    def folder(self) -> str:
        """Where its upload lies in the bucket."""
        return f"uploads/{self.job_id}"

    def before(self) -> Record | None:
        """Return the record of an attempt that came through before this one."""
        if not self.repeats:
            return None
        try:
            return self._ledger.record(self.job_id)
        except UnknownJob:
            return None

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[bool]:
        """Be the only attempt that uploads while the body runs; gives False if another is.

        A process that dies in the middle keeps others waiting for a minute.
        """
        if not self.repeats:
            yield True
            return
        mine = Reservation(self._ledger, f"upload:{self.job_id}", seconds=_LEASE_S)
        if not await to_thread.run_sync(mine.take):
            yield False
            return
        keeping = asyncio.create_task(_keep(mine))
        try:
            yield True
        finally:
            keeping.cancel()
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(mine.give_back)

    async def of_the_other(self) -> Record:
        """Wait for what the other attempt comes to; raises UnderWay if that takes long or fails."""
        other = Reservation(self._ledger, f"upload:{self.job_id}", seconds=_LEASE_S)
        end = time.monotonic() + _PATIENCE_S
        while time.monotonic() < end:
            waits = await to_thread.run_sync(other.is_taken)
            record = await to_thread.run_sync(self.before)
            if record is not None:
                return record
            if not waits:
                break
            await anyio.sleep(_LOOK_S)
        raise UnderWay(
            "a submission with this Idempotency-Key is on its way, or was cut off; send it again."
        )


async def _keep(reservation: Reservation) -> None:
    while True:
        await anyio.sleep(_RENEW_S)
        with suppress(BrokerUnavailable):  # the next time will do
            await to_thread.run_sync(reservation.renew)
