"""Where the broker is away, numbers say so soon; nobody hangs, and nothing piles up."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
import urllib.error
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from kiosk_tasks.errors import BrokerUnavailable, InvalidParameter
from kiosk_tasks.ledger import Record
from kiosk_tasks.metrics.server import Exporter
from kiosk_tasks.metrics.source import Source, source_of
from kiosk_tasks.settings import Settings
from tests.conftest import Broker, wait_for
from tests.ports import free_port
from tests.processes import child
from tests.prometheus import get
from tests.web_service import web_service

QUEUES = ("predict", "spot")
SOON_S = 10.0
"""It should be 2 s; on a machine with much else to do it may be more. A hang was 120 s."""


@contextmanager
def silent() -> Iterator[str]:
    """A server that takes connections and never answers, as one that is frozen; its URL."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"


@contextmanager
def source(monkeypatch: pytest.MonkeyPatch, **settings: str) -> Iterator[Source]:
    for name, value in settings.items():
        monkeypatch.setenv(f"KIOSK_{name}", value)
    one = source_of(Settings.load(), QUEUES)
    yield one
    one.close()


@contextmanager
def serving(one: Source) -> Iterator[int]:
    """The exporter in this process; its port."""
    with Exporter(one, address="127.0.0.1", port=0) as exporter:
        thread = threading.Thread(target=exporter.serve_forever)
        thread.start()
        yield exporter.server_address[1]
        exporter.shutdown()
        thread.join()


def value(text: str, name: str) -> float:
    (line,) = [line for line in text.splitlines() if line.startswith(f"{name} ")]
    return float(line.rpartition(" ")[2])


def test_every_queue_is_there_when_nothing_is(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"BROKER_URL": broker.url, "KEY_PREFIX": broker.prefix}
    with source(monkeypatch, **settings) as one, serving(one) as port:
        text = get(port, "/metrics")
        assert value(text, "kiosk_broker_up") == 1
        for queue in QUEUES:
            for name in ("waiting", "in_flight", "wanted_workers", "outstanding_seconds"):
                assert value(text, f'kiosk_queue_{name}{{queue="{queue}"}}') == 0
        for what in ("run_died", "message_gone", "given_up", "tidied"):
            assert value(text, f'kiosk_reaper_jobs_total{{what="{what}"}}') == 0
        assert "kiosk_reaper_seconds_since_look " not in text  # no reaper ever looked
        told = json.loads(get(port, "/queues.json"))
        assert set(told["queues"]) == set(QUEUES)
        assert told["model_servers_wanted"] == 0
        assert json.loads(get(port, "/healthz")) == {"status": "ok"}
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(port, "/etc/passwd")


