"""What the reaper asks the ledger: who runs without a sign of life, who waits, what was left."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from kiosk_tasks.ledger.ledger import Ledger
from kiosk_tasks.redis_clients import mapped_broker_errors

__all__ = ["LostJobs", "Waiting"]

_MOST_RECOUNTED = 5_000
"""Open jobs that are counted anew in one step: 50 ms, in which nobody else is answered."""


@dataclass(frozen=True)
class Waiting:
    """A job whose message should be in the broker.

    since: when it was sent, seconds since 1970 by the server's clock.
    """

    job_id: str
    since: float


class LostJobs:
    """The ledger as the reaper sees it. Nothing here looks at every job."""

    def __init__(self, ledger: Ledger) -> None:
        """ledger: any; it is not written but by what a job's rules allow."""
        self._scripts = ledger.scripts
        self._redis = ledger.scripts.client
        self._key = ledger.scripts.key
        self._expires_s = ledger.expires_s

    def time(self) -> float:
        """Return the server's time, seconds since 1970."""
        with mapped_broker_errors():
            seconds, micros = self._redis.time()
        return float(seconds) + micros / 1e6

    def note_look(self) -> None:
        """Note that a reaper has looked, for those who ask whether one does."""
        with mapped_broker_errors():
            self._redis.hset(self._key("reaper"), "looked_at", repr(self.time()))

    def seconds_since_look(self) -> float | None:
        """Return how long ago a reaper last looked, seconds; None if none ever did."""
        with mapped_broker_errors():
            looked_at: Any = self._redis.hget(self._key("reaper"), "looked_at")
        return None if looked_at is None else self.time() - float(looked_at)

    def lanes(self) -> list[str]:
        """Return the broker's lists that a job has ever waited in."""
        with mapped_broker_errors():
            names: Any = self._redis.smembers(self._key("lanes"))
        return sorted(names)

    def expired(self, count: int) -> list[str]:
        """Return jobs whose lease has run out, the longest silent first."""
        with mapped_broker_errors():
            ids: Any = self._redis.zrangebyscore(
                self._key("leases"), "-inf", self.time(), start=0, num=count
            )
        return list(ids)

    def waiting_count(self, lane: str) -> int:
        """Return how many jobs wait in that list by the ledger's account."""
        with mapped_broker_errors():
            return int(self._redis.zcard(self._key(f"waiting:{lane}")))

    def waiting_before(self, lane: str, moment: float, count: int) -> list[Waiting]:
        """Return jobs that have waited since before that moment, the longest first."""
        with mapped_broker_errors():
            rows: Any = self._redis.zrangebyscore(
                self._key(f"waiting:{lane}"), "-inf", f"({moment!r}", 0, count, withscores=True
            )
        return [Waiting(job_id, since) for job_id, since in rows]

    def since(self, lane: str, job_ids: Collection[str]) -> list[float | None]:
        """Return since when each of these jobs waits in that list; None for one that does not."""
        if not job_ids:
            return []
        with mapped_broker_errors():
            scores: Any = self._redis.zmscore(self._key(f"waiting:{lane}"), list(job_ids))
        return list(scores)

    def reclaim(self, job_id: str) -> bool:
        """Take a job from a run whose lease has run out; its message is sent after this."""
        return bool(self._scripts.call("reclaim", job_id, job_id) == "taken")

    def resend(self, lane: str, job: Waiting) -> bool:
        """Take the right to send a waiting job's message again; one of many callers gets it."""
        answer = self._scripts.call("resend", job.job_id, job.job_id, lane, repr(job.since))
        return bool(answer == "taken")

    def recount(self) -> bool:
        """Count open jobs anew if the counts are wrong; return whether they were.

        Of too many jobs nothing is counted: `numbers.py` makes do with what it finds.
        """
        answer = self._scripts.call("recount", "", _MOST_RECOUNTED)
        return bool(answer == "counted")

    def untidy(self, count: int) -> list[str]:
        """Return ended jobs whose runs must have ended, too, and may have left files."""
        with mapped_broker_errors():
            ids: Any = self._redis.zrangebyscore(
                self._key("sweep"), "-inf", self.time(), start=0, num=count
            )
        return list(ids)

    def tidied(self, job_ids: Collection[str]) -> None:
        """Forget what was removed; the lists of children are kept as long as a record, still."""
        if job_ids:
            pipe = self._redis.pipeline(transaction=False)
            pipe.zrem(self._key("sweep"), *job_ids)
            for job_id in job_ids:
                pipe.expire(self._key(f"children:{job_id}"), self._expires_s)
            with mapped_broker_errors():
                pipe.execute()
