"""The task boundary, in this process: a real ledger, a bucket in memory, no worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from celery.exceptions import Ignore, Reject
from kombu.exceptions import OperationalError

from kiosk_tasks.errors import (
    BrokerUnavailable,
    InternalError,
    KioskError,
    OutOfMemory,
    StorageUnavailable,
    TimeLimit,
    UnknownJobType,
    UnusableImage,
    WorkerDied,
)
from kiosk_tasks.fan_out import Child, FanOut
from kiosk_tasks.job import Job, JobType, Params, Status, new_job, stage
from kiosk_tasks.ledger import Ending, Ledger, LostJobs
from kiosk_tasks.outputs import parts_folder
from kiosk_tasks.run import task as boundary
from kiosk_tasks.run.ending import finish
from kiosk_tasks.run.reaper import Reaper
from kiosk_tasks.run.task import run_link
from kiosk_tasks.wiring import Adapters
from tests.conftest import Broker
from tests.fakes import fake_adapters

Act = Callable[[Any, Any], Any]


class Retried(Exception):  # what `task.retry` raises in Celery is no error either
    """What the stand-in for a Celery task raises when it is to be tried again."""


class Setting:
    """A job of two stages in a ledger, and a stand-in for the Celery task that runs it."""

    def __init__(self, outside: Adapters, act: Act, *, fans_out: bool = False) -> None:
        def end(value: Any, _ctx: Any) -> dict[str, str]:
            if self.end_error:
                raise self.end_error
            return {"output_file_name": f"output/{value}", "output_url": "memory://"}

        stages = (stage(act, name="act", fans_out=fans_out), stage(end, name="end"))
        self.job_type: JobType[Params] = JobType("toy", "Toy", "toy", Params, stages)
        self.outside = outside
        self.end_error: Exception | None = None
        self.job: Job = new_job(self.job_type, {"input_file_name": "x"})
        outside.ledger.submit(self.job, lane="toy:6")
        self.countdowns: list[float] = []
        self.stored: list[tuple[str, Any]] = []

    def task(self, *, redelivered: bool = False, request_id: str = "") -> Any:
        def retry(*, exc: Exception, countdown: float, throw: bool) -> Exception:
            assert not throw
            self.countdowns.append(countdown)
            return Retried(str(exc))

        store = SimpleNamespace(
            store_result=lambda job_id, result, _state: self.stored.append((job_id, result))
        )
        return SimpleNamespace(
            job_type=self.job_type,
            request=SimpleNamespace(
                retries=0,
                id=request_id or self.job.id,
                delivery_info={"redelivered": redelivered},
            ),
            retry=retry,
            app=SimpleNamespace(backend=store, AsyncResult=lambda job_id: job_id),
        )

    def run(self, start: int = 0, stop: int = 2, artifact: str = "", **task: Any) -> Any:
        return run_link(self.task(**task), self.job.id, start=start, stop=stop, artifact=artifact)

    @property
    def status(self) -> Status:
        return self.outside.ledger.record(self.job.id).status

    @property
    def reason(self) -> str:
        return self.outside.ledger.record(self.job.id).fields["reason"]


@pytest.fixture
def setting(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Setting]]:
    ledger = Ledger(broker.client, prefix=broker.prefix, expires_s=60)
    outside = fake_adapters(ledger=ledger)
    monkeypatch.setattr(boundary, "adapters", lambda: outside)
    monkeypatch.setattr(boundary, "_LEDGER_AWAY_S", 0.0)
    yield lambda act, **more: Setting(outside, act, **more)
    outside.heart.close()


def give(_value: Any, _ctx: Any) -> str:
    return "value"


def failing(error: BaseException) -> Act:
    def act(_value: Any, _ctx: Any) -> Any:
        raise error

    return act


def test_whole_job_in_one_link(setting: Callable[[Act], Setting]) -> None:
    here = setting(give)
    assert here.run() == {"output_file_name": "output/value", "output_url": "memory://"}
    assert here.status is Status.DONE
    with pytest.raises(Ignore):
        here.run()


def test_links_pass_a_value_by_key(setting: Callable[[Act], Setting]) -> None:
    here = setting(give)
    key = here.run(0, 1)
    assert here.outside.workspace.get(key) == "value"
    assert here.run(1, 2, key)["output_file_name"] == "output/value"
    assert here.outside.workspace.keys() == []


def test_artifact_that_is_gone_fails_the_job(setting: Callable[[Act], Setting]) -> None:
    here = setting(give)
    with pytest.raises(KioskError, match="no object"):
        here.run(1, 2, f"{here.job.id}/end.artifact")
    assert here.status is Status.FAILED


@pytest.mark.parametrize(
    ("error", "ours", "sentence"),
    [
        (UnusableImage("no."), UnusableImage, "no."),
        (MemoryError(), OutOfMemory, "Split the image"),
        (SoftTimeLimitExceeded(), TimeLimit, "longer than its time limit"),
        (KeyError("x"), InternalError, "KeyError"),
    ],
)
def test_every_error_ends_in_the_record(
    setting: Callable[[Act], Setting], error: Exception, ours: type[KioskError], sentence: str
) -> None:
    here = setting(failing(error))
    with pytest.raises(ours, match=sentence):
        here.run()
    assert here.status is Status.FAILED
    assert sentence in here.reason
    ((job_id, told),) = here.stored  # whoever waits for the job's result learns of it
    assert (job_id, type(told)) == (here.job.id, ours)


def test_what_may_pass_is_tried_again_and_given_up(setting: Callable[[Act], Setting]) -> None:
    here = setting(failing(StorageUnavailable("the bucket is away.")))
    for _ in range(5):
        with pytest.raises(Retried):
            here.run()
        assert here.status is Status.STARTED
    assert all(2**n / 2 <= seconds <= 2**n for n, seconds in enumerate(here.countdowns)), (
        here.countdowns
    )
    with pytest.raises(StorageUnavailable):
        here.run()
    assert here.status is Status.FAILED
    assert here.outside.ledger.record(here.job.id).attempts == 1  # none of its runs died


def test_cancelled_job_leaves_quietly(setting: Callable[[Act], Setting]) -> None:
    def cancel(_value: Any, ctx: Any) -> str:
        here.outside.workspace.put(here.job.id, "end", 1)
        here.outside.ledger.finish(here.job.id, Status.CANCELLED, {})
        ctx.report.progress(1, 1)
        return "never"

    here = setting(cancel)
    with pytest.raises(Ignore):
        here.run()
    assert here.status is Status.CANCELLED
    assert here.outside.workspace.keys() == []


def test_run_that_lost_its_job_leaves_it_to_the_other(setting: Callable[[Act], Setting]) -> None:
    def overtaken(_value: Any, _ctx: Any) -> str:
        here.outside.workspace.put(here.job.id, "end", 1)
        here.outside.ledger.claim(here.job.id, stage_index=0, redelivered=True)
        return "value"

    here = setting(overtaken)
    with pytest.raises(Ignore):
        here.run()
    assert here.status is Status.STARTED
    assert len(here.outside.workspace.keys()) == 1  # the other run needs it


def test_end_that_another_run_has_written_is_kept(
    setting: Callable[[Act], Setting], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = setting(give)
    monkeypatch.setattr(
        type(here.outside.ledger), "finish", lambda *_args, **_more: Ending(written=False)
    )
    with pytest.raises(Ignore):
        here.run()
    assert here.status is not Status.DONE


def test_worker_that_is_told_to_stop_is_not_held_up(setting: Callable[[Act], Setting]) -> None:
    here = setting(failing(SystemExit(0)))
    with pytest.raises(SystemExit):
        here.run()
    assert here.status is Status.STARTED


def test_ledger_that_is_gone_leaves_the_message_to_others(
    setting: Callable[[Act], Setting], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_args: Any, **_more: Any) -> None:
        raise BrokerUnavailable("the broker does not answer.")

    here = setting(give)
    with monkeypatch.context() as patch:
        patch.setattr(type(here.outside.ledger), "finish", gone)
        with pytest.raises(Reject) as told:
            here.run()
    assert told.value.requeue
    assert here.status is Status.STARTED
    assert here.run(redelivered=True)["output_file_name"] == "output/value"
    assert here.outside.ledger.record(here.job.id).attempts == 2


def test_job_whose_runs_all_died(setting: Callable[[Act], Setting]) -> None:
    here = setting(failing(SystemExit(0)))
    for _ in range(4):
        with pytest.raises(SystemExit):
            here.run(redelivered=True)
    with pytest.raises(WorkerDied, match="died 4 times"):
        here.run(redelivered=True)
    assert here.status is Status.FAILED
    assert "died 4 times" in here.reason


def test_output_of_a_cancelled_job_is_removed(setting: Callable[[Act], Setting]) -> None:
    def upload_too_late(_value: Any, ctx: Any) -> str:
        ctx.storage.put_new(f"output/{ctx.job.id}/x.zip", b"result")
        here.outside.ledger.finish(here.job.id, Status.CANCELLED, {})
        return "x"

    here = setting(upload_too_late)
    with pytest.raises(Ignore):
        here.run()
    assert list(here.outside.storage.list("output/")) == []


def test_stage_that_need_not_fan_out_is_followed_at_once(
    setting: Callable[..., Setting],
) -> None:
    here = setting(give, fans_out=True)
    answer = here.run(0, 1, request_id="of a message that was to end before")
    assert answer == {"output_file_name": "output/value", "output_url": "memory://"}
    assert here.status is Status.DONE
    assert here.stored == [(here.job.id, answer)]  # whoever waits for the job's result has it
    assert "total_jobs" not in here.outside.ledger.record(here.job.id).fields
    assert here.outside.workspace.keys() == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("KIOSK_LINKS", "stage"), ("KIOSK_STAGE_QUEUES", '{"end": "cpu"}')],
)
def test_stage_that_need_not_fan_out_hands_on_to_another_queue(
    setting: Callable[..., Setting], monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    resumed: list[str] = []
    monkeypatch.setattr(boundary, "resume", lambda _app, _ledger, job_id: resumed.append(job_id))
    here = setting(give, fans_out=True)
    key = here.run(0, 1)
    assert resumed == [here.job.id]
    assert (
        here.outside.ledger.record(here.job.id).fields["lane"]
        == {
            "KIOSK_LINKS": "toy",
            "KIOSK_STAGE_QUEUES": "cpu",
        }[name]
    )
    assert here.run(1, 2, key)["output_file_name"] == "output/value"
    assert here.status is Status.DONE


def fan_out(_value: Any, ctx: Any) -> FanOut:
    ctx.storage.put_new(f"{parts_folder(ctx.job.id)}0.bin", b"part")
    children = [Child("predict", {"input_file_name": f"{n}.tif"}) for n in range(2)]
    return FanOut(tuple(children), keep="kept")


@pytest.fixture
def family(setting: Callable[..., Setting], monkeypatch: pytest.MonkeyPatch) -> Setting:
    """A parent whose children are done, ready to gather them; nothing is really sent."""
    monkeypatch.setattr(
        "kiosk_tasks.run.messages.send", lambda *_args, **_more: SimpleNamespace(id="")
    )
    monkeypatch.setattr(boundary, "resume", lambda *_args: None)
    here = setting(fan_out, fans_out=True)
    here.run(0, 1)
    ledger, storage = here.outside.ledger, here.outside.storage
    for child in ledger.children(here.job.id):
        key = f"output/{child}/x.zip"
        storage.put(key, b"result of a child")
        ledger.finish(child, Status.DONE, {"output_file_name": key, "total_time": "1.5"})
    storage.put("output/of nobody's child/x.zip", b"")
    return here


LEFT = ["output/of nobody's child/x.zip"]


def test_what_a_fan_out_was_made_of_goes_with_its_parent(family: Setting) -> None:
    artifact = family.outside.ledger.record(family.job.id).fields["artifact"]
    assert len(list(family.outside.storage.list())) == 4
    family.run(1, 2, artifact)
    record = family.outside.ledger.record(family.job.id)
    assert record.status is Status.DONE
    assert record.fields["children:done"] == record.fields["children"]
    assert record.fields["children:failed"] == ""
    assert list(family.outside.storage.list()) == LEFT


def test_a_gathering_that_is_tried_again_finds_its_children(
    family: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_args: Any, **_more: Any) -> None:
        raise StorageUnavailable("the bucket is away.")

    artifact = family.outside.ledger.record(family.job.id).fields["artifact"]
    with monkeypatch.context() as patch:
        patch.setattr(boundary, "gather", away)
        with pytest.raises(Retried):
            family.run(1, 2, artifact)
    assert len(list(family.outside.storage.list())) == 4
    family.run(1, 2, artifact)
    assert list(family.outside.storage.list()) == LEFT


def test_what_cannot_be_removed_at_once_is_the_reapers(
    family: Setting, monkeypatch: pytest.MonkeyPatch, broker: Broker
) -> None:
    def away(*_args: Any) -> None:
        raise StorageUnavailable("the bucket is away.")

    outside = family.outside
    with monkeypatch.context() as patch:
        patch.setattr(type(outside.storage), "delete_all", away)
        family.run(1, 2, outside.ledger.record(family.job.id).fields["artifact"])
    assert family.status is Status.DONE
    assert len(list(outside.storage.list())) == 4
    broker.client.zadd(f"{broker.prefix}sweep", {family.job.id: 1.0}, xx=True)
    reaper = Reaper(SimpleNamespace(), outside, SimpleNamespace())  # type: ignore[arg-type]
    assert reaper._leftovers() == 1
    assert list(outside.storage.list()) == LEFT
    assert reaper._leftovers() == 0


def test_lost_jobs_are_looked_for_while_the_bucket_is_away(
    setting: Callable[..., Setting], broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it is known that they are, and the counts are put right."""
    outside = setting(give).outside
    reaper = Reaper(SimpleNamespace(), outside, SimpleNamespace())  # type: ignore[arg-type]
    broker.client.hset(f"{broker.prefix}load", "toy|toy|jobs", "7")

    def away() -> int:
        raise StorageUnavailable("the bucket does not answer.")

    monkeypatch.setattr(reaper, "_messages_that_are_gone", lambda: 0)
    monkeypatch.setattr(reaper, "_leftovers", away)
    with pytest.raises(StorageUnavailable):
        reaper.look()
    assert LostJobs(outside.ledger).seconds_since_look() is not None
    assert broker.client.hget(f"{broker.prefix}load", "toy|toy|jobs") != "7"


