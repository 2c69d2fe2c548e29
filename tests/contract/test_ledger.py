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

from kiosk_tasks.errors import BrokerUnavailable, ClaimLost, UnknownJob
from kiosk_tasks.job import Job, JobType, Params, Status, new_job
from kiosk_tasks.ledger import Claim, Ledger, LostJobs, Record, newest
from tests.conftest import Broker


def _nothing(value: Any, _ctx: Any) -> Any:
    return value


JOB_TYPE = JobType("toy", "Toy", "toy", Params, (_nothing,))
EXPIRES_S = 600
LANE = "toy:6"


def job(**fields: Any) -> Job:
    return new_job(JOB_TYPE, {"input_file_name": "uploads/a.tif", **fields})


@pytest.fixture
def ledger(broker: Broker) -> Ledger:
    return Ledger(broker.client, prefix=broker.prefix, expires_s=EXPIRES_S)


@pytest.fixture
def claimed(ledger: Ledger) -> Claim:
    one = job()
    ledger.submit(one, lane=LANE)
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
    assert ledger.submit(one, lane=LANE)
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
    assert at_once([lambda: ledger.submit(one, lane=LANE)] * 8).count(True) == 1
    claim = ledger.claim(one.id, stage_index=0)
    assert claim
    assert not ledger.submit(one, lane=LANE)
    assert ledger.record(one.id).status is Status.STARTED


def test_every_key_has_the_prefix(ledger: Ledger, broker: Broker) -> None:
    before = set(broker.client.scan_iter())
    ledger.submit(job(), lane=LANE)
    new = set(broker.client.scan_iter()) - before
    assert new
    assert all(key.startswith(broker.prefix) for key in new)


def test_unknown_job(ledger: Ledger) -> None:
    with pytest.raises(UnknownJob, match="nobody"):
        ledger.record("nobody")
    with pytest.raises(UnknownJob, match="nobody"):
        ledger.claim("nobody", stage_index=0)
    assert not ledger.finish("nobody", Status.DONE, {}).written
    with pytest.raises(ClaimLost):
        ledger.write(stray(), {"progress": "1"})


def test_claim_starts_the_job(ledger: Ledger, claimed: Claim) -> None:
    fields = ledger.record(claimed.job_id).fields
    assert fields["status"] == "started"
    assert fields["attempts"] == "1"
    assert fields["started_at"] >= fields["created_at"]
    assert fields["updated_by"] == fields["identity_started"] != ""


def test_first_start_is_kept(ledger: Ledger, claimed: Claim) -> None:
    before = ledger.record(claimed.job_id).fields["started_at"]
    assert ledger.claim(claimed.job_id, stage_index=0, redelivered=True)
    after = ledger.record(claimed.job_id).fields
    assert (after["started_at"], after["attempts"]) == (before, "2")


def test_twin_that_lost_its_claim_writes_nothing(ledger: Ledger, claimed: Claim) -> None:
    second = ledger.claim(claimed.job_id, stage_index=0, redelivered=True)
    assert second
    with pytest.raises(ClaimLost, match="another run"):
        ledger.write(claimed, {"progress": "99"})
    assert not ledger.finish(claimed.job_id, Status.FAILED, {"reason": "no"}, claim=claimed).written
    assert ledger.renew(claimed) == ledger.holds(claimed) == "lost"
    ledger.write(second, {"progress": "10"})
    record = ledger.record(claimed.job_id)
    assert (record.status, record.progress) == (Status.STARTED, 10)
    assert "reason" not in record.fields


def test_link_that_has_been_passed_is_an_echo(ledger: Ledger, claimed: Claim) -> None:
    released(ledger, claimed, "next", stage_index=3)
    assert ledger.claim(claimed.job_id, stage_index=2) is None
    assert ledger.claim(claimed.job_id, stage_index=3)
    assert ledger.claim(claimed.job_id, stage_index=3, redelivered=True)  # the same link
    assert ledger.record(claimed.job_id).fields["stage_index"] == "3"


