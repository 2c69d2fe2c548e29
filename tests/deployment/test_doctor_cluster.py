"""`kiosk doctor --cluster` on a sound installation, and on one with planted mistakes."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import redis

from kiosk_tasks.broker_users import COMPONENTS
from kiosk_tasks.cli.cluster import watching, workers
from kiosk_tasks.cli.cluster.models import largest_batch
from kiosk_tasks.errors import ModelMismatch
from kiosk_tasks.settings import PROTOCOL
from tests.conftest import wait_for
from tests.fake_models import FakeModel, FakeModels, ours
from tests.ports import free_port
from tests.processes import child
from tests.prometheus import prometheus
from tests.security_site import ask, kiosk, server, site_env

LOGIN = "lab:word-12345"
WORDS = {f"KIOSK_{name.upper()}_PASSWORD": f"pw-{name}-1234" for name in COMPONENTS}
ROOT = Path(__file__).parents[2]
SKEWED = ROOT / "tests" / "faults" / "startup" / "skewed_clock"
ALL_QUEUES = "mesmer,polaris,predict,spot,track"
BESIDE = (
    *("broker has no append-only file", "model server 127.0.0.1"),
    *("lost jobs were last looked for: never",),
)
"""What is wrong with the test's own broker, which is none of the cluster's business."""
Wait = Callable[[], object]


@dataclass(frozen=True)
class Site:
    """A broker's database, and the environment of those who use it."""

    folder: Path
    env: Mapping[str, str] = field(repr=False)
    client: redis.Redis = field(repr=False)

    def under(self, **more: str) -> Site:
        """The same with more settings."""
        return replace(self, env={**self.env, **more})

    def doctor(self, **more: str) -> tuple[int, dict[str, bool]]:
        """Run the doctor under more settings; return its exit code, and what it says of what."""
        done = kiosk({**self.env, **more}, "doctor", "--cluster", "--json", folder=self.folder)
        assert done.stdout, done.stderr
        return done.returncode, {one["text"]: one["ok"] for one in json.loads(done.stdout)}

    @contextmanager
    def worker(self, name: str, queues: str, **more: str) -> Iterator[Wait]:
        """A worker; it consumes once what this yields has returned."""
        ready, log = self.folder / f"{name}.ready", self.folder / f"{name}.log"
        command = [sys.executable, "-m", "celery", "-A", "kiosk_tasks", "worker", "-P", "solo"]
        options = ["-Q", queues, "-n", f"{name}@%h", "--without-mingle", "--without-gossip"]
        env = {**self.env, "KIOSK_READY_FILE": str(ready), **more}
        short = ["--", "worker.soft_shutdown_timeout=3"]
        with child([*command, *options, *short], log=log, env=env, cwd=self.folder) as process:

            def wait() -> None:
                wait_for(
                    lambda: ready.exists() or process.poll() is not None,
                    limit_s=90,
                    what=f"worker is ready, see {log}",
                )
                assert process.poll() is None, log.read_text()

            yield wait
            process.kill()  # it is idle, and would wait for its soft shutdown all the same

    @contextmanager
    def served(self, command: str, *, path: str = "/healthz") -> Iterator[tuple[int, Wait]]:
        """A part with a port of its own, which answers once the second has returned."""
        port = free_port()
        log = self.folder / f"{command}{port}.log"
        argv = [sys.executable, "-m", "kiosk_tasks", command, "--port", str(port)]
        with child(argv, log=log, env=self.env, cwd=self.folder):
            yield (
                port,
                lambda: wait_for(
                    lambda: ask(port, path), limit_s=90, what=f"{command} answers, see {log}"
                ),
            )


@dataclass(frozen=True)
class Parts:
    """Ports of a real exporter, of one that knows other jobs, and of Flower."""

    exporter: int
    other_exporter: int
    flower: int


