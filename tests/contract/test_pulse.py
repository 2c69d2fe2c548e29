"""Signs of life and reports of a running job, on a real Valkey."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping

import pytest

from kiosk_tasks.errors import BrokerUnavailable, Cancelled, ClaimLost, TimeLimit
from kiosk_tasks.job import JobType, Params, Status, new_job
from kiosk_tasks.ledger import Claim, Heart, Ledger, LedgerReporter, LostJobs, Pulse
from kiosk_tasks.ledger.records import time_field
from tests.conftest import Broker, wait_for

JOB_TYPE = JobType("toy", "Toy", "toy", Params, (lambda value, _ctx: value,))
LEASE_S = 1.0


@pytest.fixture
def ledger(broker: Broker) -> Ledger:
    return Ledger(broker.client, prefix=broker.prefix, expires_s=60, lease_s=LEASE_S)


@pytest.fixture
def claimed(ledger: Ledger) -> Claim:
    one = new_job(JOB_TYPE, {"input_file_name": "uploads/a.tif"})
    ledger.submit(one, lane="toy:6")
    claim = ledger.claim(one.id, stage_index=0)
    assert claim
    return claim


@pytest.fixture
def heart(ledger: Ledger) -> Iterator[Heart]:
    one = Heart(ledger)
    yield one
    one.close()


@pytest.fixture
def report(ledger: Ledger, claimed: Claim) -> LedgerReporter:
    """One that writes at once whatever a person waits to see."""
    return LedgerReporter(ledger, Pulse(claimed, seconds=60), quiet_s=0)


def test_lease_outlives_itself_while_the_run_lives(
    ledger: Ledger, heart: Heart, claimed: Claim
) -> None:
    lost = LostJobs(ledger)
    with heart.beating(claimed, seconds=60) as pulse:
        ends = lost.time() + 2.5 * LEASE_S
        while lost.time() < ends:
            assert lost.expired(1) == []
        pulse.check()
    wait_for(lambda: lost.expired(1) == [claimed.job_id], limit_s=3 * LEASE_S)


def test_heart_beats_again_for_the_next_job(
    ledger: Ledger, heart: Heart, claimed: Claim, broker: Broker
) -> None:
    for _ in range(3):
        with heart.beating(claimed, seconds=60):
            broker.client.zadd(f"{broker.prefix}leases", {claimed.job_id: 1.0})
            wait_for(lambda: LostJobs(ledger).expired(1) == [], limit_s=3)


def test_run_hears_that_its_job_was_cancelled(ledger: Ledger, heart: Heart, claimed: Claim) -> None:
    with heart.beating(claimed, seconds=60) as pulse:
        ledger.finish(claimed.job_id, Status.CANCELLED, {})
        wait_for(lambda: pulse.error is not None, limit_s=2)
        with pytest.raises(Cancelled, match=claimed.job_id):
            pulse.check()


def test_run_hears_that_another_has_its_job(ledger: Ledger, heart: Heart, claimed: Claim) -> None:
    with heart.beating(claimed, seconds=60) as pulse:
        assert ledger.claim(claimed.job_id, stage_index=0, redelivered=True)
        wait_for(lambda: pulse.error is not None, limit_s=2)
        with pytest.raises(ClaimLost):
            pulse.check()


def test_run_that_takes_too_long(heart: Heart, claimed: Claim) -> None:
    with (
        heart.beating(claimed, seconds=0) as pulse,
        pytest.raises(TimeLimit, match="Split the image"),
    ):
        pulse.check()


def test_reporter_writes_status_seconds_and_facts(
    ledger: Ledger, claimed: Claim, report: LedgerReporter
) -> None:
    with report.stage("predict", Status.PREDICTING):
        assert ledger.record(claimed.job_id).status is Status.PREDICTING
        report.note(image={"shape": [3, 4]}, scale=0.5)
    with report.stage("my own stage", None):
        assert ledger.record(claimed.job_id).status is Status.PREDICTING
    assert time_field("predict") == "prediction_time"
    notes = report.notes()
    with report.stage("upload", Status.SAVING):
        record = ledger.record(claimed.job_id)
    assert float(record.fields["prediction_time"]) >= 0
    assert set(record.seconds()) == {"predict", "my own stage"}
    assert record.notes() == {"image": {"shape": [3, 4]}, "scale": 0.5}
    assert notes.pop("seconds") == record.seconds()
    assert notes == record.notes()
    assert set(report.unwritten()) == {"upload_time"}


def test_next_status_takes_along_what_was_not_written(
    ledger: Ledger, claimed: Claim, report: LedgerReporter
) -> None:
    report.note(channel=1)
    assert ledger.record(claimed.job_id).notes() == {}
    with report.stage("predict", Status.PREDICTING):
        assert ledger.record(claimed.job_id).notes() == {"channel": 1}
    assert set(report.unwritten()) == {"prediction_time"}


def test_next_link_knows_what_the_one_before_noted(
    ledger: Ledger, claimed: Claim, report: LedgerReporter
) -> None:
    report.note(channel=1)
    with report.stage("download", Status.STARTED):
        assert ledger.record(claimed.job_id).notes() == {}  # the word stands there already
    ledger.release(claimed, "next", lane="toy", stage_index=1, fields=report.unwritten())
    later = ledger.claim(claimed.job_id, stage_index=1)
    assert later
    notes = LedgerReporter(ledger, Pulse(later, seconds=60)).notes()
    assert notes["channel"] == 1
    assert set(notes["seconds"]) == {"download"}


def test_failing_stage_has_no_seconds(report: LedgerReporter) -> None:
    with pytest.raises(ZeroDivisionError), report.stage("preprocess", Status.PREPROCESSING):
        raise ZeroDivisionError
    assert report.unwritten() == {}


def test_progress_is_written_rarely(ledger: Ledger, claimed: Claim) -> None:
    report = LedgerReporter(ledger, Pulse(claimed, seconds=60), quiet_s=0.2)
    for done in range(301):
        report.progress(done, 300)
    assert ledger.record(claimed.job_id).progress < 100
    assert report.unwritten()["progress"] == "100"
    report.progress(0, 0)


def test_reporter_learns_that_the_job_was_cancelled(
    ledger: Ledger, claimed: Claim, report: LedgerReporter
) -> None:
    ledger.finish(claimed.job_id, Status.CANCELLED, {})
    with pytest.raises(Cancelled):
        report.progress(1, 2)


def test_reporter_learns_that_another_run_has_the_job(
    ledger: Ledger, claimed: Claim, report: LedgerReporter
) -> None:
    ledger.claim(claimed.job_id, stage_index=0, redelivered=True)
    with pytest.raises(ClaimLost), report.stage("predict", Status.PREDICTING):
        pass


def test_heart_outlives_a_record_that_is_gone(
    ledger: Ledger, heart: Heart, claimed: Claim, broker: Broker
) -> None:
    with heart.beating(claimed, seconds=60) as pulse:
        report = LedgerReporter(ledger, pulse, quiet_s=0)
        broker.client.delete(f"{broker.prefix}job:{claimed.job_id}")
        report.put({"progress": "5"})
        wait_for(lambda: pulse.error is not None, limit_s=10)
        assert isinstance(pulse.error, ClaimLost)
        assert heart._thread
        assert heart._thread.is_alive()


class Noting(Ledger):
    """A ledger that notes each write of a run; the first may be held up."""

    written: list[dict[str, str]]
    begun, goes_on = threading.Event(), threading.Event()

    def write(self, claim: Claim, fields: Mapping[str, str]) -> None:
        if not self.begun.is_set():
            self.begun.set()
            assert self.goes_on.wait(10)
        super().write(claim, fields)
        self.written.append(dict(fields))


@pytest.fixture
def noting(broker: Broker) -> Noting:
    one = Noting(broker.client, prefix=broker.prefix, expires_s=60, lease_s=LEASE_S)
    one.written, one.begun, one.goes_on = [], threading.Event(), threading.Event()
    one.goes_on.set()
    return one


STAGES = (Status.PREPROCESSING, Status.PREDICTING, Status.POSTPROCESSING, Status.SAVING)


def test_short_run_is_written_by_its_claim_and_its_end_only(noting: Noting, claimed: Claim) -> None:
    report = LedgerReporter(noting, Pulse(claimed, seconds=60), quiet_s=60)
    for status in STAGES:
        with report.stage(status, status):
            report.note(**{status: 1})
            report.progress(1, 1)
    assert noting.written == []
    noting.finish(claimed.job_id, Status.DONE, report.unwritten(), claim=claimed)
    record = noting.record(claimed.job_id)
    assert record.status is Status.DONE
    assert set(record.notes()) == set(record.seconds()) == set(STAGES)
    assert record.progress == 100


def test_heart_tells_what_a_long_stage_would_leave_unsaid(
    ledger: Ledger, heart: Heart, claimed: Claim
) -> None:
    with heart.beating(claimed, seconds=60) as pulse:
        report = LedgerReporter(ledger, pulse)
        with report.stage("predict", Status.PREDICTING):
            report.note(channel=1)
            assert ledger.record(claimed.job_id).status is Status.STARTED
            wait_for(lambda: ledger.record(claimed.job_id).status is Status.PREDICTING)
            assert ledger.record(claimed.job_id).notes() == {"channel": 1}
            report.progress(1, 4)
            wait_for(lambda: ledger.record(claimed.job_id).progress == 25)
        assert set(report.unwritten()) == {"prediction_time"}


def test_heart_leaves_alone_what_nobody_waits_for(
    noting: Noting, claimed: Claim, heart: Heart
) -> None:
    with heart.beating(claimed, seconds=60) as pulse:
        report = LedgerReporter(noting, pulse, quiet_s=0)
        report.note(channel=1)
        assert not pulse.tell()
    assert noting.written == []


def test_older_word_of_the_heart_comes_before_a_newer_one(noting: Noting, claimed: Claim) -> None:
    pulse = Pulse(claimed, seconds=60)
    report = LedgerReporter(noting, pulse, quiet_s=60)
    with report.stage("predict", Status.PREDICTING):
        report._quiet_s = 0
        noting.goes_on.clear()
        heart = threading.Thread(target=pulse.tell)
        heart.start()
        assert noting.begun.wait(10)
    going_on = threading.Timer(0.2, noting.goes_on.set)
    going_on.start()
    with report.stage("postprocess", Status.POSTPROCESSING):  # while the heart's is on its way
        assert noting.record(claimed.job_id).status is Status.POSTPROCESSING
    heart.join()
    assert [fields["status"] for fields in noting.written] == ["predicting", "post-processing"]
    assert set(report.unwritten()) == {"postprocess_time"}


def test_what_was_changed_while_it_was_written_is_written_again(
    noting: Noting, claimed: Claim
) -> None:
    pulse = Pulse(claimed, seconds=60)
    report = LedgerReporter(noting, pulse, quiet_s=60)
    report.progress(1, 4)
    report._quiet_s = 0
    noting.goes_on.clear()
    heart = threading.Thread(target=pulse.tell)
    heart.start()
    assert noting.begun.wait(10)
    report._quiet_s = 60
    report.progress(2, 4)
    noting.goes_on.set()
    heart.join()
    assert noting.record(claimed.job_id).progress == 25
    assert report.unwritten() == {"progress": "50", "units_done": "2"}


def test_heart_learns_by_telling_that_the_job_was_cancelled(
    ledger: Ledger, heart: Heart, claimed: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "holds", lambda _: "written")  # telling must be enough
    monkeypatch.setattr(ledger, "renew", lambda _: "written")
    with heart.beating(claimed, seconds=60) as pulse:
        report = LedgerReporter(ledger, pulse)
        ledger.finish(claimed.job_id, Status.CANCELLED, {})
        report.progress(1, 4)
        wait_for(lambda: pulse.error is not None)
        with pytest.raises(Cancelled, match=claimed.job_id):
            report.check()


def test_what_a_ledger_that_is_away_did_not_take_is_kept(
    ledger: Ledger, heart: Heart, claimed: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried, write = threading.Event(), ledger.write

    def away(claim: Claim, fields: Mapping[str, str]) -> None:
        if not tried.is_set():
            tried.set()
            raise BrokerUnavailable("away")
        write(claim, fields)

    monkeypatch.setattr(ledger, "write", away)
    with heart.beating(claimed, seconds=60) as pulse:
        report = LedgerReporter(ledger, pulse)
        report.progress(1, 4)
        assert tried.wait(10)
        assert report.unwritten()["progress"] == "25"
        wait_for(lambda: ledger.record(claimed.job_id).progress == 25)
        assert pulse.error is None