@pytest.mark.parametrize("status", [Status.DONE, Status.FAILED, Status.CANCELLED])
def test_terminal_is_terminal(ledger: Ledger, claimed: Claim, status: Status) -> None:
    assert ledger.finish(claimed.job_id, status, {"reason": "first"}, claim=claimed).written
    for other in (Status.DONE, Status.FAILED, Status.CANCELLED):
        assert not ledger.finish(claimed.job_id, other, {"reason": "second"}).written
    assert ledger.renew(claimed) == ledger.holds(claimed) == str(status)
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
    assert ledger.finish(claimed.job_id, Status.CANCELLED, {}).written
    assert ledger.record(claimed.job_id).status is Status.CANCELLED


def test_newest_come_first(ledger: Ledger) -> None:
    jobs = [job(original_name=f"{number}.tif") for number in range(4)]
    for one in jobs:
        ledger.submit(one, lane=LANE)
    assert [record.id for record in newest(ledger, 3).records] == [one.id for one in jobs[:0:-1]]
    assert ledger.open_count() == 4


def test_index_forgets_what_has_expired(ledger: Ledger, broker: Broker) -> None:
    old = job()
    ledger.submit(old, lane=LANE)
    broker.client.zadd(f"{broker.prefix}jobs", {old.id: 1.0})
    broker.client.delete(f"{broker.prefix}job:{old.id}")
    assert newest(ledger, 5).records == []  # a record that is gone is left out
    fresh = job()
    ledger.submit(fresh, lane=LANE)
    assert broker.client.zrange(f"{broker.prefix}jobs", 0, -1) == [fresh.id]


@pytest.mark.parametrize("_round", range(5))
def test_racing_claims_leave_one_owner(ledger: Ledger, _round: int) -> None:
    one = job()
    ledger.submit(one, lane=LANE)
    claims = at_once([lambda: ledger.claim(one.id, stage_index=0, redelivered=True)] * 8)

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
        lambda status=status: ledger.finish(claimed.job_id, status, {"reason": str(status)}).written
        for status in (Status.DONE, Status.FAILED, Status.CANCELLED) * 2
    ]
    assert at_once(ends).count(True) == 1
    fields = ledger.record(claimed.job_id).fields
    assert fields["status"] == fields["reason"]


def test_broker_that_is_gone() -> None:
    never = Retry(NoBackoff(), 0)
    client = redis.Redis(host="127.0.0.1", port=1, decode_responses=True, retry=never)
    ledger = Ledger(client, prefix="", expires_s=1)
    calls: list[Callable[[], Any]] = [
        lambda: ledger.submit(job(), lane=LANE),
        lambda: ledger.claim("x", stage_index=0),
        lambda: ledger.write(stray(), {}),
        lambda: ledger.renew(stray()),
        lambda: ledger.holds(stray()),
        lambda: ledger.children("x"),
        lambda: ledger.finish("x", Status.DONE, {}),
        lambda: ledger.record("x"),
        lambda: newest(ledger, 1),
        lambda: ledger.open_count(),
    ]
    for call in calls:
        with pytest.raises(BrokerUnavailable, match="KIOSK_BROKER_URL"):
            call()
    client.close()


def test_attempts_count_the_runs_that_died(ledger: Ledger) -> None:
    one = job()
    ledger.submit(one, lane=LANE)
    for attempts in (1, 2, 3, 4):
        claim = ledger.claim(one.id, stage_index=0, redelivered=True)
        assert claim
        assert (claim.record.attempts, claim.exhausted) == (attempts, False)
    last = ledger.claim(one.id, stage_index=0, redelivered=True)
    assert last
    assert (last.record.attempts, last.exhausted) == (4, True)
    assert ledger.finish(one.id, Status.FAILED, {"reason": "died"}, claim=last).written


def test_new_link_starts_counting_anew(ledger: Ledger, claimed: Claim) -> None:
    again = ledger.claim(claimed.job_id, stage_index=0, redelivered=True)
    assert again
    released(ledger, again, "next", stage_index=2)
    later = ledger.claim(claimed.job_id, stage_index=2)
    assert later
    assert later.record.attempts == 1


def test_orderly_retry_is_no_attempt(ledger: Ledger, claimed: Claim) -> None:
    claim: Claim | None = claimed
    for retries in range(6):
        assert claim
        assert (claim.record.attempts, claim.record.retries) == (1, retries)
        released(ledger, claim, "again", stage_index=0)
        claim = ledger.claim(claimed.job_id, stage_index=0)


