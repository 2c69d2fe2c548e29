"""The ledger's counts on a real Valkey: seen at one moment, exact, and of constant cost."""

from __future__ import annotations

from typing import Any

import pytest

from kiosk_tasks.job import JobType, Params, Status, new_job
from kiosk_tasks.ledger import Claim, Ledger, LostJobs
from kiosk_tasks.ledger.numbers import Numbers, QueueLoad
from kiosk_tasks.queues import look, numbers_of
from kiosk_tasks.scaling import Pace, Policy
from tests.conftest import Broker


def _nothing(value: Any, _ctx: Any) -> Any:
    return value


JOB_TYPE = JobType("toy", "Toy", "toy", Params, (_nothing,))
LANE, LATER = "toy:6", "toy"
MB = 1_000_000


@pytest.fixture
def ledger(broker: Broker) -> Ledger:
    return Ledger(broker.client, prefix=broker.prefix, expires_s=600)


def submit(ledger: Ledger, *, size: int | None = MB, lane: str = LANE) -> str:
    one = new_job(JOB_TYPE, {"input_file_name": "x"}, input_bytes=size)
    assert ledger.submit(one, lane=lane)
    return one.id


def claim(ledger: Ledger, job_id: str, *, stage: int = 0) -> Claim:
    found = ledger.claim(job_id, stage_index=stage)
    assert found
    return found


def take(
    ledger: Ledger, job_id: str, broker: Broker, *, seconds: float, model_s: float = 0
) -> None:
    """Do a job that takes so long, without waiting for it."""
    mine = claim(ledger, job_id)
    key = f"{broker.prefix}job:{job_id}"
    began: Any = broker.client.hget(key, "claimed_at")
    broker.client.hset(key, "claimed_at", str(float(began) - seconds))
    fields = {"prediction_time": str(model_s)} if model_s else {}
    assert ledger.finish(job_id, Status.DONE, fields, claim=mine).written


def toy(ledger: Ledger) -> tuple[QueueLoad, Numbers]:
    numbers = numbers_of(ledger, ["toy", "other"])
    load, other = numbers.queues
    assert (other.waiting, other.in_flight, other.outstanding_s) == (0, 0, 0)
    return load, numbers


def test_nothing_yet(ledger: Ledger) -> None:
    load, numbers = toy(ledger)
    assert load == QueueLoad("toy", 0, 0, 0.0, 0.0, 0.0)
    assert (numbers.open, numbers.running, numbers.submitted, numbers.ended) == (0, 0, {}, {})
    assert numbers.seconds_since_reaping is None


def test_a_job_is_counted_where_it_is(ledger: Ledger) -> None:
    jobs = [submit(ledger) for _ in range(3)]
    load, _ = toy(ledger)
    assert (load.waiting, load.in_flight) == (3, 0)
    mine = claim(ledger, jobs[0])
    load, numbers = toy(ledger)
    assert (load.waiting, load.in_flight, numbers.running) == (2, 1, 1)
    ledger.release(mine, "next", lane=LATER, stage_index=1, fields={})
    load, _ = toy(ledger)
    assert (load.waiting, load.in_flight) == (3, 0)
    ledger.finish(jobs[1], Status.CANCELLED, {})
    mine = claim(ledger, jobs[0], stage=1)
    ledger.finish(jobs[0], Status.DONE, {}, claim=mine)
    load, numbers = toy(ledger)
    assert (load.waiting, load.in_flight, numbers.open) == (1, 0, 1)
    assert numbers.submitted == {"toy": 3}
    assert numbers.ended == {("toy", "done"): 1, ("toy", "cancelled"): 1}


def test_the_name_of_a_queue_may_hold_a_colon(ledger: Ledger) -> None:
    """Job types may not name theirs so, but KIOSK_STAGE_QUEUES may."""
    claim(ledger, submit(ledger, lane="gpu:a:6"))
    submit(ledger, lane="gpu:a")
    (load,) = numbers_of(ledger, ["gpu:a"]).queues
    assert (load.waiting, load.in_flight) == (1, 1)
    assert load.outstanding_s > 0


def test_a_run_that_died_is_counted_once(ledger: Ledger, broker: Broker) -> None:
    job = submit(ledger)
    claim(ledger, job)
    broker.client.zadd(f"{broker.prefix}leases", {job: 1.0})
    assert LostJobs(ledger).reclaim(job)
    load, _ = toy(ledger)
    assert (load.waiting, load.in_flight) == (1, 0)
    claim(ledger, job)
    again = ledger.claim(job, stage_index=0, redelivered=True)
    assert again
    load, _ = toy(ledger)
    assert (load.waiting, load.in_flight) == (0, 1)