def test_what_was_counted_is_told(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = ["stage_seconds", "predict", "upload"]
    rows = {json.dumps([*labels, "0.05"]): 3, json.dumps([*labels, "inf"]): 1}
    rows |= {json.dumps([*labels, "0.033"]): 2}  # a bucket of another release
    rows |= {json.dumps([*labels, "sum"]): 700_500_000, json.dumps(["model_tiles", "Net"]): 12}
    for name, count in rows.items():
        broker.client.hset(f"{broker.prefix}tallies", name, str(count))
    settings = {"BROKER_URL": broker.url, "KEY_PREFIX": broker.prefix}
    with source(monkeypatch, **settings) as one, serving(one) as port:
        text = get(port, "/metrics")
    of = '{job_type="predict",stage="upload"}'
    buckets = {"0.025": 0, "0.05": 5, "600.0": 5, "+Inf": 6}
    for bound, count in buckets.items():
        name = f'kiosk_stage_seconds_bucket{{job_type="predict",le="{bound}",stage="upload"}}'
        assert value(text, name) == count
    assert value(text, f"kiosk_stage_seconds_count{of}") == 6
    assert value(text, f"kiosk_stage_seconds_sum{of}") == 700.5
    assert value(text, 'kiosk_model_tiles_total{model="Net"}') == 12


@pytest.mark.parametrize("away", ["frozen", "gone"])
def test_exporter_of_a_broker_that_is_away(monkeypatch: pytest.MonkeyPatch, away: str) -> None:
    with silent() as url:
        where = url if away == "frozen" else "redis://127.0.0.1:1/0"
        with source(monkeypatch, BROKER_URL=where) as one, serving(one) as port:
            begun = time.monotonic()
            with ThreadPoolExecutor(16) as many:
                texts = list(many.map(lambda _: get(port, "/metrics"), range(16)))
            assert time.monotonic() - begun < SOON_S
            assert {value(text, "kiosk_broker_up") for text in texts} == {0}
            assert not [line for line in texts[0].splitlines() if "kiosk_queue" in line]
            with pytest.raises(urllib.error.HTTPError) as refused:
                get(port, "/queues.json")  # a scaler must not take it for an empty queue
            assert refused.value.code == 503
            assert "does not answer" in json.load(refused.value)["error"]
            refused.value.close()
            assert json.loads(get(port, "/healthz")) == {"status": "ok"}


def test_ledger_answers_and_the_broker_does_not(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        silent() as url,
        source(monkeypatch, BROKER_URL=url, LEDGER_URL=broker.url) as one,
        pytest.raises(BrokerUnavailable),
    ):
        one.look()


def test_many_ask_and_one_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    with silent() as url, source(monkeypatch, BROKER_URL=url) as one:

        def ask(_: int) -> str:
            with pytest.raises(BrokerUnavailable) as said:
                one.look()
            return str(said.value)

        with ThreadPoolExecutor(8) as many:
            answers = list(many.map(ask, range(8)))
        looking = [thread for thread in threading.enumerate() if thread.name == "metrics"]
        assert len(looking) <= 1
        assert all("does not answer" in said for said in answers)
        wait_for(lambda: not [t for t in threading.enumerate() if t.name == "metrics"])


def test_broker_that_comes_back_is_seen_at_the_next_look(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"BROKER_URL": broker.url, "KEY_PREFIX": broker.prefix}
    with source(monkeypatch, **settings) as one:
        one.look()
        used = one._ledger.scripts.client.client_id()
        assert broker.client.client_kill_filter(_id=str(used)) == 1  # as a restart would
        wait_for(lambda: _answers(one), limit_s=5)


def _answers(one: Source) -> bool:
    try:
        return bool(one.look().states)
    except BrokerUnavailable:
        return False


def test_web_service_of_a_frozen_broker_tells_its_numbers_while_all_else_waits(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hang was once seen: requests that waited for the broker had taken every thread."""
    with silent() as url:
        frozen = Broker(url, broker.prefix, broker.client)
        with web_service(frozen, tmp_path, monkeypatch) as web:
            release = threading.Event()

            def record(_: str) -> Record:
                release.wait(60)
                raise BrokerUnavailable("the broker does not answer.")

            monkeypatch.setattr(web.ledger, "record", record)
            with ThreadPoolExecutor(60) as many:
                waiting = [many.submit(web.http.get, f"/jobs/{n}") for n in range(60)]
                try:
                    begun = time.monotonic()
                    text = web.http.get("/metrics").text
                    assert web.http.get("/queues.json").status_code == 503
                    assert time.monotonic() - begun < SOON_S
                    assert not all(one.done() for one in waiting)
                finally:
                    release.set()
            assert value(text, "kiosk_broker_up") == 0
            assert value(text, "kiosk_web_open_streams") == 0
            assert {one.result().status_code for one in waiting} == {503}


def test_port_that_is_taken_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        source(monkeypatch) as one,
        serving(one) as port,
        pytest.raises(InvalidParameter, match=f"127.0.0.1, port {port}, cannot be listened on"),
    ):
        Exporter(one, address="127.0.0.1", port=port)


def test_process_is_small_and_ends_when_it_is_told(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KIOSK_BROKER_URL", broker.url)
    port, log = free_port(), tmp_path / "log"
    command = [sys.executable, "-m", "kiosk_tasks", "exporter", "--port", str(port)]
    with child(command, log=log, cwd=tmp_path) as process:
        wait_for(lambda: "serving" in log.read_text(), limit_s=60, what="it serves")
        text = get(port, "/metrics")
        assert value(text, "kiosk_broker_up") == 1
        assert value(text, 'kiosk_queue_waiting{queue="mesmer"}') == 0
        assert psutil.Process(process.pid).memory_info().rss < 90e6  # all job types: 140 MB
        process.terminate()
        assert process.wait(20) == 0
