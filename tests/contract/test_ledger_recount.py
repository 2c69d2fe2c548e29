"""Counts that workers of the release before have left wrong are put right, by the reaper.

That release wrote no `counted`, `load` or `running`; what its scripts did is done here by hand.
"""

from __future__ import annotations

from typing import Any

import pytest

from kiosk_tasks.job import JobType, Params, Status, new_job
from kiosk_tasks.ledger import Ledger, LostJobs, lost
from kiosk_tasks.ledger.numbers import QueueLoad
from kiosk_tasks.queues import numbers_of
from tests.conftest import Broker

JOB_TYPE = JobType("toy", "Toy", "toy", Params, (lambda value, _ctx: value,))
LANE, LATER = "toy:6", "toy"
BYTES = 1_000_000


class Before:
    """A worker and a client of the release before."""

    def __init__(self, broker: Broker) -> None:
        self.client, self.prefix = broker.client, broker.prefix

    def claims(self, job: str) -> None:
        self.client.zrem(f"{self.prefix}waiting:{LANE}", job)
        self.client.hset(f"{self.prefix}job:{job}", "token", "its")
        self.client.zadd(f"{self.prefix}leases", {job: 9e9})

    def ends(self, job: str) -> None:
        for key in ("leases", "open", f"waiting:{LANE}"):
            self.client.zrem(f"{self.prefix}{key}", job)
        self.client.hset(f"{self.prefix}job:{job}", "status", "done")
        self.client.hdel(f"{self.prefix}job:{job}", "token")

    def takes_away(self, job: str) -> None:
        """What its reaper did with a run that has died."""
        self.client.zrem(f"{self.prefix}leases", job)
        self.client.hdel(f"{self.prefix}job:{job}", "token")
        self.client.zadd(f"{self.prefix}waiting:{LANE}", {job: 1.0})

    def waits_for_children(self, job: str) -> None:
        self.client.zrem(f"{self.prefix}leases", job)
        fields = {"status": "waiting", "lane": LATER, "total_jobs": "1"}
        self.client.hset(f"{self.prefix}job:{job}", mapping=fields)

    def submitted(self, job: str) -> None:
        """Leave of a job what that release wrote."""
        self.client.hdel(f"{self.prefix}job:{job}", "counted", "input_bytes")
        self.client.delete(f"{self.prefix}load")


@pytest.fixture
def ledger(broker: Broker) -> Ledger:
    return Ledger(broker.client, prefix=broker.prefix, expires_s=600)


@pytest.fixture
def before(broker: Broker) -> Before:
    return Before(broker)


def submit(ledger: Ledger) -> str:
    one = new_job(JOB_TYPE, {"input_file_name": "x"}, input_bytes=BYTES)
    assert ledger.submit(one, lane=LANE)
    return one.id


def toy(ledger: Ledger) -> QueueLoad:
    (load,) = numbers_of(ledger, ["toy"]).queues
    return load


def counted(broker: Broker) -> dict[str, int]:
    rows: Any = broker.client.hgetall(f"{broker.prefix}load")
    return {name: int(count) for name, count in rows.items()}


def put_right(ledger: Ledger) -> None:
    """Count anew, which is only done once."""
    assert LostJobs(ledger).recount()
    assert not LostJobs(ledger).recount()


def test_right_counts_are_left_alone(ledger: Ledger) -> None:
    assert not LostJobs(ledger).recount()
    job = submit(ledger)
    claim = ledger.claim(job, stage_index=0)
    assert claim
    assert not LostJobs(ledger).recount()
    ledger.finish(job, Status.DONE, {}, claim=claim)
    assert not LostJobs(ledger).recount()


def test_jobs_that_were_waiting_at_the_upgrade(
    ledger: Ledger, broker: Broker, before: Before
) -> None:
    for _ in range(40):
        before.submitted(submit(ledger))
    assert toy(ledger).waiting == 40
    assert toy(ledger).outstanding_s == pytest.approx(40)  # a guess, but not nothing
    put_right(ledger)
    assert counted(broker) == {"toy|toy|jobs": 40, "toy|toy|bytes": 0}