def test_a_parent_that_waits_for_its_children_wants_no_worker(ledger: Ledger) -> None:
    parent = submit(ledger)
    mine = claim(ledger, parent)
    child = new_job(JOB_TYPE, {"input_file_name": "x"}, input_bytes=MB)
    ledger.submit(child, lane=LANE, parent=parent)
    ledger.release(mine, "children", lane=LATER, stage_index=1, fields={"total_jobs": "1"})
    load, numbers = toy(ledger)
    assert (load.waiting, load.in_flight, numbers.open) == (1, 0, 2)
    ledger.finish(child.id, Status.DONE, {}, claim=claim(ledger, child.id))
    load, numbers = toy(ledger)
    assert (load.waiting, load.in_flight, numbers.open) == (1, 0, 1)  # the parent, now


def test_how_long_the_oldest_waits(ledger: Ledger, broker: Broker) -> None:
    first, _second = submit(ledger), submit(ledger)
    lane = f"{broker.prefix}waiting:{LANE}"
    broker.client.zincrby(lane, -90.0, first)
    load, _ = toy(ledger)
    assert 90 <= load.oldest_wait_s < 150
    mine = claim(ledger, first)
    assert mine.waited_s is not None
    assert 90 <= mine.waited_s < 150
    load, _ = toy(ledger)
    assert load.oldest_wait_s < 60


def test_time_is_predicted_from_what_was_measured(ledger: Ledger, broker: Broker) -> None:
    for megabytes in (1, 2, 4, 8):
        job = submit(ledger, size=megabytes * MB)
        seconds = 0.5 + 2 * megabytes
        take(ledger, job, broker, seconds=seconds, model_s=seconds / 4)
    submit(ledger, size=10 * MB)
    claim(ledger, submit(ledger, size=3 * MB))
    load, _ = toy(ledger)
    assert load.outstanding_s == pytest.approx(20.5 + 6.5, rel=0.1)
    assert load.model_s == pytest.approx(load.outstanding_s / 4, rel=0.1)


def test_the_ledger_learns_as_the_law_reads(ledger: Ledger, broker: Broker) -> None:
    expected = Pace()
    for megabytes, seconds in ((1, 3.0), (4, 5.0), (2, 3.5)):
        take(ledger, submit(ledger, size=megabytes * MB), broker, seconds=seconds, model_s=1)
        expected = expected.after(megabytes, seconds, model_s=1)
    kept: Any = broker.client.hget(f"{broker.prefix}pace", "toy|toy")
    assert Pace.parse(kept).seconds(1, 3) == pytest.approx(expected.seconds(1, 3), rel=0.05)
    assert Pace.parse(kept).n == pytest.approx(expected.n)


def test_of_a_job_whose_size_nobody_knows_the_mean_is_taken(ledger: Ledger, broker: Broker) -> None:
    assert ledger.record(submit(ledger, size=None)).fields["input_bytes"] == "0"
    for megabytes in (2, 4):
        take(ledger, submit(ledger, size=megabytes * MB), broker, seconds=1)
    size = int(ledger.record(submit(ledger, size=None)).fields["input_bytes"])
    assert size == pytest.approx(3 * MB, rel=0.05)


def test_a_server_whose_clock_is_behind_takes_over(ledger: Ledger, broker: Broker) -> None:
    """What the server before it has dated lies in the future; no time is negative for that."""
    take(ledger, submit(ledger), broker, seconds=-600)
    broker.client.zincrby(f"{broker.prefix}waiting:{LANE}", 600, submit(ledger))
    load, _ = toy(ledger)
    assert (load.oldest_wait_s, load.outstanding_s, load.model_s) == (0, 0, 0)


def test_what_failed_teaches_nothing(ledger: Ledger, broker: Broker) -> None:
    job = submit(ledger)
    ledger.finish(job, Status.FAILED, {"reason": "no"}, claim=claim(ledger, job))
    ledger.finish(submit(ledger), Status.CANCELLED, {})
    assert not broker.client.exists(f"{broker.prefix}pace")


def test_what_a_queue_wants_follows(ledger: Ledger) -> None:
    for _ in range(40):
        submit(ledger, size=10 * MB)
    (state,) = look(ledger, ["toy"], lambda _: Policy(target_drain_s=10, most=5))
    assert state.waiting == 40
    assert state.wanted_workers == 5
    (state,) = look(ledger, ["toy"], lambda _: Policy(target_drain_s=40, most=5))
    assert state.wanted_workers == 2  # 40 jobs of 2 s, by the guess before the first is done


def test_the_cost_does_not_grow_with_the_jobs(ledger: Ledger, broker: Broker) -> None:
    def commands() -> int:
        return int(broker.client.info("stats")["total_commands_processed"])

    def cost() -> int:
        before = commands()
        numbers_of(ledger, ["toy"])
        return commands() - before

    submit(ledger)
    little = cost()
    for _ in range(50):
        submit(ledger)
    assert cost() == little < 25
