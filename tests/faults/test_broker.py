"""A broker that is killed, emptied, cut off, full, or has a long queue and no workers."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kiosk_tasks.errors import KioskError
from tests.faults.conftest import Begin
from tests.faults.fleet import Fleet, Kind
from tests.faults.proxy import Proxy
from tests.faults.scenario import Scenario
from tests.faults.site import Site
from tests.faults.valkey import Valkey

pytestmark = pytest.mark.usefixtures("reaper")

Size = Callable[[Any, Any], Any]


def test_f6_killed_broker(begin: Begin, fleet: Fleet, server: Valkey, size: Size) -> None:
    fleet.want(2)
    scenario = begin("F6", "SIGKILL the broker, restart on its file")
    kills, slots = size(3, 30), 4
    scenario.submit(50 * kills, seconds=0.2)
    for _ in range(kills):
        scenario.wait_more(10)
        server.kill()
        scenario.fault()
        time.sleep(size(0.5, 2.0))  # how long it is away
        server.start()
    scenario.finish(limit_s=size(120, 600), max_reruns=kills * slots, max_recovery_s=90)
    assert fleet.exits() == []


def test_f7_emptied_broker(begin: Begin, fleet: Fleet, site: Site) -> None:
    fleet.want(2)
    scenario = begin("F7", "FLUSHDB of the broker's database")
    scenario.submit(100, seconds=0.1)
    scenario.wait_more(5)
    with site.broker() as broker:
        broker.flushdb()
    scenario.fault()
    scenario.submit(10)
    scenario.finish(limit_s=90, max_recovery_s=60)
    assert fleet.exits() == []


def test_f20_full_broker(begin: Begin, fleet: Fleet, site: Site, size: Size) -> None:
    """A client is told; what was accepted before is done once there is room again."""
    scenario = begin("F20", "broker's memory is full")
    fleet.want(2)
    scenario.submit(size(40, 100), seconds=0.1)
    with site.valkey.client() as broker:
        broker.config_set("maxmemory", broker.info("memory")["used_memory"] // 2)
        scenario.fault()
        try:
            errors = _refusals(scenario, size(5, 20))
        finally:
            broker.config_set("maxmemory", 0)
    assert len(errors) == size(5, 20)
    assert all("memory" in str(error) or "full" in str(error) for error in errors), errors[0]
    scenario.submit(5)
    scenario.finish(limit_s=120, max_recovery_s=60)
    assert fleet.exits() == []


def test_f20_too_few_replicas(begin: Begin, fleet: Fleet, site: Site) -> None:
    """After a failover with `min-replicas-to-write`, until the old primary is a replica."""
    scenario = begin("F20", "broker has too few replicas to write")
    fleet.want(2)
    scenario.submit(40, seconds=0.5)
    scenario.wait_more(5)
    with site.valkey.client() as broker:
        broker.config_set("min-replicas-to-write", 1)
        scenario.fault()
        try:
            errors = _refusals(scenario, 5)
            time.sleep(2.0)  # jobs that run come to their end
        finally:
            broker.config_set("min-replicas-to-write", 0)
    assert all("takes nothing now (NOREPLICAS)" in str(error) for error in errors), errors[0]
    scenario.finish(limit_s=120, max_recovery_s=60)
    assert fleet.exits() == []


def test_f20_full_when_a_message_is_taken(begin: Begin, fleet: Fleet, site: Site) -> None:
    """The worker cannot note what it has taken: the message is gone, the worker lives."""
    scenario = begin("F20", "broker's memory is full when a worker takes a message")
    (worker,) = fleet.want(1)
    worker.freeze()
    scenario.submit(3)
    with site.valkey.client() as broker:
        broker.config_set("maxmemory", broker.info("memory")["used_memory"] // 2)
        scenario.fault()
        try:
            worker.thaw()
            said = "command not allowed when used memory"
            scenario.wait(lambda: said in worker.log.read_text(), what="it cannot be noted")
        finally:
            broker.config_set("maxmemory", 0)
    scenario.finish(limit_s=60, max_recovery_s=60)
    assert fleet.exits() == []


def _refusals(scenario: Scenario, count: int) -> list[KioskError]:
    errors = []
    for _ in range(count):
        with pytest.raises(KioskError) as refused:
            scenario.client.submit("fault")
        errors.append(refused.value)
    return errors


@pytest.fixture(scope="module")
def proxy(server: Valkey) -> Iterator[Proxy]:
    """What lies between the broker and the worker of F8."""
    with Proxy(server.port) as one:
        yield one


@pytest.mark.parametrize("forget", [False, True], ids=["delayed", "forgotten"])
def test_f8_link_cut(
    begin: Begin, fleet: Fleet, site: Site, proxy: Proxy, size: Size, forget: bool
) -> None:
    """delayed: packets arrive late. forgotten: connections do not survive the cut."""
    what = "no longer known" if forget else "delayed"
    scenario = begin("F8", f"broker's link silently cut, connections {what}")
    fleet.have(Kind(env=site.proxied(proxy.port)))
    for _ in range(size(1, 3)):
        scenario.submit(size(20, 50), seconds=0.2)
        scenario.wait_more(2)
        proxy.cut(forget=forget)
        time.sleep(size(6.0, 30.0))  # how long it is cut
        proxy.restore()
        scenario.fault()
        assert scenario.wait_ended(90)
    scenario.finish(max_recovery_s=60)
    assert fleet.exits() == []


def test_backlog_is_no_loss(begin: Begin, fleet: Fleet, site: Site, size: Size) -> None:
    """Jobs that wait for a worker are left alone; they are run once each when one comes."""
    scenario = begin("backlog", "many jobs, no worker, the reaper looking")
    fleet.have()
    jobs = scenario.submit(size(1000, 10_000), seconds=0.0)
    looks_until = time.monotonic() + size(10.0, 600.0)
    while time.monotonic() < looks_until:
        held = site.messages()
        assert sum(held.values()) == len(jobs), held
        time.sleep(0.5)  # between two looks
    scenario.fault(0)
    fleet.want(2)
    scenario.finish(limit_s=size(90, 900), max_reruns=0)


def test_broker_forgets_no_ended_job(begin: Begin, fleet: Fleet, site: Site) -> None:
    """After every scenario before, nothing but bindings and results is left in the broker."""
    fleet.want(1)
    scenario = begin("after", "nothing: what the others left in the broker")
    scenario.submit(5)
    scenario.finish(max_reruns=0)
    fleet.have()
    with site.broker() as broker:
        names = [str(key) for key in broker.scan_iter(count=1000)]
    known = re.compile(r"_kombu\.binding|celery-task-meta-|unacked_mutex|pidbox|reap|retry")
    assert [name for name in names if not known.search(name)] == []
