"""What a liveness probe sees of a real worker: that it works, that it hangs, that it waits."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kiosk_tasks.run.liveness import age_s
from tests.conftest import wait_for
from tests.faults.valkey import Valkey
from tests.processes import child

OLD_S = 6.0
"""Three times the pause between two signs; a busy machine is waited for, never hurried."""
LONG_AGO_S = 1_000_000.0
DEAF = """
import signal
from celery.signals import worker_ready

@worker_ready.connect
def prepare(sender, **_):
    def deafen(*_):
        "Ask the broker for no more messages, as after a reconnect that went wrong."
        sender.task_consumer.channel._brpop_start = lambda *args, **options: None
    signal.signal(signal.SIGUSR2, deafen)
"""


class Worker:
    def __init__(self, folder: Path, broker: Valkey) -> None:
        self.alive, self.ready = folder / "alive", folder / "ready"
        self.log = folder / "worker.log"
        self.env = {
            **os.environ,
            "KIOSK_HOME": str(folder),
            "KIOSK_BROKER_URL": broker.url(),
            "KIOSK_ALIVE_FILE": str(self.alive),
            "KIOSK_READY_FILE": str(self.ready),
            "PYTHONPATH": str(folder),
        }
        self.pid = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        options = ["-Q", "predict", "-c", "1", "-n", "alive@%h", "-I", "deaf", "--loglevel", "INFO"]
        celery = [sys.executable, "-m", "celery", "-A", "kiosk_tasks", "worker"]
        with child([*celery, *options], log=self.log, env=self.env, stop_s=1) as process:
            self.pid = process.pid
            wait_for(
                lambda: self.alive.exists() or process.poll() is not None,
                limit_s=60,
                what="it lives",
            )
            assert process.poll() is None, self.log.read_text()
            yield

    def probe(self, most_s: float = OLD_S) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "kiosk_tasks.run.liveness", str(self.alive), str(most_s)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def answers(self) -> bool:
        ping = [sys.executable, "-m", "celery", "-A", "kiosk_tasks", "inspect", "ping", "-t", "20"]
        done = subprocess.run(ping, env=self.env, capture_output=True, text=True, check=False)
        return "pong" in done.stdout

    def signed_after(self, moment_s: float) -> None:
        wait_for(lambda: self.alive.stat().st_mtime > moment_s, limit_s=60, what="a sign of life")

    def grows_old(self) -> None:
        wait_for(lambda: (age_s(self.alive) or 0) > OLD_S, limit_s=60, what="no sign of life")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def worker(broker: Valkey, tmp_path: Path) -> Iterator[Worker]:
    (tmp_path / "deaf.py").write_text(DEAF)
    one = Worker(tmp_path, broker)
    one.ready.touch()
    os.utime(one.ready, (LONG_AGO_S, LONG_AGO_S))  # by the container before, in the same volume
    with one.running():
        yield one


def test_a_worker_that_works_lives_and_a_frozen_one_does_not(worker: Worker) -> None:
    wait_for(worker.ready.exists, limit_s=60, what="it consumes")
    worker.signed_after(time.time())
    assert worker.probe(most_s=60).returncode == 0

    os.kill(worker.pid, signal.SIGSTOP)
    try:
        worker.grows_old()
        seen = worker.probe()
    finally:
        os.kill(worker.pid, signal.SIGCONT)
    assert seen.returncode == 1
    assert re.search(r"the last sign of life is \d+ s old, over 6 s", seen.stdout), seen.stdout
    worker.signed_after(time.time())


def test_a_worker_that_consumes_nothing_does_not_live_though_it_answers(worker: Worker) -> None:
    wait_for(worker.ready.exists, limit_s=60, what="it consumes")
    worker.signed_after(time.time())
    os.kill(worker.pid, signal.SIGUSR2)
    worker.grows_old()
    assert worker.answers()


def test_a_worker_whose_broker_is_away_lives(broker: Valkey, worker: Worker) -> None:
    wait_for(worker.ready.exists, limit_s=60, what="it consumes")
    broker.kill()
    wait_for(lambda: "Cannot connect" in worker.log.read_text(), limit_s=60, what="it noticed")
    worker.signed_after(time.time())
    broker.start()
    worker.signed_after(time.time())


def test_what_an_earlier_process_left_does_not_count(worker: Worker) -> None:
    assert not worker.ready.exists() or worker.ready.stat().st_mtime > LONG_AGO_S


def test_no_sign_of_life_is_told_apart_from_an_old_one(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "kiosk_tasks.run.liveness", str(tmp_path / "none"), "5"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "no sign of life yet" in done.stdout) == (1, True)
