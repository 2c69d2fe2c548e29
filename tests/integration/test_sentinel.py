"""Real sentinels: a worker, a reaper and a client outlive the death of the server they name."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import redis
from kombu import Connection

from kiosk_tasks.cli.cluster.broker import examine_broker
from kiosk_tasks.errors import BrokerUnavailable
from kiosk_tasks.redis_clients import (
    BrokerRefuses,
    mapped_broker_errors,
    redis_client,
    sentinel_options,
)
from kiosk_tasks.settings import InvalidSetting, Settings
from tests.conftest import wait_for
from tests.ports import free_port
from tests.processes import child
from tests.security_site import ask, kiosk, python, site_env
from tests.sentinel_site import Sentinels, sentinels

QUICK = {"KIOSK_LEASE": "4", "KIOSK_REAP_EVERY": "1", "KIOSK_VISIBILITY_TIMEOUT": "6"}
SUBMIT = """
import sys, time
from kiosk_tasks import service
from kiosk_tasks.cli.cluster.broker import examine_broker
from kiosk_tasks.errors import BrokerUnavailable
end = time.monotonic() + 40
for _ in range(int(sys.argv[1])):
    while True:
        try:
            print(service.submit("spy", {"input_file_name": "uploads/x"}).id, flush=True)
            break
        except BrokerUnavailable as exc:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
"""
RESULT = """
import kiosk_tasks
print(kiosk_tasks.spy.delay(input_file_name="uploads/x").get(timeout=60))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sentinels]:
    """Servers whose roles no test changes, nor a machine on which they answer late."""
    with sentinels(tmp_path_factory.mktemp("sentinels"), down_after_s=60) as running:
        yield running


def settings_of(site: Sentinels, monkeypatch: pytest.MonkeyPatch, **more: str) -> Settings:
    for name, value in {"KIOSK_BROKER_URL": site.url, **site.settings, **more}.items():
        monkeypatch.setenv(name, value)
    return Settings.load()


