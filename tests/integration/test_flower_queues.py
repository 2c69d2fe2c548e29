"""What Flower tells of queues, against what lies in the broker; and what it cannot tell."""

from __future__ import annotations

import base64
import json
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.conftest import wait_for
from tests.ports import free_port
from tests.processes import child
from tests.security_site import ask, python, site_env

LOGIN = "lab:word-12345"
PREFIX = "other:"
"""Not the default one: Flower must learn it."""
HOLD = '''
"""A job type that goes on when its file is there."""

import time
from pathlib import Path

from kiosk_tasks.job import JobType, Params


class HoldParams(Params):
    until: str = ""


def begin(_, ctx):
    while not Path(ctx.params.until).exists():
        time.sleep(0.02)
    return {"output_file_name": "x", "output_url": ""}


job_type = JobType("hold", "Holds", "predict", HoldParams, (begin,))
'''
SUBMIT = """
import json, sys
import kiosk_tasks
fields = {"input_file_name": "uploads/x"}
for name, priority, until in json.loads(sys.argv[1]):
    task = kiosk_tasks.app.tasks[name]
    more = {"until": until} if until else {}
    print(task.apply_async(kwargs=fields | more, priority=priority).id)
"""


@dataclass(frozen=True)
class Site:
    """A Flower, an empty broker of its own, and what other processes are started with."""

    folder: Path
    port: int
    env: Mapping[str, str] = field(repr=False)
    client: redis.Redis = field(repr=False)

    def told(self) -> dict[str, int]:
        """What `/api/queues/length` says, in the shape that scalers read."""
        answer = self.get("/api/queues/length")
        assert list(answer) == ["active_queues"]
        assert all(set(queue) == {"name", "messages"} for queue in answer["active_queues"])
        return {queue["name"]: queue["messages"] for queue in answer["active_queues"]}

    def truth(self) -> dict[str, int]:
        """Messages in the broker's lists, all priorities together."""
        keys = self.client.scan_iter(f"{PREFIX}v1:*", count=1000, _type="list")
        lengths: dict[str, int] = {}
        for key in keys:
            queue = key.removeprefix(f"{PREFIX}v1:").partition(":")[0]
            lengths[queue] = lengths.get(queue, 0) + self.client.llen(key)
        return lengths

    def get(self, path: str) -> Any:
        login = base64.b64encode(LOGIN.encode()).decode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", headers={"Authorization": f"Basic {login}"}
        )
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
            return json.load(answer)

    def submit(self, *jobs: tuple[str, int, str]) -> list[str]:
        """Submit jobs: the name of a type, a priority, a file to wait for; return their ids."""
        done = python(self.env, "-c", SUBMIT, json.dumps(jobs), folder=self.folder)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()


@pytest.fixture(scope="module")
def site(valkey: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("flower-queues")
    port, url = free_port(), valkey.replace("/0", "/11")
    settings = {"KIOSK_FLOWER_AUTH": LOGIN, "KIOSK_KEY_PREFIX": PREFIX}
    env = site_env(folder, url, **settings)
    (folder / "plugin" / "hold_job.py").write_text(HOLD)
    names = next((folder / "plugin").glob("*.dist-info")) / "entry_points.txt"
    names.write_text(f"{names.read_text()}hold = hold_job:job_type\n")
    command = [sys.executable, "-m", "celery", "-A", "kiosk_tasks", "flower", f"--port={port}"]
    with (
        redis.Redis.from_url(url, decode_responses=True) as client,
        child(command, log=folder / "flower.log", env=env, cwd=folder),
    ):
        wait_for(lambda: ask(port, "/healthcheck"), limit_s=60, what="Flower answers")
        yield Site(folder, port, env, client)
        client.flushdb()


@contextmanager
def worker(site: Site) -> Iterator[None]:
    """A worker with one child on the queue `predict`; it ends quickly."""
    command = [sys.executable, "-m", "celery", "-A", "kiosk_tasks", "worker", "-c", "1"]
    options = ["-Q", "predict", "--without-mingle", "--", "worker.soft_shutdown_timeout=0"]
    ready, log = site.folder / "worker.ready", site.folder / "worker.log"
    ready.unlink(missing_ok=True)
    env = {**site.env, "KIOSK_READY_FILE": str(ready)}
    with child([*command, *options], log=log, env=env, cwd=site.folder):
        wait_for(ready.exists, limit_s=60, what=f"worker is ready, see {log}")
        yield


@pytest.fixture(autouse=True)
def empty(site: Site) -> None:
    site.client.flushdb()


DECLARED = {"mesmer", "polaris", "predict", "reaper", "spot", "track"}


def test_every_queue_is_there_with_all_its_priorities(site: Site) -> None:
    """Two jobs that go on lie in another list than three new ones."""
    assert site.told() == dict.fromkeys(DECLARED, 0)
    site.submit(*[("predict", 6, "")] * 3, *[("predict", 0, "")] * 2, ("spot", 6, ""))
    lists = [site.client.llen(f"{PREFIX}v1:predict{lane}") for lane in (":6", "")]
    assert lists == [3, 2]
    assert site.told() == dict.fromkeys(DECLARED, 0) | {"predict": 5, "spot": 1}


def test_a_queue_without_a_worker_stays_there(site: Site) -> None:
    """A scaler that starts the first worker must see it; Flower itself leaves it out."""
    site.submit(("mesmer", 6, ""))
    with worker(site):
        wait_for(
            lambda: any(
                [queue["name"] for queue in info.get("active_queues", ())] == ["predict"]
                for info in site.get("/api/workers?refresh=1").values()
            ),
            limit_s=60,
            what="Flower knows the worker's queues",
        )
        assert site.told()["mesmer"] == 1
        assert set(site.told()) == DECLARED


def test_while_jobs_drain_and_what_flower_misses(
    site: Site, tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    """Lengths are exact at every look; the job that runs is in none of them."""
    gate = tmp_path / "gate"
    jobs = site.submit(("hold", 6, str(gate)), *[("hold", 6, str(gate))] * 5)
    assert site.told()["predict"] == 6
    with worker(site):
        wait_until(lambda: site.truth() == {"predict": 5}, limit_s=60, what="one job runs")
        assert site.told()["predict"] == 5
        wait_until(lambda: site.client.zcard(f"{PREFIX}leases") == 1, what="its claim")
        gate.touch()
        looks: list[dict[str, int]] = []
        while not looks or looks[-1]["predict"]:
            before = site.truth().get("predict", 0)
            looks.append(site.told())
            after = site.truth().get("predict", 0)
            assert before >= looks[-1]["predict"] >= after
        tasks = wait_until(
            lambda: (seen := site.get("/api/tasks?state=SUCCESS")).keys() >= set(jobs) and seen,
            limit_s=60,
            what="Flower has heard of all ends",
        )
    for job in jobs:
        assert tasks[job]["name"] == "hold"
        assert tasks[job]["args"] == "()"
        assert tasks[job]["kwargs"] == f"{{'job_id': '{job}', 'stop': 1}}", "ids only"