@pytest.fixture(scope="module")
def site(valkey: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder, url = tmp_path_factory.mktemp("doctor"), valkey.replace("/0", "/12")
    env = site_env(folder, url, KIOSK_MODEL_WAIT="0.2", KIOSK_FLOWER_AUTH=LOGIN)
    with redis.Redis.from_url(url, decode_responses=True) as client:
        yield Site(folder, env, client)
        client.flushdb()


@pytest.fixture(scope="module")
def parts(site: Site) -> Iterator[Parts]:
    """All processes of all tests: they are started together, and need not wait for each other."""
    other, mixed, alone = (
        site.under(KIOSK_KEY_PREFIX=prefix) for prefix in ("other:", "mixed:", "alone:")
    )
    sound = {"REMAP_SIGTERM": "SIGQUIT", "KIOSK_GRACE_PERIOD": "60"}
    hasty = {"REMAP_SIGTERM": "SIGQUIT", "KIOSK_GRACE_PERIOD": "10"}
    bare = {"PYTHONPATH": str(ROOT)}  # the site's package is not installed there
    with ExitStack() as life:
        start = life.enter_context
        served = [
            start(site.served("exporter")),
            start(other.served("exporter")),
            start(site.served("flower", path="/healthcheck")),
        ]
        workers = [
            start(site.worker("sound", ALL_QUEUES, **sound)),
            start(mixed.worker("other", "predict", **_differing(site.folder))),
            start(mixed.worker("hasty", "predict", **hasty)),
            start(alone.worker("without", "predict", **bare)),
        ]
        for wait in (*(wait for _, wait in served), *workers):
            wait()
        yield Parts(*(port for port, _ in served))


@pytest.fixture(scope="module")
def watchers(site: Site, parts: Parts) -> Iterator[dict[str, str]]:
    """A real exporter, Flower and Prometheus, by the names of their settings."""
    with prometheus(site.folder, {"kiosk": parts.exporter}) as server:
        wait_for(lambda: server.query("kiosk_broker_up"), limit_s=60, what="it has been scraped")
        yield {
            "KIOSK_EXPORTER_URL": f"http://127.0.0.1:{parts.exporter}",
            "KIOSK_FLOWER_URL": f"http://{LOGIN}@127.0.0.1:{parts.flower}",
            "KIOSK_PROMETHEUS_URL": f"http://127.0.0.1:{server.port}",
        }


def _differing(folder: Path) -> dict[str, str]:
    """The environment of a worker of another release, with other settings and another clock."""
    older = folder / "older"
    older.mkdir()
    start = (SKEWED / "sitecustomize.py").read_text("utf-8")
    release = "\nimport kiosk_tasks\nkiosk_tasks.__version__ = '0.0.9'\n"
    (older / "sitecustomize.py").write_text(start + release, "utf-8")
    return {
        "KIOSK_MAX_BATCH": "4",
        "KIOSK_LINKS": "stage",
        "KIOSK_STAGE_QUEUES": '{"postprocess": "cpu"}',
        "KIOSK_BUCKET": (folder / "elsewhere").as_uri(),
        "KIOSK_MODEL_SERVER": "gpu:8500",
        "KIOSK_LEASE": "20",
        "FAULT_CLOCK_SKEW": "600",
        "PYTHONPATH": f"{older}{os.pathsep}{ROOT}",  # and not the plugin
    }


def wrong(said: Mapping[str, bool]) -> list[str]:
    """What is not well, but for the test's own broker."""
    return [text for text, ok in said.items() if not ok and not text.startswith(BESIDE)]


def test_a_sound_cluster(site: Site, watchers: dict[str, str]) -> None:
    _, said = site.doctor(KIOSK_AUTOSCALED="true", **watchers)
    assert wrong(said) == []
    for text in (
        "workers do as many jobs at once as the scaler counts with",
        "1 worker(s) have this release and these settings",
        "the bucket is one folder for workers on 1 machine(s)",
        f"workspace {site.env['KIOSK_BUCKET']}/workspace answers",
        "exporter: tells what the ledger says of 5 queues",
        "Flower: shows 6 queues, and asks for its password",
        "Prometheus: has the series of 5 queues",
    ):
        assert text in said
    assert not any("word-12345" in text for text in said)


@pytest.mark.usefixtures("parts")
def test_a_worker_with_other_settings(site: Site) -> None:
    code, said = site.doctor(KIOSK_KEY_PREFIX="mixed:")
    assert code == 1
    told = wrong(said)
    for setting in (
        *("KIOSK_MAX_BATCH", "KIOSK_LINKS", "KIOSK_STAGE_QUEUES", "KIOSK_BUCKET", "KIOSK_LEASE"),
        *("KIOSK_MODEL_SERVER", "KIOSK_WORKSPACE", "the release"),
    ):
        differs = next(text for text in told if text.startswith(f"{setting} differs: "))
        assert "other@" in differs
    for words in (
        "the clock of other@",
        "waits for its jobs when it is told to end, until it is killed",
        "is killed 10 s after it is told to end, and its jobs have 3 s of them",
        "does not see what this process puts into the bucket",
    ):
        assert sum(words in text for text in told) == 1, words
    assert not any("KIOSK_MAX_ATTEMPTS" in text for text in told), "which is the same"


@pytest.mark.usefixtures("parts")
def test_a_job_type_that_no_worker_has(site: Site) -> None:
    """The site's package is installed where the doctor runs, and not where that worker does."""
    _, said = site.doctor(KIOSK_KEY_PREFIX="alone:")
    assert any(
        "no worker on the queue predict has the job type spy" in text for text in wrong(said)
    )
    assert any("no worker consumes the queue track" in text for text in wrong(said))


def test_settings_and_watchers_that_are_wrong(
    site: Site, parts: Parts, watchers: dict[str, str]
) -> None:
    flower = watchers["KIOSK_FLOWER_URL"].replace("word-12345", "geheim")
    mistakes = {
        "KIOSK_VISIBILITY_TIMEOUT": "30",
        "KIOSK_REAP_EVERY": "90",
        "KIOSK_SCALING": '{"trak": {"max": 4}}',
        "KIOSK_WORKSPACE": "file:///proc/workspace",
        "KIOSK_AUTOSCALED": "true",
        "KIOSK_WORKER_SLOTS": "4",
        "KIOSK_FLOWER_URL": flower,
        "KIOSK_PROMETHEUS_URL": watchers["KIOSK_EXPORTER_URL"],
        "KIOSK_EXPORTER_URL": f"http://127.0.0.1:{parts.other_exporter}",
    }
    jobs = ("a", "b")
    now = time.time()
    site.client.rpush(f"kiosk:v{PROTOCOL + 1}:predict", "message")
    site.client.hset("kiosk:pace", "track|track", "10 10 900 10 900 0")
    site.client.zadd("kiosk:leases", {"job": now - 600})
    site.client.zadd("kiosk:waiting:spot:6", dict.fromkeys(jobs, now - 2 * 3600))
    _, said = site.doctor(**mistakes)
    keys = ["kiosk:waiting:spot:6", "kiosk:leases", "kiosk:pace"]
    site.client.delete(*keys, f"kiosk:v{PROTOCOL + 1}:predict")
    told = wrong(said)
    for words in (
        "KIOSK_VISIBILITY_TIMEOUT (30 s) is shorter than KIOSK_LEASE (60 s)",
        "KIOSK_REAP_EVERY (90 s) is longer than KIOSK_LEASE (60 s)",
        "KIOSK_SCALING names the queue trak",
        "a job of the type track takes 90 s on the queue track",
        "1 job(s) have run without a sign of life",
        "a job has waited for 120 minutes on the queue spot, 2 wait there for 1 worker(s)",
        f"1 message(s) under kiosk:v{PROTOCOL + 1}",
        "exporter: tells 0 open jobs on the queue spot, and the ledger 2",
        "workspace file:///proc/workspace: ",
        "Flower: answers 401",
        "Prometheus: answers 404",
        "KIOSK_VISIBILITY_TIMEOUT differs: 120.0 at sound@",
    ):
        assert sum(words in text for text in told) == 1, words
    assert sum("does 1 job(s) at once, and the scaler counts with 4" in text for text in told) == 5
    assert not any("geheim" in text for text in said)


def test_nobody_answers(site: Site) -> None:
    lost = {
        "KIOSK_EXPORTER_URL": f"http://127.0.0.1:{free_port()}",
        "KIOSK_PROMETHEUS_URL": "prometheus:9090",
        "KIOSK_KEY_PREFIX": "nobody:",
        "FAULT_CLOCK_SKEW": "-600",
        "PYTHONPATH": f"{SKEWED}{os.pathsep}{site.env['PYTHONPATH']}",
    }
    code, said = site.doctor(**lost)
    told = wrong(said)
    assert code == 1
    assert any(text.startswith("no worker answers; start one") for text in told)
    assert "this machine's clock is 600 s behind the broker's; set both by NTP." in told
    assert any(text.startswith("exporter: does not answer at http://127.0.0.1:") for text in told)
    assert any("is no http:// or https://" in text for text in told)


def test_workers_that_are_silent_or_of_one_name() -> None:
    seen = workers._Seen({}, {"old@here": {"predict"}}, {}, ("same@here",))
    silent, twice = workers._silent(seen)
    assert silent.startswith("worker old@here cannot tell its settings: another release")
    assert twice.startswith("several workers are called same@here")
    told = {"version": "1"}
    assert not list(workers._silent(workers._Seen({"a@here": told}, {"a@here": set()}, {})))


def test_a_login_is_for_the_server_that_it_was_given_for() -> None:
    seen: list[str | None] = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers["Authorization"])
            self.send_response(200 if self.path == "/there" else 302)
            self.send_header("Location", "/there")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert watching._get(f"http://{LOGIN}@127.0.0.1:{server.server_port}/here") == {}
        server.shutdown()
    assert seen == [f"Basic {b64encode(LOGIN.encode()).decode()}", None]


