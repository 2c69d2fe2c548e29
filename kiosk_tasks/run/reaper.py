"""The reaper: finds jobs that were lost, and sends them again. Any number of them may run.

A job that runs is lost when its lease has run out. A job that waits is lost when its message is
gone: a worker took it from the list and died before it had written that down, a client died between
record and message, or the broker was wiped. A backlog is no loss: only where the ledger counts more
jobs than the broker holds messages is any job sent again, and only those older than the oldest
message still in their list, which is first in, first out. So nothing here grows with the backlog.

What it does is checked by the ledger at the moment of doing it, so two reapers never send a job
twice; and were a job sent twice, the second run would find the first one's claim.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

from celery import Celery

from kiosk_tasks.errors import BrokerUnavailable, StorageUnavailable, UnknownJob, UserError
from kiosk_tasks.job import Status
from kiosk_tasks.ledger import LostJobs, Waiting
from kiosk_tasks.redis_clients import redis_client
from kiosk_tasks.run.ending import discard, end_badly, end_children, resume
from kiosk_tasks.run.failing import too_many_deaths
from kiosk_tasks.run.held import BrokerLists, LaneContent
from kiosk_tasks.settings import Settings
from kiosk_tasks.wiring import Adapters, adapters

__all__ = ["Reaped", "Reaper", "make_reaper"]

log = logging.getLogger(__name__)

_BATCH = 1000
_GRACE_S = 2.0
"""A job that was sent less long ago is not looked for: its message may be on its way."""
_LOOK_TWICE_S = 2.0
"""Between two looks for the same job: a worker needs milliseconds to note what it has taken."""
_TIDY_EVERY_S = 3600.0
_PARTIALS_AGE_S = 6 * 3600.0
"""What a writer has not touched for so long was left by one that died."""


@dataclass(frozen=True)
class Reaped:
    """What one look found.

    taken: jobs sent again whose run had died.
    resent: jobs sent again whose message was gone.
    given_up: jobs ended because too many of their runs had died.
    tidied: ended jobs whose leftovers were removed.
    """

    taken: int = 0
    resent: int = 0
    given_up: int = 0
    tidied: int = 0

    def __str__(self) -> str:
        """Return what was found as words, nothing as "nothing"."""
        counts = {field.name.replace("_", " "): getattr(self, field.name) for field in fields(self)}
        return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "nothing"


class Reaper:
    """Looks for lost jobs, once (`look`) or again and again (`run`)."""

    def __init__(self, app: Celery, outside: Adapters, broker: BrokerLists) -> None:
        """app: sends the messages. broker: what Celery's lists hold."""
        self._app = app
        self._outside, self._ledger = outside, outside.ledger
        self._lost = LostJobs(outside.ledger)
        self._broker = broker
        self._stopped = threading.Event()
        self._sign: Callable[[], None] = lambda: None

    def stop(self) -> None:
        """Let `run` return."""
        self._stopped.set()

    def run(self, every_s: float, *, sign: Callable[[], None] = lambda: None) -> None:
        """Look every so many seconds until `stop`; a server that is away is awaited.

        sign: leaves a sign of life, before each look and as it goes on: a bucket may be slow.
        """
        self._sign = sign
        next_tidying = time.monotonic()
        while not self._stopped.is_set():
            sign()
            try:
                if time.monotonic() >= next_tidying:
                    self.tidy()
                    next_tidying = time.monotonic() + _TIDY_EVERY_S
                found = self.look()
                if found != Reaped():
                    log.info("reaped: %s", found)
                if found.taken + found.resent >= _BATCH:
                    continue  # there may be more
            except (BrokerUnavailable, StorageUnavailable) as exc:
                log.warning("cannot look for lost jobs: %s", exc)
            self._stopped.wait(every_s)

    def look(self) -> Reaped:
        """Look once. Raises BrokerUnavailable and StorageUnavailable."""
        taken, given_up = self._runs_that_died()
        found = Reaped(taken, self._messages_that_are_gone(), given_up)
        if self._lost.recount():
            log.warning("the numbers of open jobs were wrong, and are counted anew")
        self._lost.note_look()
        count = self._outside.tallies.reaped
        count({"run_died": taken, "message_gone": found.resent, "given_up": given_up})
        # last, for it may take long, and the bucket may be away: jobs are not lost for that
        found = replace(found, tidied=self._leftovers())
        count({"tidied": found.tidied})
        return found

    def _runs_that_died(self) -> tuple[int, int]:
        taken = given_up = 0
        for job_id in self._lost.expired(_BATCH):
            if not self._lost.reclaim(job_id):
                continue
            attempts = self._ledger.record(job_id).attempts
            if attempts >= self._ledger.max_attempts:
                given_up += end_badly(self._app, self._ledger, job_id, too_many_deaths(attempts))
            else:
                log.warning("its run has died, sent again job_id=%s attempts=%d", job_id, attempts)
                taken += self._resume(job_id)
        return taken, given_up

    def _messages_that_are_gone(self) -> int:
        suspects = self._suspects()
        if not suspects or self._stopped.wait(_LOOK_TWICE_S):
            return 0
        sent = 0
        for lane, job in sorted(suspects & self._suspects(), key=lambda pair: pair[1].since):
            if self._lost.resend(lane, job):
                log.warning("its message is gone, sent again job_id=%s lane=%s", job.job_id, lane)
                sent += self._resume(job.job_id)
        return sent

    def _resume(self, job_id: str) -> bool:
        try:
            resume(self._app, self._ledger, job_id)
        except UserError as exc:  # this job's own: its type is not installed here, say
            log.error("cannot be sent again job_id=%s why=%s", job_id, exc)
            return False
        return True

    def _suspects(self) -> set[tuple[str, Waiting]]:
        """Return jobs that wait for no message, with the list it should be in."""
        found: set[tuple[str, Waiting]] = set()
        for lane in self._lost.lanes():
            # The ledger is asked first: a job that comes in between only hides a loss until later.
            count = self._lost.waiting_count(lane)
            if count:
                missing = self._missing(lane, count, self._broker.look(lane))
                found |= {(lane, job) for job in missing}
        return found

    def _missing(self, lane: str, count: int, content: LaneContent) -> list[Waiting]:
        held = [since for since in self._lost.since(lane, content.held) if since is not None]
        missing = min(count - content.length - len(held), _BATCH)
        if missing <= 0:
            return []
        before = self._lost.time() - _GRACE_S
        in_list = [since for since in self._lost.since(lane, content.oldest) if since is not None]
        if in_list:
            before = min(before, in_list[0])
        candidates = self._lost.waiting_before(lane, before, missing + len(content.held))
        return [job for job in candidates if job.job_id not in content.held][:missing]

    def _leftovers(self) -> int:
        jobs = self._lost.untidy(_BATCH)
        for job_id in jobs:
            self._sign()
            try:
                status = self._ledger.record(job_id).status
            except UnknownJob:
                status = None
            end_children(self._app, self._ledger, job_id, status)
            discard(self._outside, job_id, output=status is not Status.DONE, sign=self._sign)
            self._lost.tidied([job_id])  # one by one: whoever goes on after us has less to do
        return len(jobs)

    def tidy(self) -> int:
        """Remove what no record accounts for; lists the workspace, so it is not for every look."""
        workspace = self._outside.workspace
        artifacts = workspace.keys()
        found = {key.partition("/")[0] for key in artifacts}
        open_ones = {r.id for r in self._ledger.records(found) if not r.status.terminal}
        for job_id in found - open_ones:
            self._sign()
            workspace.clear(job_id)
        partials = sum(
            place.remove_partials(_PARTIALS_AGE_S) for place in (self._outside.storage, workspace)
        )
        return len(found - open_ones) + partials


def make_reaper(app: Celery) -> Reaper:
    """Return a reaper for what this process's settings name."""
    settings = Settings.load()
    client = redis_client(settings.broker_url, **settings.way_to(settings.broker_url))
    return Reaper(app, adapters(), BrokerLists(client, prefix=settings.broker_prefix))
