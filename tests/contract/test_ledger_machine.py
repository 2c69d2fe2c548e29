"""Any interleaving of what clients, runs, twins and reapers do leaves one end and one output.

Hypothesis draws the steps; the ledger and the bucket are real. Beside them the machine keeps what
may be true of each job. Time is made to pass by moving a lease's end, never by waiting.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from hypothesis.strategies import booleans, integers, sampled_from

from kiosk_tasks.errors import ClaimLost
from kiosk_tasks.job import JobType, Params, Status, new_job
from kiosk_tasks.ledger import Claim, Ledger, LostJobs
from kiosk_tasks.ledger.numbers import read_numbers
from kiosk_tasks.storage.memory import MemoryStorage
from tests.conftest import Broker, place_on

JOB_TYPE = JobType("toy", "Toy", "toy", Params, (lambda value, _ctx: value,))
LANES = ("toy:6", "toy")
MAX_ATTEMPTS = 3
BYTES = 7
_numbers = count()


class LedgerMachine(RuleBasedStateMachine):
    """Jobs, and runs of them that overlap as they like."""

    broker: Broker  # set by the test

    jobs = Bundle("jobs")
    runs = Bundle("runs")

    def __init__(self) -> None:
        super().__init__()
        self.prefix = f"{self.broker.prefix}{next(_numbers)}:"  # each example begins with nothing
        self.ledger = Ledger(
            self.broker.client,
            prefix=self.prefix,
            expires_s=60,
            max_attempts=MAX_ATTEMPTS,
        )
        self.lost = LostJobs(self.ledger)
        self.bucket = MemoryStorage()
        self.ends: dict[str, str] = {}
        self.outputs: dict[str, bytes] = {}

    @rule(target=jobs, same=booleans())
    def submit(self, same: bool) -> str:
        one = new_job(JOB_TYPE, {"input_file_name": "x"}, input_bytes=BYTES)
        assert self.ledger.submit(one, lane=LANES[0])
        if same:
            assert not self.ledger.submit(one, lane=LANES[0])
        return one.id

    @rule(target=runs, job=jobs, stage=integers(0, 1), redelivered=booleans())
    def claim(self, job: str, stage: int, redelivered: bool) -> Any:
        before = self.ledger.record(job)
        claim = self.ledger.claim(job, stage_index=stage, redelivered=redelivered)
        if job in self.ends or int(before.fields["stage_index"]) > stage:
            assert claim is None
        if claim is None:
            return multiple()
        assert claim.record.attempts <= MAX_ATTEMPTS
        return claim

    @rule(run=runs)
    def renew(self, run: Claim) -> None:
        self._expect(run, self.ledger.renew(run))

    @rule(run=runs)
    def write(self, run: Claim) -> None:
        try:
            self.ledger.write(run, {"progress": "5"})
            answer = "written"
        except ClaimLost:
            answer = "lost"
        self._expect(run, answer)

    @rule(job=jobs)
    def lease_runs_out(self, job: str) -> None:
        self.broker.client.zadd(f"{self.prefix}leases", {job: 1.0}, xx=True)

    @rule()
    def reap(self) -> None:
        for job in self.lost.expired(100):
            if self.lost.reclaim(job):
                assert self._lanes_of(job)

    @rule(run=runs, how=sampled_from(["next", "again"]))
    def release(self, run: Claim, how: Any) -> None:
        stage = 1 if how == "next" else int(self.ledger.record(run.job_id).fields["stage_index"])
        try:
            self.ledger.release(run, how, lane=LANES[1], stage_index=stage, fields={})
        except ClaimLost:
            return
        assert run.job_id not in self.ends

    @rule(run=runs)
    def upload(self, run: Claim) -> None:
        """Any run may upload, however late: what is there first stands."""
        data = run.token.encode()
        if run.job_id in self.ends and self.ends[run.job_id] != Status.DONE:
            return  # a run that is told of the end removes what it wrote: test_task.py, faults
        if self.bucket.put_new(f"output/{run.job_id}/x.zip", data):
            assert run.job_id not in self.outputs
            self.outputs[run.job_id] = data

    @rule(run=runs, status=sampled_from([Status.DONE, Status.FAILED]))
    def finish(self, run: Claim, status: Status) -> None:
        if status is Status.DONE:
            self.upload(run)
        held = self.ledger.holds(run) == "written"
        written = self.ledger.finish(run.job_id, status, {"reason": run.token}, claim=run).written
        if written and run.job_id not in self.ends:
            assert held
            self.ends[run.job_id] = status
            self._tidy(run.job_id)
        else:
            # the same call once more is answered as the first was, and changes nothing
            assert not written or self.ledger.record(run.job_id).fields["ended_by"] == run.token

    @rule(job=jobs)
    def cancel(self, job: str) -> None:
        written = self.ledger.finish(job, Status.CANCELLED, {"reason": "cancelled"}).written
        assert written == (job not in self.ends)
        if written:
            self.ends[job] = Status.CANCELLED
            self._tidy(job)

    @invariant()
    def one_end_that_stays(self) -> None:
        for job, status in self.ends.items():
            record = self.ledger.record(job)
            assert record.status == status
            assert "token" not in record.fields
            assert not self._lanes_of(job)
            assert self.broker.client.zscore(f"{self.prefix}leases", job) is None
            assert self.broker.client.zscore(f"{self.prefix}open", job) is None

    @invariant()
    def one_output_that_stays(self) -> None:
        for job, data in self.outputs.items():
            assert list(self.bucket.list(f"output/{job}/")) == [f"output/{job}/x.zip"]
            assert self.bucket.get(f"output/{job}/x.zip") == data
        for job, status in self.ends.items():
            assert (job in self.outputs) == (status == Status.DONE) or status == Status.DONE

    @invariant()
    def open_job_is_in_one_place(self) -> None:
        """It runs under a lease, or waits in one list: else no reaper would ever find it."""
        ids: Any = self.broker.client.zrange(f"{self.prefix}open", 0, -1)
        for job in ids:
            leased = self.broker.client.zscore(f"{self.prefix}leases", job) is not None
            assert leased + len(self._lanes_of(job)) == 1
            assert not self.ledger.record(job).status.terminal

    @invariant()
    def counts_agree_with_the_records(self) -> None:
        numbers = read_numbers(self.ledger, ["toy"], lanes=LANES)
        ids: Any = self.broker.client.zrange(f"{self.prefix}open", 0, -1)
        waiting = sum(bool(self._lanes_of(job)) for job in ids)
        (load,) = numbers.queues
        assert (load.waiting, load.in_flight) == (waiting, len(ids) - waiting)
        assert sum(numbers.submitted.values()) == len(ids) + sum(numbers.ended.values())
        counts: Any = self.broker.client.hgetall(f"{self.prefix}load")
        assert int(counts.get("toy|toy|jobs", 0)) == len(ids)
        assert int(counts.get("toy|toy|bytes", 0)) == BYTES * len(ids)
        assert not self.lost.recount(), "there is never anything to put right"

    def _tidy(self, job: str) -> None:
        """What the run that ends a job badly does to the bucket."""
        if self.ends[job] != Status.DONE:
            for key in list(self.bucket.list(f"output/{job}/")):
                self.bucket.delete(key)
            self.outputs.pop(job, None)

    def _lanes_of(self, job: str) -> list[str]:
        return [lane for lane in LANES if self.lost.since(lane, [job]) != [None]]

    def _expect(self, run: Claim, answer: str) -> None:
        """Only the newest run of a job that goes on may write."""
        holder = self.ledger.record(run.job_id).fields.get("token")
        assert (answer == "written") == (holder == run.token and run.job_id not in self.ends)


@contextmanager
def machine_on(valkey: str) -> Iterator[type[LedgerMachine]]:
    with place_on(valkey) as place:

        class Here(LedgerMachine):
            broker = place

        yield Here


@pytest.mark.parametrize("examples", [100])
def test_one_end_and_one_output(valkey: str, examples: int) -> None:
    with machine_on(valkey) as machine:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=40,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
