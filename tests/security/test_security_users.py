"""Every component logs in as its own user, and may do what it must and no more."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from kiosk_tasks.broker_users import COMPONENTS, user_name
from tests.conftest import wait_for
from tests.ports import free_port
from tests.processes import child
from tests.security_site import (
    ask,
    client,
    connect,
    kiosk,
    python,
    server,
    site_env,
    worker,
)

PASSWORDS = {component: f"pw-{component}-1234" for component in COMPONENTS}
LANE = "predict:6"


@dataclass(frozen=True)
class Guarded:
    """A server where nobody gets in without a name."""

    folder: Path
    port: int

    def login(self, component: str) -> redis.Redis:
        return connect(self.port, username=user_name(component), password=PASSWORDS[component])

    def env(self, component: str) -> dict[str, str]:
        login = f"{user_name(component)}:{PASSWORDS[component]}"
        return site_env(self.folder, f"redis://{login}@127.0.0.1:{self.port}/0")

    def denials(self) -> list[tuple[str, str, str]]:
        with self.login("admin") as admin:
            return [(e["username"], e["reason"], e["object"]) for e in admin.acl_log()]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    variables = {f"KIOSK_{name.upper()}_PASSWORD": PASSWORDS[name] for name in COMPONENTS}
    made = kiosk(site_env(folder, "redis://127.0.0.1:1/0", **variables), "acl", folder=folder)
    assert made.returncode == 0, made.stderr
    users = folder / "users.acl"
    users.write_text(made.stdout)
    debug = "enable-debug-command local"  # so that only the user's rights forbid it
    with server(folder, f'aclfile "{users}"', debug) as port:
        yield Guarded(folder, port)


ASK = """
from kiosk_tasks import app, service, spy
result = spy.delay(input_file_name="x")
assert result.get(timeout=30)["output_file_name"] == "report"
result.forget()
assert service.consumers() == {"predict": 1}, service.consumers()
job = service.newest(1)[0]
assert not service.cancel(job.id)
assert app.control.ping(timeout=2)
"""


def test_job_goes_through_and_nothing_was_forbidden(guarded: Guarded) -> None:
    env = guarded.env("client")
    with worker(guarded.folder, guarded.env("worker")):
        record = client(env, folder=guarded.folder)
        asked = python(env, "-c", ASK, folder=guarded.folder)
    assert record["status"] == "done", (record, guarded.denials())
    assert asked.returncode == 0, (asked.stderr, guarded.denials())
    assert guarded.denials() == []


SUBMIT = """
from kiosk_tasks import service
print(service.submit("spy", {"input_file_name": "uploads/x"}).id)
"""


WEB = """
from kiosk_tasks.ledger import TooManyJobs
from kiosk_tasks.job import new_job
from kiosk_tasks.jobs import find
from kiosk_tasks.ledger import Owner, Reservation
from kiosk_tasks.settings import Settings
from kiosk_tasks.wiring import make_ledger
ledger = make_ledger(Settings.load())
mine = Reservation(ledger, "upload:x", seconds=60)
assert mine.take() and mine.renew()
mine.give_back()
assert not mine.is_taken()
try:
    for _ in range(2):
        job = new_job(find("spy"), {"input_file_name": "uploads/x"})
        ledger.submit(job, lane="nowhere:6", owner=Owner("ada", most_open=1))
except TooManyJobs:
    assert ledger._redis.exists(f"kiosk:job:{job.id}") == 0
    print("one was enough")
