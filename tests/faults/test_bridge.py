"""A bridge that is killed again and again while old frontends push."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis

from kiosk_tasks.bridge import job_id_of
from tests.conftest import wait_for
from tests.faults.conftest import Begin
from tests.faults.fleet import Fleet
from tests.faults.scenario import Scenario
from tests.faults.site import INPUT, Site
from tests.processes import child

pytestmark = pytest.mark.usefixtures("reaper")

Size = Callable[[Any, Any], Any]

QUEUE = "fault"
_HELD = "kiosk:bridge:processing:"


class Replica:
    """`kiosk bridge --name …`, started again after each death."""

    def __init__(self, site: Site, name: str) -> None:
        self.log: Path = site.folder / f"{name}-{uuid4().hex[:8]}.log"
        self._site, self._name = site, name
        self._life = ExitStack()
        self._starts = 0
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "kiosk_tasks", "bridge", "--name", self._name]
        self._process = self._life.enter_context(
            child(command, log=self.log, env=self._site.process_env(), cwd=self._site.folder)
        )
        self._starts += 1

    def wait_ready(self) -> None:
        wait_for(
            lambda: (
                self.log.read_text().count(" ready, ") == self._starts
                or self._process.poll() is not None
            ),
            limit_s=60,
            what=f"bridge {self._name} is ready",
        )
        assert self._process.poll() is None, self.log.read_text()

    def kill(self, frontend: redis.Redis) -> int:
        """SIGKILL it, and start another in its place, which may not be ready yet.

        Returns how many keys it held.
        """
        self._process.kill()
        self._process.wait()
        self._life.close()
        held = len(_lines(frontend, f"{_HELD}{self._name}"))
        self.start()
        return held

    def stop(self) -> None:
        """SIGTERM it; it must end well."""
        self._process.terminate()
        assert self._process.wait(20) == 0, self.log.read_text()
        self._life.close()


@pytest.fixture
def frontend(site: Site) -> Iterator[redis.Redis]:
    """The database that old frontends write to: the ledger's."""
    with site.valkey.client(site.database + 1) as client:
        yield client
        for key in client.scan_iter(f"{QUEUE}*", count=1000):
            client.delete(key)


def write(frontend: redis.Redis, scenario: Scenario) -> str:
    """Write a hash as a frontend does, without pushing its key."""
    key = f"{QUEUE}:image.bin:{uuid4()}"
    number = len(scenario.jobs)
    fields: dict[Any, Any] = {"status": "new", "input_file_name": INPUT, "number": number}
    frontend.hset(key, mapping={**fields, "seconds": 0.01, "label": "", "cuts": "0"})
    scenario.accept(job_id_of(key), number=number)
    return key


def test_f17_killed_bridge(
    begin: Begin, fleet: Fleet, site: Site, frontend: redis.Redis, size: Size
) -> None:
    fleet.want(2)
    scenario = begin("F17", "SIGKILL a bridge at random, two of them run")
    rng = random.Random(17)
    replicas = [Replica(site, name) for name in ("one", "two")]
    kills, hashes = size((5, 200), (20, 1000))
    keys: list[str] = []
    amid = 0
    for kill in range(kills):
        victim = replicas[kill % 2]
        victim.wait_ready()
        due = hashes * (kill + 1) // kills
        batch = [write(frontend, scenario) for _ in range(due - len(keys))]
        keys += batch
        frontend.lpush(QUEUE, *batch, *batch[:3])  # some are pushed twice
        left = rng.uniform(0.2, 0.95) * len(batch)
        scenario.wait(lambda left=left: frontend.llen(QUEUE) < left)
        time.sleep(rng.uniform(0, 0.01))
        amid += victim.kill(frontend)
        scenario.fault()
    assert amid, "none of them had a key in its hands"
    for replica in replicas:
        replica.wait_ready()
    scenario.wait(lambda: not _on_the_way(frontend), what="every key is dealt with")
    scenario.finish(limit_s=120, max_reruns=0)
    started, _ = site.count_runs()
    assert [started[job] for job in scenario.jobs] == [1] * hashes
    for key in keys:
        told: Any = frontend.hmget(key, "status", "progress", "job_id")
        assert told == ["done", "100", job_id_of(key)]
    for replica in replicas:
        replica.stop()
    assert _on_the_way(frontend) == []


def _on_the_way(frontend: redis.Redis) -> list[str]:
    """Return what lies in the frontends' list, and in those of the bridges."""
    lists = [QUEUE, *frontend.scan_iter(f"{_HELD}*", count=1000)]
    return [key for name in lists for key in _lines(frontend, name)]


def _lines(frontend: redis.Redis, name: str) -> list[str]:
    lines: Any = frontend.lrange(name, 0, -1)
    return list(lines)
