"""A worker's consumer loses its broker: a real one, killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.worker.consumer import Consumer as CeleryConsumer
from kombu import Connection, Queue
from kombu import Consumer as KombuConsumer
from kombu.asynchronous.timer import Timer

from kiosk_tasks.run.consumer import Consumer
from tests.faults.valkey import Valkey


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Valkey]:
    server = Valkey(tmp_path / "valkey")
    server.start()
    yield server
    server.stop()


def _lost(kind: type[CeleryConsumer], broker: Valkey) -> Any:
    """A consumer whose broker is gone: it has a message in hand, and a BRPOP under way.

    It has a second channel, as one has that is sent commands; that cannot be closed either.
    """
    connection = Connection(broker.url())
    received: list[Any] = []
    for channel in (connection.default_channel, connection.channel()):
        queue = Queue(f"jobs{channel.channel_id}", channel=channel)
        queue.declare()
        KombuConsumer(channel, [queue], on_message=received.append).consume()
        connection.Producer().publish({}, routing_key=queue.name)
        channel.client.connection = channel.client.connection_pool.get_connection()
        channel._brpop_start()
        channel._brpop_read()
        channel._brpop_start()
        channel.qos._on_collect.cancel()  # what it would do when this process ends
    assert len(received) == 2
    broker.kill()
    lost: Any = kind.__new__(kind)
    conf = SimpleNamespace(
        worker_cancel_long_running_tasks_on_connection_loss=True,
        worker_enable_prefetch_count_reduction=False,
    )
    lost.connection, lost.app = connection, SimpleNamespace(conf=conf)
    return lost


def _publisher(batches: list[list[str]]) -> Any:
    """A consumer with Celery's own dispatcher of events, and a timer that is wound by hand."""
    events: Any = Consumer.__new__(Consumer)
    app = Celery(broker="memory://", set_as_current=False)
    events.timer, events.hub = Timer(), None
    dispatcher = app.events.Dispatcher(
        app.connection(), buffer_group=["task"], on_send_buffered=events.on_send_event_buffered
    )
    dispatcher.producer.publish = lambda batch, **_: batches.append([e["type"] for e in batch])
    events.event_dispatcher = dispatcher
    return events


def test_events_are_published_together() -> None:
    batches: list[list[str]] = []
    worker = _publisher(batches)
    for kind in ("task-received", "task-started", "task-succeeded", "task-received"):
        worker.event_dispatcher.send(kind, uuid="1")
    assert batches == []
    (due,) = worker.timer.queue
    due.entry()
    assert batches == [["task-received", "task-started", "task-succeeded", "task-received"]]
    worker.event_dispatcher.send("task-failed", uuid="1")  # and it goes on
    assert len(worker.timer.queue) == 2
    worker.timer.queue[-1].entry()
    assert batches[1:] == [["task-failed"]]


def test_events_of_the_last_jobs_are_published_at_the_end() -> None:
    batches: list[list[str]] = []
    worker = _publisher(batches)
    closed: list[str] = []
    worker._pending_operations = []
    worker.blueprint = SimpleNamespace(shutdown=lambda _: closed.append(str(batches)))
    worker.event_dispatcher.send("task-succeeded", uuid="1")
    worker.shutdown()
    assert closed == ["[['task-succeeded']]"]


def test_lets_go_of_a_lost_connection(broker: Valkey) -> None:
    worker = _lost(Consumer, broker)
    worker.on_connection_error_after_connected(ConnectionError("lost"))
    assert worker.connection is None


def test_celerys_own_would_end_the_worker(broker: Valkey) -> None:
    """Once this fails, kombu closes channels whole, and ours need not do it."""
    worker = _lost(CeleryConsumer, broker)
    with pytest.raises(AttributeError, match="hostname"):
        worker.on_connection_error_after_connected(ConnectionError("lost"))
