"""Job records on a real Valkey: each rule holds whoever else writes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from kiosk_tasks.errors import BrokerUnavailable, Cancelled, ClaimLost, UnknownJob
from kiosk_tasks.job import Job, JobType, Params, Status, new_job
from kiosk_tasks.ledger import Claim, Ledger, LedgerReporter
from kiosk_tasks.ledger.records import time_field
from tests.conftest import Broker


def _nothing(value: Any, _ctx: Any) -> Any:
    return value


JOB_TYPE = JobType("toy", "Toy", "toy", Params, (_nothing,))
EXPIRES_S = 600


def job(**fields: Any) -> Job:
    return new_job(JOB_TYPE, {"input_file_name": "uploads/a.tif", **fields})


@pytest.fixture
def ledger(broker: Broker) -> Ledger:
    return Ledger(broker.client, prefix=broker.prefix, expires_s=EXPIRES_S)


@pytest.fixture
def claimed(ledger: Ledger) -> Claim:
    one = job()
    ledger.submit(one)
    claim = ledger.claim(one.id, stage_index=0)
    assert claim
    return claim


def at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    """Run the calls in threads that start together."""
    gate = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        gate.wait(10)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def test_submitted_record(ledger: Ledger, broker: Broker) -> None:
    one = job(original_name="my image.tif", model_version=3)
    assert ledger.submit(one)
    record = ledger.record(one.id)
    assert record.status is Status.NEW
    assert record.progress == 0
    assert record.payload == {
        "input_file_name": "uploads/a.tif",
        "original_name": "my image.tif",
        "model_version": 3,
    }
    assert record.fields["model_name"] == ""
    assert record.fields["created_at"] == one.created_at
    assert new_job(JOB_TYPE, record.payload, job_id=one.id).params == one.params
    assert broker.client.ttl(f"{broker.prefix}job:{one.id}") == -1  # an open job is never lost
    assert ledger.open_count() == 1


def test_submitted_once(ledger: Ledger) -> None:
    one = job()
    assert at_once([lambda: ledger.submit(one)] * 8).count(True) == 1
    claim = ledger.claim(one.id, stage_index=0)
    assert claim
    assert not ledger.submit(one)
    assert ledger.record(one.id).status is Status.STARTED


def test_every_key_has_the_prefix(ledger: Ledger, broker: Broker) -> None:
    ledger.submit(job())
    others = [key for key in broker.client.scan_iter() if not key.startswith("test-")]
    assert others == []


def test_unknown_job(ledger: Ledger) -> None:
    with pytest.raises(UnknownJob, match="nobody"):
        ledger.record("nobody")
    with pytest.raises(UnknownJob, match="nobody"):
        ledger.claim("nobody", stage_index=0)
    assert not ledger.finish("nobody", Status.DONE, {})
    with pytest.raises(ClaimLost):
        ledger.write(Claim("nobody", "token"), {"progress": "1"})


def test_claim_starts_the_job(ledger: Ledger, claimed: Claim) -> None:
    fields = ledger.record(claimed.job_id).fields
    assert fields["status"] == "started"
    assert fields["attempts"] == "1"
    assert fields["started_at"] >= fields["created_at"]
    assert fields["identity_started"]


def test_first_start_is_kept(ledger: Ledger, claimed: Claim) -> None:
    before = ledger.record(claimed.job_id).fields["started_at"]
    assert ledger.claim(claimed.job_id, stage_index=0)
    after = ledger.record(claimed.job_id).fields
    assert (after["started_at"], after["attempts"]) == (before, "2")


def test_twin_that_lost_its_claim_writes_nothing(ledger: Ledger, claimed: Claim) -> None:
    second = ledger.claim(claimed.job_id, stage_index=0)
    assert second
    with pytest.raises(ClaimLost, match="another run"):
        ledger.write(claimed, {"progress": "99"})
    assert not ledger.finish(claimed.job_id, Status.FAILED, {"reason": "no"}, claim=claimed)
    ledger.write(second, {"progress": "10"})
    record = ledger.record(claimed.job_id)
    assert (record.status, record.progress) == (Status.STARTED, 10)
    assert "reason" not in record.fields


def test_link_that_has_been_passed_is_an_echo(ledger: Ledger, claimed: Claim) -> None:
    assert ledger.claim(claimed.job_id, stage_index=3)
    assert ledger.claim(claimed.job_id, stage_index=2) is None
    assert ledger.claim(claimed.job_id, stage_index=3)  # the same link, redelivered
    assert ledger.record(claimed.job_id).fields["stage_index"] == "3"


@pytest.mark.parametrize("status", [Status.DONE, Status.FAILED, Status.CANCELLED])
def test_terminal_is_terminal(ledger: Ledger, claimed: Claim, status: Status) -> None:
    assert ledger.finish(claimed.job_id, status, {"reason": "first"}, claim=claimed)
    for other in (Status.DONE, Status.FAILED, Status.CANCELLED):
        assert not ledger.finish(claimed.job_id, other, {"reason": "second"})
        assert not ledger.finish(claimed.job_id, other, {"reason": "second"}, claim=claimed)
    with pytest.raises(ClaimLost, match=str(status)):
        ledger.write(claimed, {"progress": "1"})
    assert ledger.claim(claimed.job_id, stage_index=0) is None
    assert ledger.claim(claimed.job_id, stage_index=4) is None
    record = ledger.record(claimed.job_id)
    assert record.status is status
    assert record.fields["reason"] == "first"
    assert "token" not in record.fields
    assert record.fields["finished_at"]


def test_ended_record_expires_and_leaves_the_open_jobs(
    ledger: Ledger, claimed: Claim, broker: Broker
) -> None:
    assert ledger.open_count() == 1
    ledger.finish(claimed.job_id, Status.DONE, {}, claim=claimed)
    assert ledger.open_count() == 0
    assert 0 < broker.client.ttl(f"{broker.prefix}job:{claimed.job_id}") <= EXPIRES_S


def test_cancelling_needs_no_claim(ledger: Ledger, claimed: Claim) -> None:
    assert ledger.finish(claimed.job_id, Status.CANCELLED, {})
    assert ledger.record(claimed.job_id).status is Status.CANCELLED


def test_newest_come_first(ledger: Ledger) -> None:
    jobs = [job(original_name=f"{number}.tif") for number in range(4)]
    for one in jobs:
        ledger.submit(one)
    assert [record.id for record in ledger.newest(3)] == [one.id for one in jobs[:0:-1]]
    assert ledger.open_count() == 4


def test_index_forgets_what_has_expired(ledger: Ledger, broker: Broker) -> None:
    old = job()
    object.__setattr__(old, "created_at", "2020-01-01T00:00:00+00:00")
    ledger.submit(old)
    broker.client.delete(f"{broker.prefix}job:{old.id}")
    assert ledger.newest(5) == []  # a record that is gone is left out
    fresh = job()
    ledger.submit(fresh)
    assert broker.client.zrange(f"{broker.prefix}jobs", 0, -1) == [fresh.id]


@pytest.mark.parametrize("_round", range(5))
def test_racing_claims_leave_one_owner(ledger: Ledger, _round: int) -> None:
    one = job()
    ledger.submit(one)
    claims = at_once([lambda: ledger.claim(one.id, stage_index=0)] * 8)

    def owns(claim: Claim) -> bool:
        try:
            ledger.write(claim, {"progress": "5"})
        except ClaimLost:
            return False
        return True

    assert [owns(claim) for claim in claims].count(True) == 1


@pytest.mark.parametrize("_round", range(5))
def test_racing_ends_leave_one(ledger: Ledger, claimed: Claim, _round: int) -> None:
    ends = [
        lambda status=status, who=who: ledger.finish(
            claimed.job_id, status, {"reason": str(status)}, claim=who
        )
        for status in (Status.DONE, Status.FAILED, Status.CANCELLED)
        for who in (claimed, None)
    ]
    assert at_once(ends).count(True) == 1
    fields = ledger.record(claimed.job_id).fields
    assert fields["status"] == fields["reason"]


def test_broker_that_is_gone() -> None:
    never = Retry(NoBackoff(), 0)
    client = redis.Redis(host="127.0.0.1", port=1, decode_responses=True, retry=never)
    ledger = Ledger(client, prefix="", expires_s=1)
    calls: list[Callable[[], Any]] = [
        lambda: ledger.submit(job()),
        lambda: ledger.claim("x", stage_index=0),
        lambda: ledger.write(Claim("x", "t"), {}),
        lambda: ledger.finish("x", Status.DONE, {}),
        lambda: ledger.record("x"),
        lambda: ledger.newest(1),
        lambda: ledger.open_count(),
    ]
    for call in calls:
        with pytest.raises(BrokerUnavailable, match="KIOSK_BROKER_URL"):
            call()
    client.close()


def test_reporter_writes_status_seconds_and_facts(ledger: Ledger, claimed: Claim) -> None:
    report = LedgerReporter(ledger, claimed)
    with report.stage("predict", Status.PREDICTING):
        assert ledger.record(claimed.job_id).status is Status.PREDICTING
        report.note(image={"shape": [3, 4]}, scale=0.5)
    with report.stage("my own stage", None):
        assert ledger.record(claimed.job_id).status is Status.PREDICTING
    record = ledger.record(claimed.job_id)
    assert time_field("predict") == "prediction_time"
    assert float(record.fields["prediction_time"]) >= 0
    assert set(record.seconds()) == {"predict", "my own stage"}
    assert record.notes() == {"image": {"shape": [3, 4]}, "scale": 0.5}
    notes = report.notes()
    assert notes.pop("seconds") == record.seconds()
    assert notes == record.notes()


def test_facts_outlive_the_link_that_found_them(ledger: Ledger, claimed: Claim) -> None:
    LedgerReporter(ledger, claimed).note(channel=1)
    later = ledger.claim(claimed.job_id, stage_index=2)
    assert later
    assert LedgerReporter(ledger, later).notes()["channel"] == 1


def test_failing_stage_has_no_seconds(ledger: Ledger, claimed: Claim) -> None:
    report = LedgerReporter(ledger, claimed)
    with pytest.raises(ZeroDivisionError), report.stage("preprocess", Status.PREPROCESSING):
        raise ZeroDivisionError
    assert ledger.record(claimed.job_id).seconds() == {}


def test_progress_is_written_rarely_but_the_last_always(ledger: Ledger, claimed: Claim) -> None:
    report = LedgerReporter(ledger, claimed)
    report.progress(0, 300)
    for done in range(1, 300):
        report.progress(done, 300)
    assert ledger.record(claimed.job_id).progress < 100
    report.progress(300, 300)
    assert ledger.record(claimed.job_id).progress == 100
    report.progress(0, 0)
    assert ledger.record(claimed.job_id).progress == 0


def test_reporter_learns_that_the_job_was_cancelled(ledger: Ledger, claimed: Claim) -> None:
    report = LedgerReporter(ledger, claimed)
    ledger.finish(claimed.job_id, Status.CANCELLED, {})
    with pytest.raises(Cancelled):
        report.progress(1, 2)


def test_reporter_learns_that_another_run_has_the_job(ledger: Ledger, claimed: Claim) -> None:
    report = LedgerReporter(ledger, claimed)
    ledger.claim(claimed.job_id, stage_index=0)
    with pytest.raises(ClaimLost):
        report.note(a=1)


def test_attempts_count_the_runs_of_one_link(ledger: Ledger) -> None:
    submitted = job()
    ledger.submit(submitted)
    for stage_index, attempts in ((0, 1), (0, 2), (2, 1), (2, 2)):
        assert ledger.claim(submitted.id, stage_index=stage_index)
        assert ledger.record(submitted.id).fields["attempts"] == str(attempts)
