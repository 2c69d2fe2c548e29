"""Job records in Redis: submit, claim, write, finish, cancel.

A record is a hash with the fields that the old Kiosk's clients read, and ours beside them
(`job_type`, `params`, `stage_index`, `token`, `attempts`, `note:*`). A run *claims* its job and
gets a token; every later write names that token, so that a twin which lost its claim changes
nothing.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any
from uuid import uuid4

import redis

from kiosk_tasks.errors import BrokerUnavailable, ClaimLost, UnknownJob
from kiosk_tasks.job import Job, Status

__all__ = ["Claim", "Ledger", "Record", "now", "time_field"]


_OLD_TIME_FIELDS = {"predict": "prediction_time"}


def time_field(stage: str) -> str:
    """Return the record's field for a stage's seconds, under the name that older clients read."""
    return _OLD_TIME_FIELDS.get(stage, f"{stage}_time")


@dataclass(frozen=True)
class Claim:
    """The right to write a job's record, until another run claims it."""

    job_id: str
    token: str


@dataclass(frozen=True)
class Record:
    """One job's record as it was read."""

    id: str
    fields: Mapping[str, str]

    @property
    def status(self) -> Status:
        """What has become of the job."""
        return Status(self.fields["status"])

    @property
    def progress(self) -> int:
        """Percent, 0 to 100."""
        return int(self.fields.get("progress") or 0)

    @property
    def payload(self) -> dict[str, Any]:
        """The submission: source and parameters, as the client gave them."""
        fields: dict[str, Any] = json.loads(self.fields["params"])
        return fields

    def notes(self) -> dict[str, Any]:
        """The facts that the job's stages noted."""
        prefix = "note:"
        return {
            name.removeprefix(prefix): json.loads(value)
            for name, value in self.fields.items()
            if name.startswith(prefix)
        }

    def seconds(self) -> dict[str, float]:
        """Seconds of each stage that is done, by the stage's name."""
        stage_of = {field: stage for stage, field in _OLD_TIME_FIELDS.items()}
        return {
            stage_of.get(name, name.removesuffix("_time")): float(value)
            for name, value in self.fields.items()
            if name.endswith("_time") and name != "total_time"
        }


def now() -> str:
    """Return the time as ISO 8601, UTC."""
    return datetime.now(UTC).isoformat()


class Ledger:
    """All job records under one key prefix of one Redis."""

    def __init__(self, client: redis.Redis, *, prefix: str, expires_s: int) -> None:
        """client: decodes its replies. expires_s: how long an ended job's record is kept."""
        self._redis = client
        self._prefix = prefix
        self._expires_s = expires_s
        self._identity = socket.gethostname()
        folder = files(__package__)
        self._submit, self._claim, self._write, self._finish = (
            client.register_script((folder / f"{name}.lua").read_text("utf-8"))
            for name in ("submit", "claim", "write", "finish")
        )

    def submit(self, job: Job) -> bool:
        """Write a new job's record and index it, in one transaction; False if it is there already.

        The message is sent only after this, so that no job exists in the broker alone.
        """
        moment = datetime.fromisoformat(job.created_at).timestamp()
        with _mapped_errors():
            answer = self._submit(
                keys=[self._key(job.id), f"{self._prefix}open", f"{self._prefix}jobs"],
                args=[job.id, moment, self._expires_s, *_flat(_new_fields(job))],
            )
        return bool(answer == "written")

    def claim(self, job_id: str, *, stage_index: int) -> Claim | None:
        """Claim the job for the link that starts at that stage; None if there is nothing to do.

        Nothing is to be done when the job has ended or a later link has begun: the message is an
        echo. Raises UnknownJob if there is no record.
        """
        claim = Claim(job_id, uuid4().hex)
        with _mapped_errors():
            answer = self._claim(
                keys=[self._key(job_id)], args=[claim.token, stage_index, now(), self._identity]
            )
        if answer == "missing":
            raise UnknownJob(f"the ledger has no job {job_id}; it may have expired.")
        return claim if answer == "claimed" else None

    def write(self, claim: Claim, fields: Mapping[str, str]) -> None:
        """Write fields; raises ClaimLost if another run holds the claim or the job has ended."""
        stamped = {**fields, "updated_at": now(), "updated_by": self._identity}
        with _mapped_errors():
            answer = self._write(
                keys=[self._key(claim.job_id)], args=[claim.token, *_flat(stamped)]
            )
        _check(answer, claim.job_id)

    def finish(
        self, job_id: str, status: Status, fields: Mapping[str, str], *, claim: Claim | None = None
    ) -> bool:
        """End the job with a terminal status; False if it had ended or the claim was lost.

        claim: None ends it whoever runs it, as a cancellation does.
        """
        ended = {**fields, "status": str(status), "finished_at": now(), "updated_at": now()}
        with _mapped_errors():
            answer = self._finish(
                keys=[self._key(job_id), f"{self._prefix}open"],
                args=[claim.token if claim else "", job_id, self._expires_s, *_flat(ended)],
            )
        return bool(answer == "written")

    def record(self, job_id: str) -> Record:
        """Return the job's record; raises UnknownJob if there is none."""
        with _mapped_errors():
            fields: Any = self._redis.hgetall(self._key(job_id))
        if not fields:
            raise UnknownJob(f"the ledger has no job {job_id}; it may have expired.")
        return Record(job_id, fields)

    def newest(self, count: int) -> list[Record]:
        """Return the newest records, newest first."""
        with _mapped_errors():
            ids: Any = self._redis.zrevrange(f"{self._prefix}jobs", 0, count - 1)
        return self.records(ids)

    def records(self, job_ids: Collection[str]) -> list[Record]:
        """Return the records of these jobs in one round trip, without those that are gone."""
        pipe = self._redis.pipeline(transaction=False)
        for job_id in job_ids:
            pipe.hgetall(self._key(job_id))
        with _mapped_errors():
            rows: list[Any] = pipe.execute()
        return [Record(i, f) for i, f in zip(job_ids, rows, strict=True) if f]

    def open_count(self) -> int:
        """Return how many jobs have not ended."""
        with _mapped_errors():
            return int(self._redis.zcard(f"{self._prefix}open"))

    def _key(self, job_id: str) -> str:
        return f"{self._prefix}job:{job_id}"


def _new_fields(job: Job) -> dict[str, str]:
    return {
        "original_name": job.source.name,
        "input_file_name": job.source.input_file_name,
        "model_name": job.params.model_name or "",
        "model_version": str(job.params.model_version or ""),
        "job_type": job.type_name,
        "params": json.dumps(
            {
                **job.source.model_dump(exclude_defaults=True),
                **job.params.model_dump(exclude_defaults=True, mode="json"),
            }
        ),
        "status": Status.NEW,
        "progress": "0",
        "stage_index": "0",
        "attempts": "0",
        "created_at": job.created_at,
        "updated_at": job.created_at,
    }


def _flat(fields: Mapping[str, str]) -> list[str]:
    return [item for pair in fields.items() for item in pair]


def _check(answer: str, job_id: str) -> None:
    if answer == "lost":
        raise ClaimLost(f"another run has taken over job {job_id}.")
    if answer != "written":
        raise ClaimLost(f"job {job_id} is {answer} already.")


@contextmanager
def _mapped_errors() -> Iterator[None]:
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError) as exc:
        raise BrokerUnavailable(
            "the broker does not answer. Start it (kiosk up) or set KIOSK_BROKER_URL."
        ) from exc