def test_job_that_shows_signs_of_life_is_left_alone(ledger: Ledger, claimed: Claim) -> None:
    assert ledger.claim(claimed.job_id, stage_index=0) is None
    assert ledger.holds(claimed) == "written"


def test_lease_that_ran_out_is_anyones(ledger: Ledger, claimed: Claim, broker: Broker) -> None:
    run_out(broker, claimed)
    second = ledger.claim(claimed.job_id, stage_index=0)
    assert second
    assert ledger.holds(claimed) == "lost"


def test_renewed_lease(ledger: Ledger, claimed: Claim, broker: Broker) -> None:
    lost = LostJobs(ledger)
    run_out(broker, claimed)
    assert lost.expired(5) == [claimed.job_id]
    assert ledger.renew(claimed) == "written"
    assert lost.expired(5) == []
    assert not lost.reclaim(claimed.job_id)


def test_reclaimed_job_waits_again(ledger: Ledger, claimed: Claim, broker: Broker) -> None:
    lost = LostJobs(ledger)
    run_out(broker, claimed)
    assert at_once([lambda: lost.reclaim(claimed.job_id)] * 8).count(True) == 1
    assert ledger.renew(claimed) == "lost"
    assert lost.expired(5) == []
    assert lost.waiting_count(LANE) == 1
    claim = ledger.claim(claimed.job_id, stage_index=0)
    assert claim
    assert claim.record.attempts == 2
    assert lost.waiting_count(LANE) == 0


def test_job_waits_in_the_list_of_its_next_message(ledger: Ledger) -> None:
    lost, one = LostJobs(ledger), job()
    ledger.submit(one, lane=LANE)
    assert [lost.waiting_count(lane) for lane in (LANE, "cpu")] == [1, 0]
    claim = ledger.claim(one.id, stage_index=0)
    assert claim
    assert [lost.waiting_count(lane) for lane in (LANE, "cpu")] == [0, 0]
    ledger.release(claim, "next", lane="cpu", stage_index=2, fields={"artifact": "a/b"})
    assert [lost.waiting_count(lane) for lane in (LANE, "cpu")] == [0, 1]
    assert lost.lanes() == ["cpu", LANE]
    (waiting,) = lost.waiting_before("cpu", lost.time() + 1, 9)
    assert lost.waiting_before("cpu", waiting.since, 9) == []
    assert lost.since("cpu", [one.id, "nobody"]) == [waiting.since, None]
    assert at_once([lambda: lost.resend("cpu", waiting)] * 8).count(True) == 1
    ledger.finish(one.id, Status.CANCELLED, {})
    assert lost.waiting_count("cpu") == 0


def test_what_ended_badly_is_swept_later(ledger: Ledger, claimed: Claim, broker: Broker) -> None:
    lost = LostJobs(ledger)
    ledger.finish(claimed.job_id, Status.CANCELLED, {})
    assert lost.untidy(5) == []  # a run of it may still write
    broker.client.zadd(f"{broker.prefix}sweep", {claimed.job_id: 1.0})
    assert lost.untidy(5) == [claimed.job_id]
    lost.tidied([claimed.job_id])
    assert lost.untidy(5) == []


def test_call_that_is_repeated_after_a_lost_reply(ledger: Ledger, claimed: Claim) -> None:
    """redis-py sends a command again when the connection breaks before the reply."""
    released(ledger, claimed, "again", stage_index=0)
    released(ledger, claimed, "again", stage_index=0)
    assert ledger.record(claimed.job_id).retries == 1
    claim = ledger.claim(claimed.job_id, stage_index=0)
    assert claim
    for _ in range(2):
        assert ledger.finish(claimed.job_id, Status.DONE, {}, claim=claim).written


@pytest.fixture
def family(ledger: Ledger) -> tuple[Claim, list[Job]]:
    """A parent that runs its stage 1, and its children, submitted."""
    parent = job()
    ledger.submit(parent, lane=LANE)
    claim = ledger.claim(parent.id, stage_index=1)
    assert claim
    children = [job(original_name=f"{number}.tif") for number in range(3)]
    for one in children * 2:  # a second run of the stage
        ledger.submit(one, lane=LANE, parent=parent.id)
    return claim, children


