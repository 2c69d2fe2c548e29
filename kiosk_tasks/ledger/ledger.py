"""Job records in Redis: submit, claim, write, release, finish.

A record is a hash with the fields that the old Kiosk's clients read, and ours beside them. A run
*claims* its job and gets a token; every later write names that token, so that a twin which lost
its claim changes nothing. While it runs it renews its *lease*; between links it *releases* the job.

    <prefix>job:<id>          the record
    <prefix>open, jobs        open jobs, and all that are nobody's children, by time of submission
    <prefix>open:<user>       open jobs that a user of the web service has submitted
    <prefix>leases            jobs that run, by the time at which their lease ends
    <prefix>waiting:<lane>    jobs whose message is in that list of the broker, by time of sending
    <prefix>lanes             names of those
    <prefix>children:<id>, ended:<id>   a parent's children; those of them that have ended
    <prefix>running:<queue>   jobs that a run on that queue has claimed, by when
    <prefix>load              open jobs and their bytes, by queue and job type
    <prefix>pace              how long they take, by queue and job type
    <prefix>submitted, ended  how many jobs have been, by job type; and how they ended
    <prefix>sweep             ended jobs that may have left files, by the time to remove them
"""

from __future__ import annotations

import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from uuid import uuid4

import redis

from kiosk_tasks.errors import ClaimLost, UnknownJob
from kiosk_tasks.job import Job, Status
from kiosk_tasks.ledger.owner import Owner, TooManyJobs
from kiosk_tasks.ledger.records import Claim, Record, new_fields, now
from kiosk_tasks.ledger.scripts import Scripts, flat
from kiosk_tasks.redis_clients import mapped_broker_errors

__all__ = ["Ending", "Ledger"]

How = Literal["next", "again", "children"]


@dataclass(frozen=True)
class Ending:
    """What came of ending a job.

    written: whether this call ended it.
    parent: id of the parent whose last child this was; its next link is to be sent.
    """

    written: bool
    parent: str = ""


