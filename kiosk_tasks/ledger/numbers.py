"""How many jobs are where, all seen at one moment; what it costs does not grow with the jobs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kiosk_tasks.ledger.ledger import Ledger
from kiosk_tasks.redis_clients import mapped_broker_errors
from kiosk_tasks.scaling.pace import Pace

__all__ = ["Numbers", "QueueLoad", "read_numbers"]

_PRIORITY = re.compile(r":[0-9]+$")
"""What the name of a queue's list may have behind the queue's own, as in `queue_of` in Lua."""


@dataclass(frozen=True)
class QueueLoad:
    """What is open on one queue.

    waiting: jobs whose message is in one of the queue's lists, of whatever priority.
    in_flight: jobs that a run has claimed.
    oldest_wait_s: seconds since the oldest of the waiting ones was sent; 0 if none waits.
    outstanding_s: predicted seconds of all of them, one after the other.
    model_s: the part of that which the model server is at work.
    """

    queue: str
    waiting: int
    in_flight: int
    oldest_wait_s: float
    outstanding_s: float
    model_s: float


@dataclass(frozen=True)
class Numbers:
    """The ledger's counts at one moment.

    time_s: that moment by the server's clock, seconds since 1970.
    submitted: jobs that have ever been, by type. ended: by type and terminal status.
    open: jobs that have not ended, those that wait for their children included.
    running: jobs that a run has claimed, on all queues.
    seconds_since_reaping: None if nobody ever looked for lost jobs.
    """

    time_s: float
    queues: tuple[QueueLoad, ...]
    submitted: Mapping[str, int]
    ended: Mapping[tuple[str, str], int]
    open: int
    running: int
    seconds_since_reaping: float | None


def read_numbers(ledger: Ledger, queues: Sequence[str], *, lanes: Sequence[str]) -> Numbers:
    """Read everything in one transaction of constant cost.

    lanes: the broker's lists of each of these queues; see `run.links.lane_of`.
    Raises BrokerUnavailable.
    """
    key = ledger.scripts.key
    pipe = ledger.scripts.client.pipeline(transaction=True)
    pipe.time()
    for name in ("load", "pace", "submitted", "ended"):
        pipe.hgetall(key(name))
    pipe.zcard(key("open"))
    pipe.zcard(key("leases"))
    pipe.hget(key("reaper"), "looked_at")
    for queue in queues:
        pipe.zcard(key(f"running:{queue}"))
    for lane in lanes:
        pipe.zcard(key(f"waiting:{lane}"))
        pipe.zrange(key(f"waiting:{lane}"), 0, 0, withscores=True)
    with mapped_broker_errors():
        (seconds, micros), load, pace, submitted, ended, opened, running, looked_at, *rows = (
            pipe.execute()
        )
    time_s = seconds + micros / 1e6
    claimed = dict(zip(queues, rows[: len(queues)], strict=True))
    counts, oldest = rows[len(queues) :: 2], rows[len(queues) + 1 :: 2]
    waits = {
        lane: (count, time_s - first[0][1] if first else 0.0)
        for lane, count, first in zip(lanes, counts, oldest, strict=True)
    }
    kinds = _kinds(load, pace)
    return Numbers(
        time_s,
        tuple(_load_of(queue, claimed[queue], waits, kinds.get(queue, [])) for queue in queues),
        {name: int(count) for name, count in submitted.items()},
        {_pair(name): int(count) for name, count in ended.items()},
        opened,
        running,
        None if looked_at is None else time_s - float(looked_at),
    )


@dataclass(frozen=True)
class _Kind:
    """The open jobs of one type on one queue, as they are counted: how many, and their seconds."""

    jobs: int
    seconds: float
    model_s: float


def _load_of(
    queue: str, in_flight: int, waits: Mapping[str, tuple[int, float]], kinds: Sequence[_Kind]
) -> QueueLoad:
    """Return the queue's load; every open job on it weighs, counted by its type or not.

    Jobs of the release before are not, until a run takes them or the reaper counts anew.
    """
    mine = [wait for lane, wait in waits.items() if _PRIORITY.sub("", lane) == queue]
    waiting = sum(count for count, _ in mine)
    kinds = kinds or [_Kind(1, Pace().seconds(1, 0.0), 0.0)]
    share = (waiting + in_flight) / sum(kind.jobs for kind in kinds)
    return QueueLoad(
        queue,
        waiting,
        in_flight,
        max([0.0, *(wait for _, wait in mine)]),
        share * sum(kind.seconds for kind in kinds),
        share * sum(kind.model_s for kind in kinds),
    )


def _kinds(load: Mapping[str, str], pace: Mapping[str, str]) -> dict[str, list[_Kind]]:
    """Return the open jobs of each queue."""
    found: dict[str, list[_Kind]] = {}
    for name, count in load.items():
        kind, _, what = name.rpartition("|")
        jobs = int(count)
        if what != "jobs" or jobs <= 0:
            continue
        line = Pace.parse(pace[kind]) if kind in pace else Pace()
        seconds = line.seconds(jobs, max(0, int(load.get(f"{kind}|bytes", 0))) / 1e6)
        queue = kind.partition("|")[0]
        found.setdefault(queue, []).append(_Kind(jobs, seconds, seconds * line.model_share))
    return found


def _pair(name: str) -> tuple[str, str]:
    job_type, _, status = name.rpartition("|")
    return job_type, status
