"""A worker's consumer loses its broker: a real one, killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery.worker.consumer import Consumer as CeleryConsumer
from kombu import Connection, Queue
from kombu import Consumer as KombuConsumer

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


def test_lets_go_of_a_lost_connection(broker: Valkey) -> None:
    worker = _lost(Consumer, broker)
    worker.on_connection_error_after_connected(ConnectionError("lost"))
    assert worker.connection is None


def test_celerys_own_would_end_the_worker(broker: Valkey) -> None:
    """Once this fails, kombu closes channels whole, and ours need not do it."""
    worker = _lost(CeleryConsumer, broker)
    with pytest.raises(AttributeError, match="hostname"):
        worker.on_connection_error_after_connected(ConnectionError("lost"))
