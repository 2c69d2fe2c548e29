"""Soft counters: what several processes count adds up; nothing waits for a ledger that is away."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from kiosk_tasks.ledger.tallies import BUCKETS_S, MOST_MODELS, OTHER, Tallies
from kiosk_tasks.redis_clients import redis_client
from tests.conftest import Broker, wait_for


def kept(broker: Broker) -> dict[tuple[str, ...], int]:
    """Return what the ledger holds, by labels."""
    rows = broker.client.hgetall(f"{broker.prefix}tallies")
    assert isinstance(rows, dict)
    return {tuple(json.loads(name)): int(count) for name, count in rows.items()}


@pytest.fixture
def tallies(broker: Broker) -> Iterator[Tallies]:
    one = tallies_of(broker)
    yield one
    one.close()


def tallies_of(broker: Broker, *, url: str = "") -> Tallies:
    client = redis_client(url or broker.url, timeout_s=0.3, retries=0)
    return Tallies(client, prefix=broker.prefix)


def test_seconds_fall_into_the_bucket_that_holds_them(tallies: Tallies, broker: Broker) -> None:
    for seconds in (0.0, 0.01, 0.0100001, 600.0, 601.0):
        tallies.stage("predict", "upload", seconds)
    tallies.flush()
    name = ("stage_seconds", "predict", "upload")
    assert kept(broker) == {
        (*name, "0.01"): 2,
        (*name, "0.025"): 1,
        (*name, "600"): 1,
        (*name, "inf"): 1,
        (*name, "sum"): 1201020000,
    }


def test_what_many_processes_count_adds_up(broker: Broker) -> None:
    def work(count: int) -> None:
        own = tallies_of(broker)
        for _ in range(count):
            own.claimed("predict", 0.2)
            own.flush()
        own.close()

    threads = [threading.Thread(target=work, args=(20,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept(broker)["wait_seconds", "predict", "0.25"] == 80
    assert kept(broker)["wait_seconds", "predict", "sum"] == 80 * 200_000


def test_it_is_written_within_a_second_or_so_by_itself(
    tallies: Tallies, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By another thread: the job that counts does not wait."""
    writers, flush = set[threading.Thread](), tallies.flush

    def noting() -> None:
        writers.add(threading.current_thread())
        flush()

    monkeypatch.setattr(tallies, "flush", noting)
    tallies.stage("predict", "upload", 1.0)
    wait_for(lambda: kept(broker), what="it is written")
    tallies.stage("predict", "upload", 1.0)
    wait_for(lambda: kept(broker)["stage_seconds", "predict", "upload", "1"] == 2)
    assert writers == {tallies._thread}


def test_what_is_left_is_written_at_the_end(broker: Broker) -> None:
    tallies = tallies_of(broker)
    tallies.stage("predict", "upload", 1.0)
    tallies.close()
    assert kept(broker)["stage_seconds", "predict", "upload", "1"] == 1
    assert not [one for one in threading.enumerate() if one.name == "tallies"]


def test_answers_count_only_where_jobs_run(tallies: Tallies, broker: Broker) -> None:
    tallies.replied("Net", tiles=3, slots=8, seconds=0.2)  # `kiosk run`: there is no ledger
    tallies.flush()
    assert not kept(broker)
    tallies.claimed("predict", 0.0)
    tallies.replied("Net", tiles=3, slots=8, seconds=0.2)
    tallies.replied("Net", tiles=8, slots=8, seconds=0.2)
    tallies.flush()
    assert kept(broker)["model_tiles", "Net"] == 11
    assert kept(broker)["model_slots", "Net"] == 16
    assert kept(broker)["model_seconds", "Net", "0.25"] == 2


def test_no_more_than_a_hundred_models_have_a_name(broker: Broker) -> None:
    for part in range(3):  # processes that each know only some of them
        tallies = tallies_of(broker)
        tallies.claimed("predict", 0.0)
        for number in range(part * 50, part * 50 + 50):
            tallies.replied(f"Net {number}", tiles=1, slots=1, seconds=0.1)
        tallies.close()
    found = kept(broker)
    names = {labels[1] for labels in found if labels[0] == "model_tiles"}
    assert len(names) == MOST_MODELS + 1
    assert found["model_tiles", OTHER] == 50
    assert broker.client.scard(f"{broker.prefix}tallies:models") == MOST_MODELS


def test_reaper_counts_what_it_found(tallies: Tallies, broker: Broker) -> None:
    tallies.reaped({"run_died": 2, "message_gone": 0})
    assert kept(broker) == {("reaped", "run_died"): 2}


def test_without_a_ledger_nothing_waits_and_it_is_said_once(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as silent:  # takes connections, and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        tallies = tallies_of(broker, url=f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        with caplog.at_level(logging.WARNING):
            tallies.flush()
            before = time.perf_counter()
            for _ in range(1000):
                tallies.stage("predict", "upload", 1.0)
            assert time.perf_counter() - before < 5  # a call that waited would take 0.3 s
            for _ in range(3):
                tallies.stage("predict", "upload", 1.0)
                tallies.flush()
            tallies.close()
    said = [one for one in caplog.records if "dropped" in one.message]
    assert len(said) == 1


def test_buckets_are_sorted() -> None:
    assert list(BUCKETS_S) == sorted(set(BUCKETS_S))


def test_none_counts_nothing() -> None:
    tallies = Tallies(None)
    tallies.claimed("predict", 1.0)
    tallies.reaped({"run_died": 1})
    tallies.close()
    assert tallies._thread is None