def wait_for_children(ledger: Ledger, parent: Claim, total: int) -> bool:
    fields = {"artifact": "a/b", "total_jobs": str(total)}
    return ledger.release(parent, "children", lane="toy", stage_index=2, fields=fields)


def test_last_child_makes_the_parent_go_on(ledger: Ledger, family: tuple[Claim, list[Job]]) -> None:
    parent, children = family
    assert ledger.children(parent.job_id) == [one.id for one in children]
    ledger.finish(children[0].id, Status.DONE, {})
    assert not wait_for_children(ledger, parent, 3)
    assert ledger.record(parent.job_id).status is Status.WAITING
    assert LostJobs(ledger).waiting_count("toy") == 0
    assert ledger.finish(children[1].id, Status.FAILED, {"reason": "no"}).parent == ""
    assert ledger.record(parent.job_id).progress == 66
    assert ledger.finish(children[2].id, Status.DONE, {}).parent == parent.job_id
    assert LostJobs(ledger).waiting_count("toy") == 1
    assert ledger.claim(parent.job_id, stage_index=1) is None
    assert ledger.claim(parent.job_id, stage_index=2)


def test_children_that_ended_before_the_parent_waits(
    ledger: Ledger, family: tuple[Claim, list[Job]]
) -> None:
    parent, children = family
    endings = [ledger.finish(one.id, Status.DONE, {}) for one in children]
    assert [ending.parent for ending in endings] == ["", "", ""]
    assert wait_for_children(ledger, parent, 3)
    assert LostJobs(ledger).waiting_count("toy") == 1


@pytest.mark.parametrize("_round", range(5))
def test_racing_children_wake_the_parent_once(
    ledger: Ledger, family: tuple[Claim, list[Job]], _round: int
) -> None:
    parent, children = family
    ends: list[Callable[[], Any]] = [
        lambda one=one: bool(ledger.finish(one.id, Status.DONE, {}).parent) for one in children
    ]
    woken = at_once([*ends, lambda: wait_for_children(ledger, parent, 3)])
    assert woken.count(True) == 1


def test_children_are_kept_for_their_parent(
    ledger: Ledger, family: tuple[Claim, list[Job]], broker: Broker
) -> None:
    parent, children = family

    def kept_s() -> list[int]:
        answers: Any = [broker.client.ttl(f"{broker.prefix}job:{one.id}") for one in children]
        return list(answers)

    ledger.finish(children[0].id, Status.DONE, {})
    wait_for_children(ledger, parent, 3)
    ledger.finish(children[1].id, Status.FAILED, {})
    assert kept_s() == [-1, -1, -1]
    ledger.finish(parent.job_id, Status.CANCELLED, {})
    first, second, third = kept_s()
    assert 0 < first <= EXPIRES_S
    assert 0 < second <= EXPIRES_S
    assert third == -1  # it has not ended
    ledger.finish(children[2].id, Status.CANCELLED, {})
    assert 0 < kept_s()[2] <= EXPIRES_S


def test_child_of_an_ended_parent(
    ledger: Ledger, family: tuple[Claim, list[Job]], broker: Broker
) -> None:
    parent, children = family
    ledger.finish(parent.job_id, Status.CANCELLED, {})
    assert ledger.finish(children[0].id, Status.DONE, {}).parent == ""
    lists = [f"{broker.prefix}{name}:{parent.job_id}" for name in ("children", "ended")]
    assert [broker.client.ttl(name) for name in lists] == [-1, -2]  # there is to be tidied
    LostJobs(ledger).tidied([parent.job_id])
    assert 0 < broker.client.ttl(lists[0]) <= EXPIRES_S


def released(ledger: Ledger, claim: Claim, how: Any, *, stage_index: int) -> None:
    assert ledger.release(claim, how, lane=LANE, stage_index=stage_index, fields={})


def run_out(broker: Broker, claim: Claim) -> None:
    """Make it a minute later for a lease."""
    broker.client.zadd(f"{broker.prefix}leases", {claim.job_id: 1.0})


def stray() -> Claim:
    return Claim("nobody", "token", Record("nobody", {}))