class Ledger:
    """All job records under one key prefix of one Redis."""

    def __init__(
        self,
        client: redis.Redis,
        *,
        prefix: str,
        expires_s: int,
        lease_s: float = 60.0,
        max_attempts: int = 4,
    ) -> None:
        """client: decodes its replies. expires_s: how long an ended job's record is kept.

        lease_s: how long a run that gives no sign of life is believed to live.
        max_attempts: runs of one link that may die before the job is given up.
        """
        self.scripts = Scripts(client, prefix=prefix)
        self.lease_s = lease_s
        self.max_attempts = max_attempts
        self.expires_s = expires_s
        self._redis = client
        self._identity = socket.gethostname()

    def submit(
        self,
        job: Job,
        *,
        lane: str,
        parent: str = "",
        mirror: str = "",
        owner: Owner | None = None,
    ) -> bool:
        """Write a new job's record and index it, in one transaction; False if it is there already.

        The message is sent only after this, so that no job exists in the broker alone.
        lane: the broker's list that the message will go to.
        parent: the job that waits for this one.
        mirror: a hash that is kept like the record, for a client that polls it.
        owner: who submits it; raises TooManyJobs if they have as many open ones as they may.
        """
        fields = new_fields(job, mirror=mirror) | ({"user": owner.name} if owner else {})
        most_open = owner.most_open if owner else 0
        answer = self.scripts.call(
            *("submit", job.id, job.id, uuid4().hex, lane, parent, self.expires_s, most_open),
            *flat(fields),
        )
        if answer == "many":
            raise TooManyJobs.than(most_open)
        return bool(answer == "written")

    def check_open(self, owner: Owner) -> None:
        """Raise TooManyJobs if a job of theirs would be refused now."""
        with mapped_broker_errors():
            count: Any = self._redis.zcard(self.scripts.key(f"open:{owner.name}"))
        if owner.most_open and count >= owner.most_open:
            raise TooManyJobs.than(owner.most_open)

    def claim(self, job_id: str, *, stage_index: int, redelivered: bool = False) -> Claim | None:
        """Claim the job for the link that starts at that stage; None if there is nothing to do.

        Nothing is to be done when the job has ended, a later link has begun, or another run shows
        signs of life: the message is an echo. Raises UnknownJob if there is no record.
        redelivered: the message was another worker's, whose run has died whatever its lease says.
        """
        token, died = uuid4().hex, "1" if redelivered else "0"
        answer = self.scripts.call(
            *("claim", job_id, job_id, token, stage_index, now(), self._identity),
            *(self.lease_s, died, self.max_attempts),
        )
        if answer == "missing":
            raise UnknownJob(f"the ledger has no job {job_id}; it may have expired.")
        if isinstance(answer, str):
            return None
        how, row, waited = answer
        fields = dict(zip(row[::2], row[1::2], strict=True))
        return Claim(
            job_id,
            token,
            Record(job_id, fields),
            exhausted=how == "exhausted",
            waited_s=float(waited) if waited else None,
        )

    def renew(self, claim: Claim) -> str:
        """Prolong the lease: "written", "lost", or the status with which the job has ended."""
        answer = self.scripts.call("renew", claim.job_id, claim.job_id, claim.token, self.lease_s)
        return str(answer)

    def holds(self, claim: Claim) -> str:
        """Look whether the claim still stands, without writing; answers as `renew` does."""
        with mapped_broker_errors():
            row: Any = self._redis.hmget(self._key(claim.job_id), "status", "token")
        status, token = row
        if status and Status(status).terminal:
            return str(status)
        return "written" if token == claim.token else "lost"

    def write(self, claim: Claim, fields: Mapping[str, str]) -> None:
        """Write fields; raises ClaimLost if another run holds the claim or the job has ended."""
        answer = self.scripts.call("write", claim.job_id, claim.token, *flat(self._stamped(fields)))
        _check(answer, claim.job_id)

    def release(
        self,
        claim: Claim,
        how: How,
        *,
        lane: str,
        stage_index: int,
        fields: Mapping[str, str],
    ) -> bool:
        """End this run in order while the job goes on; its next message is sent after this.

        how: "next" waits for the next link, "again" for another run of this one, "children" until
        all children have ended.
        lane, stage_index: of the link that comes next.
        Returns whether the next message is to be sent. Raises ClaimLost as `write` does.
        """
        answer = self.scripts.call(
            *("release", claim.job_id, claim.job_id, claim.token, how, lane, stage_index),
            *flat(self._stamped(fields)),
        )
        if answer == "ready":
            return True
        _check(answer, claim.job_id)
        return how != "children"

    def finish(
        self,
        job_id: str,
        status: Status,
        fields: Mapping[str, str],
        *,
        claim: Claim | None = None,
    ) -> Ending:
        """End the job with a terminal status; not written if it had ended or the claim was lost.

        claim: None ends it whoever runs it, as a cancellation does.
        """
        moment = now()
        ended = {**fields, "status": str(status), "finished_at": moment, "updated_at": moment}
        token = claim.token if claim else ""
        answer, parent = self.scripts.call(
            *("finish", job_id, job_id, token, self.expires_s, 2 * self.lease_s), *flat(ended)
        )
        return Ending(answer == "written", parent)

    def expire(self, job_id: str, seconds: int) -> None:
        """Forget an ended job after so many seconds, at most as late as any other."""
        with mapped_broker_errors():
            self._redis.expire(self._key(job_id), max(0, min(seconds, self.expires_s)))

    def record(self, job_id: str) -> Record:
        """Return the job's record; raises UnknownJob if there is none."""
        with mapped_broker_errors():
            fields: Any = self._redis.hgetall(self._key(job_id))
        if not fields:
            raise UnknownJob(f"the ledger has no job {job_id}; it may have expired.")
        return Record(job_id, fields)

    def records(self, job_ids: Collection[str]) -> list[Record]:
        """Return the records of these jobs in one round trip, without those that are gone."""
        pipe = self._redis.pipeline(transaction=False)
        for job_id in job_ids:
            pipe.hgetall(self._key(job_id))
        with mapped_broker_errors():
            rows: list[Any] = pipe.execute()
        return [Record(i, f) for i, f in zip(job_ids, rows, strict=True) if f]

    def children(self, job_id: str) -> list[str]:
        """Return the ids of a job's children, in the order in which they were submitted."""
        with mapped_broker_errors():
            ids: Any = self._redis.lrange(self.scripts.key(f"children:{job_id}"), 0, -1)
        return list(ids)

    def open_count(self) -> int:
        """Return how many jobs have not ended."""
        with mapped_broker_errors():
            return int(self._redis.zcard(self.scripts.key("open")))

    def _key(self, job_id: str) -> str:
        return self.scripts.key(f"job:{job_id}")

    def _stamped(self, fields: Mapping[str, str]) -> dict[str, str]:
        return {**fields, "updated_at": now(), "updated_by": self._identity}


def _check(answer: str, job_id: str) -> None:
    if answer == "lost":
        raise ClaimLost(f"another run has taken over job {job_id}.")
    if answer != "written":
        raise ClaimLost(f"job {job_id} is {answer} already.")