def test_what_was_tidied_before_the_bucket_went_away_is_not_tidied_again(
    setting: Callable[..., Setting], broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a reaper that is ended, or fails, somewhere on a long way begins anew for ever."""
    outside, signs = setting(give).outside, list[str]()
    asked = iter([None, None, StorageUnavailable("the bucket does not answer.")])

    def clear(_job: str) -> None:
        if error := next(asked):
            raise error

    monkeypatch.setattr(outside.workspace, "clear", clear)
    broker.client.zadd(f"{broker.prefix}sweep", {"a": 1.0, "b": 2.0, "c": 3.0})
    reaper = Reaper(SimpleNamespace(), outside, SimpleNamespace())  # type: ignore[arg-type]
    reaper._sign = lambda: signs.append("alive")
    with pytest.raises(StorageUnavailable):
        reaper._leftovers()
    assert broker.client.zrange(f"{broker.prefix}sweep", 0, -1) == ["c"]
    assert len(signs) == 3


def test_failed_parent_leaves_nothing_of_its_children(family: Setting) -> None:
    artifact = family.outside.ledger.record(family.job.id).fields["artifact"]
    family.end_error = ZeroDivisionError("a bug")
    with pytest.raises(InternalError):
        family.run(1, 2, artifact)
    assert family.status is Status.FAILED
    assert list(family.outside.storage.list()) == LEFT


def test_what_goes_wrong_after_the_end_does_not_undo_it(
    setting: Callable[..., Setting], monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_late(*_args: Any, **_more: Any) -> None:
        raise SoftTimeLimitExceeded

    def upload_there(_value: Any, ctx: Any) -> str:
        ctx.storage.put_new(f"output/{ctx.job.id}/x.zip", b"result")
        return "x"

    here = setting(upload_there, fans_out=True)
    with monkeypatch.context() as patch:
        patch.setattr(boundary, "_discard_quietly", too_late)
        with pytest.raises(Ignore):
            here.run()
    assert here.status is Status.DONE
    assert here.outside.storage.get(f"output/{here.job.id}/x.zip") == b"result"
    assert here.stored == []  # nobody is told that it failed


def test_last_child_is_done_although_its_parent_cannot_be_sent_for(
    setting: Callable[..., Setting], monkeypatch: pytest.MonkeyPatch, broker: Broker
) -> None:
    def away(*_args: Any, **_more: Any) -> None:
        raise OperationalError("the broker is away")

    parent = setting(fan_out, fans_out=True)
    monkeypatch.setattr(
        "kiosk_tasks.run.messages.send", lambda *_args, **_more: SimpleNamespace(id="")
    )
    parent.run(0, 1)
    ledger = parent.outside.ledger
    monkeypatch.setattr("kiosk_tasks.run.ending.find", lambda _name: parent.job_type)
    monkeypatch.setattr("kiosk_tasks.run.ending.send", away)
    for child in ledger.children(parent.job.id):
        assert finish(SimpleNamespace(), ledger, child, Status.DONE, {})  # type: ignore[arg-type]
    assert broker.client.zrange(f"{broker.prefix}waiting:toy", 0, -1) == [parent.job.id]


def test_children_submitted_while_their_parent_is_cancelled_end_with_it(
    setting: Callable[..., Setting], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "kiosk_tasks.run.messages.send", lambda *_args, **_more: SimpleNamespace(id="")
    )
    here = setting(fan_out, fans_out=True)
    ledger = here.outside.ledger
    planned = boundary.submit_children

    def overtaken(*args: Any) -> dict[str, str]:
        ledger.finish(here.job.id, Status.CANCELLED, {})  # whoever cancels sees no child yet
        return planned(*args)

    monkeypatch.setattr(boundary, "submit_children", overtaken)
    with pytest.raises(Ignore):
        here.run(0, 1)
    children = ledger.records(ledger.children(here.job.id))
    assert [child.status for child in children] == [Status.CANCELLED] * 2
    assert list(here.outside.storage.list()) == []


def test_lost_job_whose_type_is_not_installed_does_not_stop_the_reaper(
    setting: Callable[..., Setting], monkeypatch: pytest.MonkeyPatch, broker: Broker
) -> None:
    strange, known = setting(give), setting(give)
    outside, sent = strange.outside, list[str]()
    for job in (strange.job, known.job):
        outside.ledger.claim(job.id, stage_index=0)
        broker.client.zadd(f"{broker.prefix}leases", {job.id: 1.0}, xx=True)

    def find(_name: str) -> JobType[Any]:
        if not sent:
            sent.append("")
            raise UnknownJobType("there is no such job type here.")
        return known.job_type

    monkeypatch.setattr("kiosk_tasks.run.ending.find", find)
    monkeypatch.setattr(
        "kiosk_tasks.run.ending.send", lambda _app, _name, job_id, **_more: sent.append(job_id)
    )
    reaper = Reaper(SimpleNamespace(), outside, SimpleNamespace())  # type: ignore[arg-type]
    assert reaper._runs_that_died() == (1, 0)
    assert len(sent) == 2