@contextmanager
def worker(folder: Path, env: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A worker with two children, ready."""
    ready, log = folder / "worker.ready", folder / "worker.log"
    command = [sys.executable, "-m", "celery", "-A", "kiosk_tasks", "worker", "-c", "2"]
    options = ["-Q", "predict", "--without-mingle", "--", "worker.soft_shutdown_timeout=0"]
    full = {**env, "KIOSK_READY_FILE": str(ready), "REMAP_SIGTERM": "SIGQUIT"}
    with child([*command, *options], log=log, env=full, cwd=folder) as process:
        wait_for(
            lambda: ready.exists() or process.poll() is not None,
            limit_s=60,
            what=f"worker is ready, see {log}",
        )
        assert process.poll() is None, log.read_text()
        yield process


def test_jobs_before_and_after_a_failover_are_done(tmp_path: Path) -> None:
    with sentinels(tmp_path) as site:
        env = site_env(tmp_path, site.url, **site.settings, **QUICK)
        reaper = [sys.executable, "-m", "kiosk_tasks", "reap", "--every", "1"]
        with (
            child(reaper, log=tmp_path / "reaper.log", env=env, cwd=tmp_path),
            worker(tmp_path, env) as process,
        ):
            before = python(env, "-c", SUBMIT, "20", folder=tmp_path).stdout.split()
            with site.server(0) as primary:
                assert primary.wait(1, 10_000) == 1, "what was accepted has reached the replica"
            site.kill(0)
            after = python(env, "-c", SUBMIT, "20", folder=tmp_path)
            assert after.returncode == 0, after.stderr
            jobs = [*before, *after.stdout.split()]
            assert len(jobs) == 40
            with site.server(1) as now:
                assert now.role()[0] == "master"
                wait_for(lambda: ended(now, jobs), limit_s=60, what="all jobs have ended")
                assert {status(now, job) for job in jobs} == {"done"}
            assert process.poll() is None
            result = python(env, "-c", RESULT, folder=tmp_path)
            assert "'output_file_name': 'report'" in result.stdout, result.stderr
            quick = {**env, "KIOSK_MODEL_WAIT": "0.2"}
            seen = kiosk(quick, "doctor", "--cluster", folder=tmp_path).stdout
            assert "queue predict is consumed by 1 worker(s)" in seen
            assert "the broker has no replica: nothing can take its place" in seen
        for secret in (site.password, site.own_password):
            assert secret not in seen + (tmp_path / "worker.log").read_text()


def status(server: redis.Redis, job: str) -> str:
    return str(server.hget(f"kiosk:job:{job}", "status"))


def ended(server: redis.Redis, jobs: list[str]) -> bool:
    return all(status(server, job) in ("done", "failed", "cancelled") for job in jobs)


def test_the_ledger_alone_may_be_behind_sentinels(
    site: Sentinels, valkey: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(site, monkeypatch, KIOSK_LEDGER_URL=site.url, KIOSK_BROKER_URL=valkey)
    assert settings.way_to(settings.broker_url) == {"tls": {}, "sentinel": {}}
    url = settings.records_url
    with redis_client(url, **settings.way_to(url)) as records:
        assert records.role()[0] == "master"


def test_doctor_looks_at_replicas_memory_and_user(
    site: Sentinels, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(site, monkeypatch)
    url = settings.broker_url
    with redis_client(url, **settings.way_to(url)) as primary:
        well = [finding.text for finding in examine_broker(settings, primary) if finding.ok]
        assert "1 replica(s) can take the broker's place" in well
        assert len(well) == 2
        primary.config_set("maxmemory", int(primary.info("memory")["used_memory"] * 1.1))
        elsewhere = settings_of(site, monkeypatch, KIOSK_BROKER_URL="redis://broker/0")
        told = [finding.text for finding in examine_broker(elsewhere, primary) if not finding.ok]
        primary.config_set("maxmemory", 0)
    assert len(told) == 2
    assert "% of its memory; when it is full no job is taken" in told[0]
    assert "the broker's user `default` is used" in told[1]


def test_one_dead_sentinel_is_passed_over(site: Sentinels, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = f"sentinel://:{site.password}@127.0.0.1:{free_port()}/0"
    url = ";".join([dead, *site.url.split(";")[1:]])
    settings = settings_of(site, monkeypatch, KIOSK_BROKER_URL=url)
    with redis_client(settings.broker_url, **settings.way_to(settings.broker_url)) as found:
        assert found.ping()


def test_celery_asks_a_dead_sentinel_once(site: Sentinels, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time it connects: where that takes long, so does every failover."""
    tries = list[int]()
    with socket.socket() as dead:
        dead.bind(("127.0.0.1", 0))
        dead.listen()

        def hang_up() -> None:
            with suppress(OSError):  # the test is over
                while True:
                    with dead.accept()[0]:
                        tries.append(1)

        threading.Thread(target=hang_up, daemon=True).start()
        first = f"sentinel://:{site.password}@127.0.0.1:{dead.getsockname()[1]}/0"
        others = [f"sentinel://127.0.0.1:{port}" for port in site.ports]
        settings = settings_of(site, monkeypatch, KIOSK_BROKER_URL=";".join([first, *others]))
        url = settings.broker_url
        options = sentinel_options(**settings.way_to(url))
        with Connection(url, transport_options=options) as broker:
            broker.default_channel.client.ping()
        dead.shutdown(socket.SHUT_RDWR)
    assert 1 <= len(tries) <= 3  # the channel's own connections, not tries of one of them


@pytest.mark.parametrize(
    ("more", "kind", "words"),
    [
        ({"KIOSK_SENTINEL_MASTER": "other"}, BrokerUnavailable, "KIOSK_SENTINEL_MASTER"),
        ({"KIOSK_SENTINEL_PASSWORD": "wrong"}, BrokerRefuses, "KIOSK_SENTINEL_PASSWORD"),
    ],
)
def test_what_is_wrong_is_said(
    site: Sentinels,
    monkeypatch: pytest.MonkeyPatch,
    more: dict[str, str],
    kind: type[Exception],
    words: str,
) -> None:
    settings = settings_of(site, monkeypatch, **more)
    way = settings.way_to(settings.broker_url)
    with redis_client(settings.broker_url, **way, timeout_s=2, retries=0) as found:
        with pytest.raises(kind, match=words) as told, mapped_broker_errors():
            found.ping()
        assert site.password not in str(told.value)


def test_flower_shows_queues_also_when_the_first_sentinel_is_away(
    site: Sentinels, tmp_path: Path
) -> None:
    dead = f"sentinel://:{site.password}@127.0.0.1:{free_port()}/0"
    url = ";".join([dead, *(f"sentinel://127.0.0.1:{port}" for port in site.ports)])
    more = {"KIOSK_FLOWER_AUTH": "lab:word-12345"}
    env = site_env(tmp_path, url, **site.settings, **more)
    port = free_port()
    command = [sys.executable, "-m", "kiosk_tasks", "flower", "--port", str(port)]
    with child(command, log=tmp_path / "flower.log", env=env, cwd=tmp_path):
        wait_for(lambda: ask(port, "/healthcheck"), limit_s=60, what="Flower answers")
        assert ask(port, "/api/queues/length", login="lab:word-12345") == 200


HERE = "sentinel://:geheim@127.0.0.1:26379/0"


def test_every_sentinel_gets_the_login_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIOSK_BROKER_URL", f"{HERE};sentinel://other:1;sentinel://third:2/")
    first, *others = Settings.load().broker_url.split(";")
    assert first == HERE
    assert others == ["sentinel://:geheim@other:1/0", "sentinel://:geheim@third:2/0"]
    assert Settings.load().broker_url.shown.count("***") == 3
    assert "geheim" not in repr(Settings.load())


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"{HERE};redis://other:6379/0", "sentinels only"),
        (f"{HERE};sentinel://:else@other:1/0", "one login"),
        (f"{HERE};sentinel://other:1/3", "one login"),
        (f"{HERE};sentinel://", "sentinels only"),
        (f"{HERE}?ssl_cert_reqs=none", "ssl options"),
    ],
)
def test_a_url_of_another_form_is_refused(
    monkeypatch: pytest.MonkeyPatch, url: str, words: str
) -> None:
    monkeypatch.setenv("KIOSK_BROKER_URL", url)
    with pytest.raises(InvalidSetting, match=words):
        Settings.load()


def test_an_authority_without_tls_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority = tmp_path / "ca.pem"
    authority.touch()
    monkeypatch.setenv("KIOSK_BROKER_URL", f"{HERE};sentinel://other:1")
    monkeypatch.setenv("KIOSK_BROKER_CA", str(authority))
    with pytest.raises(InvalidSetting, match="KIOSK_SENTINEL_TLS"):
        Settings.load()
    monkeypatch.setenv("KIOSK_SENTINEL_TLS", "true")
    way = Settings.load().way_to(Settings.load().broker_url)
    assert way["tls"] == {"ssl_cert_reqs": "required", "ssl_ca_certs": str(authority)}
