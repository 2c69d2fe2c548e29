"""Workers that die, are killed, are told to stop, or were never told about a job type."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

from tests.faults.conftest import Begin
from tests.faults.fleet import PLAIN, Fleet, Kind, Reaper, Worker
from tests.faults.site import ROOT, Site, startup

pytestmark = pytest.mark.usefixtures("reaper")

Size = Callable[[Any, Any], Any]


def test_f1_no_fault(begin: Begin, fleet: Fleet, size: Size) -> None:
    fleet.want(size(2, 4))
    scenario = begin("F1", "none")
    scenario.submit(size(200, 5000))
    row = scenario.finish(limit_s=size(60, 600), max_reruns=0)
    assert row.done == row.jobs


def test_f2_killed_children(begin: Begin, fleet: Fleet, size: Size) -> None:
    workers = fleet.want(2)
    scenario = begin("F2", "SIGKILL a pool child")
    chance = random.Random(2)
    scenario.submit(size(100, 3000), seconds=0.25)
    kills = size(8, 200)
    pause_s = size(0.6, 0.7)
    replaced = 0
    while scenario.faults < kills and scenario.watcher.open_count():
        time.sleep(pause_s)  # the rhythm of the faults
        if chance.choice(workers).kill_child(chance):
            scenario.fault()
        for worker in [worker for worker in workers if not worker.alive]:
            fleet.replace(worker)  # killed while its pool was starting
            replaced += 1
    assert scenario.faults == kills
    # A worker that ended took the job of its other child along.
    scenario.finish(limit_s=90, max_reruns=kills + replaced)


def test_f2_scratch_of_a_killed_child(begin: Begin, fleet: Fleet) -> None:
    """The worker lives on, for weeks perhaps: what its dead children left must not add up."""
    (worker,) = fleet.want(1)
    scenario = begin("F2", "SIGKILL a pool child that has files in scratch")
    scenario.submit(3, act="die_once", scratch=True)
    scenario.fault(3)
    scenario.finish(limit_s=60, max_reruns=3)
    assert worker.alive


def test_f3_killed_workers(begin: Begin, fleet: Fleet, size: Size) -> None:
    fleet.want(2)
    scenario = begin("F3", "SIGKILL a whole worker")
    scenario.submit(size(100, 4000), seconds=0.3)
    for number in range(size(4, 100)):
        time.sleep(size(1.0, 3.0))  # the rhythm of the faults
        victim = fleet.workers[number % 2]
        victim.wait_ready()
        victim.kill_tree()
        scenario.fault()
        fleet.replace(victim)
    scenario.finish(limit_s=90, max_recovery_s=90)


def test_f4_message_lost_in_brpop(
    begin: Begin, fleet: Fleet, reaper: Reaper, site: Site, size: Size
) -> None:
    """Celery itself loses each of these: popped by a worker that dies before it has noted it."""
    scenario = begin("F4", "SIGKILL between BRPOP and the note")
    trials = size(8, 24)
    with reaper.frozen():
        while scenario.faults < trials:
            workers = fleet.want(4, Kind(children=1))
            lost = _freeze_and_send(workers, site, scenario.submit)
            for worker in workers:
                worker.kill_tree()
            scenario.fault(lost)
        fleet.want(1, Kind(children=1))
    scenario.finish(limit_s=90, max_recovery_s=60, max_reruns=0)


def _freeze_and_send(workers: list[Worker], site: Site, send: Callable[[], object]) -> int:
    """Freeze workers in BRPOP and submit a job to each; return how many messages are gone."""
    with site.broker() as broker:
        while True:
            for worker in workers:
                worker.freeze()
            blocked = _blocked(broker)
            if blocked:
                break
            for worker in workers:
                worker.thaw()
        for _ in range(blocked):
            send()
        assert not any("unacked" in key for key in site.messages())
        return blocked - sum(site.messages().values())


def _blocked(broker: redis.Redis) -> int:
    """Return how many clients wait in BRPOP."""
    return sum("b" in one["flags"] and one["cmd"] == "brpop" for one in broker.client_list())


def test_f5_told_to_stop(begin: Begin, fleet: Fleet, site: Site, size: Size) -> None:
    scenario = begin("F5", "SIGTERM under load")
    fleet.want(2, Kind(children=1))
    for _ in range(size(3, 20)):
        victim = fleet.workers[0]
        jobs = scenario.submit(3, seconds=2.5, steps=50)
        scenario.wait_running(jobs, 2)
        victim.terminate()
        told = time.monotonic()
        assert victim.wait_gone() == 0
        scenario.fault()
        assert time.monotonic() - told < 5, "it did not stop in time"
        fleet.replace(victim)
        assert scenario.wait_ended(30)
    scenario.finish()
    with site.broker() as broker:
        assert broker.zcard(next(iter(broker.scan_iter("*unacked_index*")), "none")) == 0


def test_f10_poison(begin: Begin, fleet: Fleet, size: Size) -> None:
    fleet.want(2)
    scenario = begin("F10", "a job that kills its process")
    good, poison = size((40, 3), (95, 5))
    scenario.submit(good // 2)
    killers = scenario.submit(poison, act="die")
    scenario.submit(good - good // 2)
    scenario.fault(poison)
    scenario.finish(limit_s=120, failed=killers, max_reruns=3 * poison)
    assert [scenario.started(job) for job in killers] == [4] * poison
    assert fleet.exits() == []


def test_f16_submitted_five_times(begin: Begin, fleet: Fleet, size: Size) -> None:
    fleet.want(2)
    scenario = begin("F16", "one job submitted 5 times at once")
    with ThreadPoolExecutor(5) as threads:
        for number in range(size(40, 100)):
            job_id = f"five-times-{number}-{time.monotonic_ns()}"

            def send(_: int, job_id: str = job_id, number: int = number) -> str:
                return scenario.client.submit("fault", job_id=job_id, number=number)

            assert set(threads.map(send, range(5))) == {job_id}
            scenario.accept(job_id, number=number)
            scenario.fault(4)
    scenario.finish(max_reruns=0)


def test_f19_release_with_another_protocol(
    begin: Begin, fleet: Fleet, site: Site, size: Size
) -> None:
    scenario = begin("F19", "workers of two releases, with two protocols")
    fleet.have(PLAIN, Kind(env=startup(site, "old_release")))
    scenario.submit(size(60, 200), seconds=0.1)
    scenario.fault()
    scenario.finish(max_reruns=0)
    assert fleet.exits() == []


def test_f19_worker_without_the_job_type(begin: Begin, fleet: Fleet, size: Size) -> None:
    """Celery discards messages of tasks it does not know; the jobs are sent again."""
    scenario = begin("F19", "a worker that does not know the job type")
    fleet.have(PLAIN, Kind(env={"PYTHONPATH": str(ROOT)}))
    scenario.submit(size(10, 200), seconds=0.1)
    scenario.fault()
    scenario.finish(limit_s=120, max_reruns=0)
    assert fleet.exits() == []
