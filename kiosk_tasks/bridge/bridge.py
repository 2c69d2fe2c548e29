"""The bridge: takes keys, submits their jobs, lets go of the keys. Any number of them may run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import redis

from kiosk_tasks.bridge.events import is_text, job_id_of, job_of, queue_names, queue_of
from kiosk_tasks.bridge.inbox import Inbox
from kiosk_tasks.bridge.orphans import Orphans
from kiosk_tasks.errors import BrokerUnavailable, InternalError, KioskError
from kiosk_tasks.job import Job, Status
from kiosk_tasks.ledger import Ledger
from kiosk_tasks.ledger.records import now
from kiosk_tasks.redaction import hide
from kiosk_tasks.redis_clients import mapped_broker_errors
from kiosk_tasks.run.liveness import sign
from kiosk_tasks.settings import Settings
from kiosk_tasks.wiring import make_ledger

__all__ = ["Bridge", "Pace", "make_bridge"]

log = logging.getLogger(__name__)

_WAIT_S = 0.25
"""How long it may take until a key is seen on a queue that was quiet."""
_AWAY_S = 1.0
"""Between two tries to reach a server that is away."""
_ENDED = frozenset(str(status) for status in Status if status.terminal)


@dataclass(frozen=True)
class Pace:
    """When a bridge does what is not its main work; seconds.

    alive: without a sign of life for so long, a replica counts as dead.
    rescue_every: between two looks for what dead replicas had taken.
    orphan_age: a hash whose key nobody has pushed for so long counts as an orphan.
    orphan_step_every: between two steps of the search for them.
    """

    alive: float = 15.0
    rescue_every: float = 60.0
    orphan_age: float = 120.0
    orphan_step_every: float = 1.0


class Bridge:
    """Turns pushed keys into jobs until it is told to stop."""

    def __init__(
        self,
        ledger: Ledger,
        replica: str,
        *,
        bucket_url: str,
        submit: Callable[..., Any],
        pace: Pace | None = None,
        alive_file: Path | None = None,
    ) -> None:
        """ledger: this bridge's own; the frontends' hashes are beside its records.

        replica: name of this bridge, the same when it is started again, unlike all others'.
        submit: takes a job, `mirror`, the hash to keep like its record, and Celery's options.
        alive_file: touched while it works, and while it waits for a server that is away.
        """
        pace, queues = pace or Pace(), queue_names()
        self._redis = ledger.scripts.client
        self._ledger, self._submit, self._bucket_url = ledger, submit, bucket_url
        self._queues = frozenset(queues)
        prefix = ledger.scripts.prefix
        self._inbox = Inbox(self._redis, queues=queues, prefix=prefix, replica=replica)
        self._orphans = Orphans(self._redis, queues=queues, age_s=pace.orphan_age)
        self._chores = [
            _Chore(lambda: sign(alive_file), pace.alive / 3),
            _Chore(lambda: self._inbox.beat(pace.alive), pace.alive / 3),
            _Chore(self._rescue, pace.rescue_every),
            _Chore(self._adopt, pace.orphan_step_every),
        ]
        self._stopping = False

    def stop(self) -> None:
        """Let `run` return, once it has dealt with what it holds; for a signal's handler."""
        self._stopping = True

    def run(self) -> None:
        """Take keys until `stop`; a server that is away is awaited."""
        log.info("ready, takes from %s", ", ".join(sorted(self._queues)))
        while not self._stopping:
            try:
                for chore in self._chores:
                    chore.do_if_due()
                if not self.take():
                    self._inbox.wait(_WAIT_S)
            except BrokerUnavailable as exc:
                log.warning("cannot take over jobs: %s", exc)
                time.sleep(_AWAY_S)
        with suppress(BrokerUnavailable):
            self.take()
            self._inbox.leave()
        self._inbox.close()

    def take(self) -> int:
        """Deal with the oldest key of each queue, and with what was left undone; return how many.

        Raises BrokerUnavailable; the keys stay where they are.
        """
        keys = self._inbox.take()
        for key in keys:
            self.accept(key)
            self._inbox.done(key)
        return len(keys)

    def accept(self, key: str) -> None:
        """Submit a hash's job, or write into the hash why not; the second time nothing happens."""
        fields = self._fields(key)
        if fields is None:
            log.warning("dropped, it is no job's hash key=%r", key)
        elif not self._settled(key, fields):
            try:
                job = self._job(key, fields)
            except KioskError as exc:
                self._refuse(key, exc)
            else:
                # Nobody waits for Celery's result, and each that is awaited is a subscription.
                self._submit(job, mirror=key, ignore_result=True)

    def _fields(self, key: str) -> dict[str, str] | None:
        """Return what the hash says, {} if it is gone; None if that key is not one to write to."""
        if queue_of(key) not in self._queues or not is_text(key):
            return None
        try:
            with mapped_broker_errors():
                fields: Any = self._redis.hgetall(key)
        except redis.ResponseError:  # a string, a list, …
            return None
        return dict(fields)

    def _settled(self, key: str, fields: dict[str, str]) -> bool:
        """Tell whether the hash's job has ended or is recorded; the record outlives the hash."""
        job_id = job_id_of(key)
        if fields:
            return fields.get("status") in _ENDED or fields.get("job_id") == job_id
        return bool(self._ledger.records([job_id]))

    def _job(self, key: str, fields: dict[str, str]) -> Job:
        try:
            return job_of(key, fields, bucket_url=self._bucket_url)
        except KioskError:
            raise
        except Exception as exc:  # a boundary: whatever a hash holds must not stop the others
            log.error("unforeseen key=%r", key, exc_info=exc)
            what = hide(f"{type(exc).__name__}: {exc}")
            raise InternalError(f"an unforeseen error ({what}); see the bridge's log.") from exc

    def _refuse(self, key: str, error: KioskError) -> None:
        """End what never became a job; the hash is kept as long as a record unless it expires."""
        moment = now()
        fields: dict[Any, Any] = {"status": str(Status.FAILED), "reason": str(error)}
        fields |= {"finished_at": moment, "updated_at": moment}
        pipe = self._redis.pipeline(transaction=True)
        pipe.hset(key, mapping=fields)
        pipe.expire(key, self._ledger.expires_s, nx=True)
        with mapped_broker_errors():
            pipe.execute()
        log.info("refused key=%r reason=%s", key, error)

    def _rescue(self) -> None:
        count = self._inbox.rescue()
        if count:
            log.warning("took over %d keys of replicas that are gone", count)

    def _adopt(self) -> None:
        for key in self._orphans.step():
            log.warning("nobody pushed it, taken all the same key=%r", key)
            self.accept(key)


def make_bridge(replica: str) -> Bridge:
    """Return the bridge of this process's settings."""
    settings = Settings.load()
    ledger = make_ledger(settings)
    # What a frontend pushes need not be UTF-8, and must come through to be refused.
    ledger.scripts.client.connection_pool.connection_kwargs["encoding_errors"] = "surrogateescape"
    submit = import_module("kiosk_tasks.run.chain").submit
    return Bridge(
        ledger,
        replica,
        bucket_url=settings.bucket_url,
        submit=submit,
        alive_file=settings.alive_file,
    )


class _Chore:
    """Something to be done every so many seconds, the first time at once."""

    def __init__(self, do: Callable[[], None], every_s: float) -> None:
        self._do, self._every_s = do, every_s
        self._due = time.monotonic()

    def do_if_due(self) -> None:
        if time.monotonic() >= self._due:
            self._do()
            self._due = time.monotonic() + self._every_s
