"""What the web service asks of the ledger: pages of jobs, owners, reservations, units."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from kiosk_tasks.errors import InvalidParameter
from kiosk_tasks.job import Job, JobType, Params, Status, new_job
from kiosk_tasks.ledger import (
    Heart,
    Ledger,
    LedgerReporter,
    Owner,
    Reservation,
    TooManyJobs,
    newest,
)
from tests.conftest import Broker, wait_for

JOB_TYPE = JobType("toy", "Toy", "toy", Params, (lambda value, _ctx: value,))
LANE = "toy:6"


def job() -> Job:
    return new_job(JOB_TYPE, {"input_file_name": "uploads/a.tif"})


@pytest.fixture
def ledger(broker: Broker) -> Ledger:
    return Ledger(broker.client, prefix=broker.prefix, expires_s=600)


def submitted(ledger: Ledger, owner: Owner | None = None) -> str:
    one = job()
    assert ledger.submit(one, lane=LANE, owner=owner)
    return one.id


def test_pages_meet_without_gap_or_overlap(ledger: Ledger, broker: Broker) -> None:
    ids = [submitted(ledger) for _ in range(7)]
    broker.client.delete(f"{broker.prefix}job:{ids[5]}")  # expired
    shown, before = [], ""
    while True:
        page = newest(ledger, 2, before=before)
        shown.append([record.id for record in page.records])
        if page.before is None:
            break
        before = page.before
    assert [job_id for page in shown for job_id in page] == [
        i for i in reversed(ids) if i != ids[5]
    ]
    assert all(len(page) == 2 for page in shown[:-1])


def test_a_page_begins_at_any_moment(ledger: Ledger, broker: Broker) -> None:
    old, new = submitted(ledger), submitted(ledger)
    broker.client.zadd(f"{broker.prefix}jobs", {old: 1_000_000_000.5})
    assert [r.id for r in newest(ledger, 5).records] == [new, old]
    moment = "2001-09-09T01:46:41Z"
    assert [r.id for r in newest(ledger, 5, before=moment).records] == [old]
    assert newest(ledger, 5, before="2001-09-09T01:46:40.5").records == []
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert len(newest(ledger, 5, before=later).records) == 2


@pytest.mark.parametrize("before", ["yesterday", "1.2.3", "²", "99999-01-01", "inf"])
def test_a_moment_that_is_none_is_refused(ledger: Ledger, before: str) -> None:
    with pytest.raises(InvalidParameter, match="2026-01-31T12:00:00Z"):
        newest(ledger, 5, before=before)


def test_children_are_not_listed(ledger: Ledger) -> None:
    parent = submitted(ledger)
    ledger.submit(job(), lane=LANE, parent=parent)
    assert [record.id for record in newest(ledger, 5).records] == [parent]


def test_a_user_has_so_many_open_jobs_and_no_more(ledger: Ledger, broker: Broker) -> None:
    alice, bob = Owner("alice", 2), Owner("bob", 2)
    first, _ = submitted(ledger, alice), submitted(ledger, alice)
    refused = job()
    with pytest.raises(TooManyJobs, match=r"^2 of your jobs"):
        ledger.submit(refused, lane=LANE, owner=alice)
    assert refused.id not in " ".join(broker.keys())
    assert not any(
        refused.id in broker.client.zrange(f"{broker.prefix}{name}", 0, -1)
        for name in ("open", "jobs", f"waiting:{LANE}")
    )
    submitted(ledger, bob)
    ledger.finish(first, Status.CANCELLED, {})
    assert ledger.record(submitted(ledger, alice)).fields["user"] == "alice"


def test_the_same_job_again_is_no_second_one(ledger: Ledger) -> None:
    one, alice = job(), Owner("alice", 1)
    assert ledger.submit(one, lane=LANE, owner=alice)
    assert not ledger.submit(one, lane=LANE, owner=alice)


def test_no_limit_where_none_is_set(ledger: Ledger) -> None:
    for _ in range(5):
        submitted(ledger, Owner())


def test_units_are_told(ledger: Ledger) -> None:
    claim = ledger.claim(submitted(ledger), stage_index=0)
    assert claim
    heart = Heart(ledger)
    with heart.beating(claim, seconds=60) as pulse:
        LedgerReporter(ledger, pulse, quiet_s=0).progress(3, 12)
    heart.close()
    fields = ledger.record(claim.job_id).fields
    assert (fields["progress"], fields["units_done"], fields["units_total"]) == ("25", "3", "12")


def test_units_of_a_parent_are_its_children(ledger: Ledger) -> None:
    parent = submitted(ledger)
    claim = ledger.claim(parent, stage_index=0)
    assert claim
    children = [job() for _ in range(3)]
    for child in children:
        ledger.submit(child, lane=LANE, parent=parent)
    told = {"total_jobs": "3"}
    ledger.release(claim, "children", lane=LANE, stage_index=1, fields=told)
    ledger.finish(children[0].id, Status.FAILED, {})
    fields = ledger.record(parent).fields
    assert (fields["progress"], fields["units_done"], fields["units_total"]) == ("33", "1", "3")


def test_a_reservation_is_one_holders(ledger: Ledger) -> None:
    mine, other = (Reservation(ledger, "x", seconds=60) for _ in range(2))
    assert mine.take()
    assert not other.take()
    other.give_back()  # not the other's to give
    assert other.is_taken()
    assert mine.renew()
    mine.give_back()
    assert not mine.is_taken()
    assert other.take()
    assert not mine.renew()


def test_a_reservation_ends_by_itself(ledger: Ledger) -> None:
    assert Reservation(ledger, "x", seconds=0.05).take()
    wait_for(Reservation(ledger, "x", seconds=60).take, limit_s=5)