"""


def test_web_service_reserves_uploads_and_counts_open_jobs(guarded: Guarded) -> None:
    done = python(guarded.env("client"), "-c", WEB, folder=guarded.folder)
    assert done.stdout == "one was enough\n", (done.stderr, guarded.denials())
    with guarded.login("admin") as admin:
        for key in admin.scan_iter("kiosk:*"):
            admin.delete(key)


def test_reaper_sends_a_lost_job_again_and_nothing_was_forbidden(guarded: Guarded) -> None:
    submitted = python(guarded.env("client"), "-c", SUBMIT, folder=guarded.folder)
    assert submitted.returncode == 0, (submitted.stderr, guarded.denials())
    with guarded.login("admin") as admin:
        assert admin.delete("kiosk:v1:predict:6") == 1
        admin.zadd(f"kiosk:waiting:{LANE}", {submitted.stdout.strip(): 1})  # long ago
    reaped = kiosk(guarded.env("reaper"), "reap", folder=guarded.folder)
    assert reaped.returncode == 0, (reaped.stderr, guarded.denials())
    assert "1 resent" in reaped.stdout
    assert guarded.denials() == []
    with guarded.login("exporter") as exporter:
        assert exporter.llen("kiosk:v1:predict:6") == 1
        assert exporter.hget("kiosk:tallies", '["reaped", "message_gone"]') == "1"
    with guarded.login("admin") as admin:
        admin.delete("kiosk:v1:predict:6")


def test_flower_sees_workers_and_nothing_was_forbidden(guarded: Guarded) -> None:
    login, port = "lab:flower-password", free_port()
    env = {**guarded.env("flower"), "KIOSK_FLOWER_AUTH": login}
    command = [sys.executable, "-m", "kiosk_tasks", "flower", "--port", str(port)]
    log = guarded.folder / "flower.log"
    with (
        worker(guarded.folder, guarded.env("worker")),
        child(command, log=log, env=env, cwd=guarded.folder),
    ):
        wait_for(lambda: ask(port, "/healthcheck"), limit_s=60, what="Flower answers")
        for page in ("/api/workers?refresh=1", "/broker", "/tasks"):
            assert ask(port, page, login=login) == 200, log.read_text()
    assert guarded.denials() == [], log.read_text()


def test_without_a_login_nothing_is_answered(guarded: Guarded) -> None:
    with connect(guarded.port) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()


DENIED: dict[str, list[tuple[str, ...]]] = {
    "client": [
        ("BRPOP", "kiosk:v1:predict", "1"),
        ("DEL", "kiosk:v1:predict"),
        ("GET", "elsewhere"),
        ("PUBLISH", "kiosk:v1:/0.celeryev/task.succeeded", "{}"),
    ],
    "worker": [("LPUSH", "predict", "x"), ("RENAME", "kiosk:jobs", "kiosk:j"), ("SET", "x", "1")],
    "reaper": [("BRPOP", "kiosk:v1:predict", "1"), ("LPUSH", "predict", "x")],
    "bridge": [("LPUSH", "other", "x"), ("GET", "elsewhere"), ("BRPOP", "kiosk:v1:predict", "1")],
    "flower": [("HGETALL", "kiosk:job:1"), ("BRPOP", "kiosk:v1:predict", "1")],
    "exporter": [
        ("LPUSH", "kiosk:v1:predict", "x"),
        ("HGETALL", "kiosk:job:1"),
        ("HVALS", "kiosk:v1:unacked"),
        ("HSET", "kiosk:tallies", "x", "1"),
        ("LRANGE", "kiosk:v1:predict", "0", "-1"),
        ("DEL", "kiosk:x"),
    ],
}
NOBODY = [
    *(("FLUSHALL",), ("FLUSHDB",), ("CONFIG", "GET", "requirepass"), ("KEYS", "*")),
    *(("DEBUG", "SLEEP", "0"), ("SHUTDOWN", "NOSAVE"), ("ACL", "LIST"), ("MONITOR",)),
    *(("SAVE",), ("REPLICAOF", "NO", "ONE"), ("CLIENT", "LIST")),
    *(("MODULE", "LIST"), ("FUNCTION", "LIST"), ("SCRIPT", "FLUSH"), ("SLOWLOG", "GET")),
]


@pytest.mark.parametrize("component", DENIED)
def test_what_is_not_needed_is_forbidden(guarded: Guarded, component: str) -> None:
    with guarded.login(component) as connection:
        assert connection.ping()
        scan = [] if component == "bridge" else [("SCAN", "0")]
        for command in [*DENIED[component], *NOBODY, *scan]:
            with pytest.raises(redis.exceptions.NoPermissionError):
                connection.execute_command(*command)
    with guarded.login("admin") as admin:
        admin.acl_log_reset()


def test_script_may_do_no_more_than_its_user(guarded: Guarded) -> None:
    with guarded.login("worker") as connection:
        sha = connection.script_load("return redis.call('FLUSHALL')")
        with pytest.raises(redis.ResponseError, match="ACL failure in script"):
            connection.evalsha(sha, 0)
    with guarded.login("admin") as admin:
        admin.acl_log_reset()


def test_bridge_takes_over_what_old_frontends_leave(guarded: Guarded) -> None:
    key = "spy:image.tif:00000000-0000-4000-8000-000000000000"
    fields = {"status": "new", "original_name": "image.tif", "input_file_name": "uploads/image.tif"}
    command = [sys.executable, "-m", "kiosk_tasks", "bridge", "--name", "one"]
    log, env = guarded.folder / "bridge.log", guarded.env("bridge")
    with guarded.login("admin") as frontend:
        frontend.hset(key, mapping=fields)
        frontend.lpush("spy", key)
        with child(command, log=log, env=env, cwd=guarded.folder):
            wait_for(lambda: frontend.hget(key, "job_id"), limit_s=30, what="it is a job")
            wait_for(lambda: frontend.llen("kiosk:v1:predict:6") == 1, what="it is sent")
        assert guarded.denials() == [], log.read_text()
        with worker(guarded.folder, guarded.env("worker")):
            wait_for(lambda: frontend.hget(key, "status") == "done", what="the frontend sees it")
    assert guarded.denials() == []


def test_exporter_counts(guarded: Guarded) -> None:
    with guarded.login("exporter") as exporter:
        assert exporter.llen("kiosk:v1:predict:6") == 0
        assert exporter.hlen("kiosk:v1:unacked") == 0
        assert exporter.zcard("kiosk:open") >= 0
        assert exporter.info("memory")["used_memory"] > 0
        assert exporter.hgetall("kiosk:tallies") is not None


def test_exporter_tells_queues_and_nothing_was_forbidden(guarded: Guarded) -> None:
    port = free_port()
    command = [sys.executable, "-m", "kiosk_tasks", "exporter", "--port", str(port)]
    log, env = guarded.folder / "exporter.log", guarded.env("exporter")
    with child(command, log=log, env=env, cwd=guarded.folder):
        wait_for(lambda: ask(port, "/healthz"), limit_s=60, what="the exporter answers")
        assert ask(port, "/metrics") == 200
        assert ask(port, "/queues.json") == 200, log.read_text()
    assert guarded.denials() == []


def test_exporters_script_reads_no_job(guarded: Guarded) -> None:
    with guarded.login("exporter") as exporter:
        assert exporter.eval("return redis.call('HLEN', 'kiosk:tallies')", 0) >= 0
        for command in ("'HGETALL', 'kiosk:job:1'", "'HSET', 'kiosk:tallies', 'x', 1"):
            with pytest.raises(redis.ResponseError, match="ACL failure in script"):
                exporter.eval(f"return redis.call({command})", 0)
    with guarded.login("admin") as admin:
        admin.acl_log_reset()


def test_wrong_password_is_a_sentence(guarded: Guarded) -> None:
    url = f"redis://kiosk-client:wrong-password@127.0.0.1:{guarded.port}/0"
    done = kiosk(site_env(guarded.folder, url), "jobs", folder=guarded.folder)
    assert done.returncode == 3
    assert done.stderr.count("\n") <= 2
    assert "does not know this user and password" in done.stderr
    assert "wrong-password" not in done.stdout + done.stderr