def test_the_order_of_a_setting_is_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    told = set()
    for queues in (
        '{"predict": "gpu", "postprocess": "cpu"}',
        '{"postprocess": "cpu", "predict": "gpu"}',
    ):
        monkeypatch.setenv("KIOSK_STAGE_QUEUES", queues)
        told.add(str(workers.report(workers.app)["stage_queues"]))
    assert len(told) == 1


def test_users_of_the_broker_see_what_they_may(site: Site, tmp_path: Path) -> None:
    """With the rights of whoever submits jobs all is compared; an admin sees the broker, too."""
    made = kiosk({**site.env, **WORDS}, "acl", folder=tmp_path)
    users = tmp_path / "users.acl"
    users.write_text(made.stdout)
    with server(tmp_path, f'aclfile "{users}"') as port:
        urls = {
            name: f"redis://kiosk-{name}:pw-{name}-1234@127.0.0.1:{port}/12"
            for name in ("client", "admin")
        }
        with redis.Redis.from_url(urls["admin"]) as admin:
            admin.rpush(f"kiosk:v{PROTOCOL + 1}:predict", "message")
        urls["elsewhere"] = urls["client"].replace("/12", "/0")
        with ThreadPoolExecutor() as pool:  # they wait, most of the time
            asked = {
                name: pool.submit(site.doctor, KIOSK_BROKER_URL=url) for name, url in urls.items()
            }
        for component in ("client", "admin"):
            _, said = asked[component].result()
            assert not any("no more could be looked at" in text for text in said), said
            assert "scaling settings fit queues and jobs" in said
            left = any(text.startswith("1 message(s) under kiosk:v") for text in wrong(said))
            assert left == (component == "admin")
        code, said = asked["elsewhere"].result()
    assert code == 1
    assert any("Is its user file made for this database" in text for text in wrong(said))


@dataclass
class Strict(FakeModels):
    """A server that refuses larger batches in TensorFlow Serving's words."""

    most: int = 8

    def predict(self, signature: Any, batches: Any, **_: Any) -> Any:
        for batch in batches:
            size = len(next(iter(batch.values())))
            if size > self.most:
                assert signature.model == "M"
                raise ModelMismatch(
                    f"The model server refused the request: Task size {size} is larger than "
                    f"maximum input batch size {self.most}"
                )
            yield {}


def test_a_batch_that_the_model_server_refuses() -> None:
    model: FakeModel = ours()
    assert largest_batch(Strict({"M": model}), "M", None, tiles=8) == 8
    assert largest_batch(Strict({"M": model}), "M", None, tiles=9) == 8
    assert largest_batch(FakeModels({"M": model}), "M", None, tiles=64) == 64