def test_half_of_the_jobs_are_counted(ledger: Ledger, before: Before) -> None:
    before.submitted(submit(ledger))
    alone = 2 * toy(ledger).outstanding_s
    submit(ledger)
    assert toy(ledger).outstanding_s == pytest.approx(alone, rel=0.2)


def test_a_run_of_the_release_before(ledger: Ledger, broker: Broker, before: Before) -> None:
    job, other = submit(ledger), submit(ledger)
    before.claims(job)
    put_right(ledger)
    assert (toy(ledger).waiting, toy(ledger).in_flight) == (1, 1)
    before.ends(job)
    assert toy(ledger).in_flight == 1  # for ever, if nobody counted anew
    put_right(ledger)
    assert (toy(ledger).waiting, toy(ledger).in_flight) == (1, 0)
    assert counted(broker) == {"toy|toy|jobs": 1, "toy|toy|bytes": BYTES}
    claim = ledger.claim(other, stage_index=0)
    assert claim
    ledger.finish(other, Status.DONE, {}, claim=claim)
    assert not LostJobs(ledger).recount()
    assert toy(ledger).outstanding_s == 0


def test_a_run_of_ours_that_a_reaper_of_the_release_before_took_away(
    ledger: Ledger, before: Before
) -> None:
    job = submit(ledger)
    assert ledger.claim(job, stage_index=0)
    before.takes_away(job)
    assert (toy(ledger).waiting, toy(ledger).in_flight) == (1, 1)
    put_right(ledger)
    assert (toy(ledger).waiting, toy(ledger).in_flight) == (1, 0)


def test_a_parent_waits_for_children_of_the_release_before(
    ledger: Ledger, broker: Broker, before: Before
) -> None:
    job = submit(ledger)
    before.claims(job)
    before.waits_for_children(job)
    put_right(ledger)
    assert counted(broker) == {}
    child = new_job(JOB_TYPE, {"input_file_name": "x"}, input_bytes=BYTES)
    ledger.submit(child, lane=LANE, parent=job)
    assert ledger.finish(child.id, Status.DONE, {}).parent == job
    assert not LostJobs(ledger).recount()
    assert counted(broker)["toy|toy|jobs"] == 1


@pytest.mark.parametrize("runs", [False, True])
def test_a_record_that_was_removed_by_hand(ledger: Ledger, broker: Broker, runs: bool) -> None:
    job = submit(ledger)
    submit(ledger)
    if runs:
        assert ledger.claim(job, stage_index=0)
    broker.client.delete(f"{broker.prefix}job:{job}")
    broker.client.hincrby(f"{broker.prefix}load", "toy|toy|jobs", 3)
    put_right(ledger)
    numbers = numbers_of(ledger, ["toy"])
    assert (toy(ledger).waiting, toy(ledger).in_flight) == (1, 0)
    assert (numbers.open, numbers.running) == (1, 0)
    assert not broker.client.exists(f"{broker.prefix}job:{job}")


def test_many_jobs_are_not_counted_in_one_step(
    ledger: Ledger, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [submit(ledger) for _ in range(5)]
    broker.client.hincrby(f"{broker.prefix}load", "toy|toy|jobs", 7)
    monkeypatch.setattr(lost, "_MOST_RECOUNTED", 4)
    assert not LostJobs(ledger).recount()
    assert toy(ledger).outstanding_s == pytest.approx(5 * 1, rel=0.2)  # of five jobs all the same
    ledger.finish(jobs[0], Status.CANCELLED, {})
    put_right(ledger)


def test_a_job_that_runs_does_not_wait(ledger: Ledger, broker: Broker) -> None:
    job = submit(ledger)
    assert ledger.claim(job, stage_index=0)
    broker.client.zadd(f"{broker.prefix}waiting:{LANE}", {job: 1.0})
    put_right(ledger)
    assert (toy(ledger).waiting, toy(ledger).in_flight) == (0, 1)
