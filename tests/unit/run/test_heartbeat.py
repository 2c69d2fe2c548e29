"""When a worker's main process counts as alive; real workers are in test_liveness.py."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from kiosk_tasks.run import heartbeat
from kiosk_tasks.run.heartbeat import _SignsOfLife


class Clock:
    now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(heartbeat, "time", clock)
    return clock


@pytest.fixture
def life(clock: Clock) -> _SignsOfLife:
    life = _SignsOfLife(SimpleNamespace())
    life.connected(channel(clock))
    return life


def channel(clock: Clock, *, may_consume: bool = True) -> Any:
    """A channel that asked for messages just now."""
    qos = SimpleNamespace(can_consume=lambda: may_consume)
    return SimpleNamespace(qos=qos, _brpop_sent_at=clock.now_s)


def test_a_loop_that_does_not_turn_is_noticed_and_one_that_turns_again(
    clock: Clock, life: _SignsOfLife
) -> None:
    assert life._lives()
    clock.now_s += 60
    life._channel._brpop_sent_at = clock.now_s
    assert not life._lives()
    life._turn()
    assert life._lives()


def test_a_worker_that_asks_for_no_messages_is_noticed(clock: Clock, life: _SignsOfLife) -> None:
    clock.now_s += 60
    life._turn()
    assert not life._lives()
    life._channel._brpop_sent_at = None
    assert not life._lives(), "it never asked"


def test_a_worker_all_of_whose_processes_are_busy_lives(clock: Clock, life: _SignsOfLife) -> None:
    life.connected(channel(clock, may_consume=False))
    clock.now_s += 3600
    life._turn()
    assert life._lives()


def test_a_worker_without_a_broker_lives_and_one_that_is_back_has_time(
    clock: Clock, life: _SignsOfLife
) -> None:
    life.disconnected()
    clock.now_s += 3600
    assert life._lives()
    life.connected(channel(clock))
    assert life._lives()


def test_another_transport_is_not_asked_what_only_redis_knows(
    clock: Clock, life: _SignsOfLife
) -> None:
    life.connected(SimpleNamespace(qos=None))
    clock.now_s += 60
    life._turn()
    assert life._lives()


def test_a_worker_whose_processes_are_gone_is_about_to_end(
    clock: Clock, life: _SignsOfLife
) -> None:
    def can_consume() -> bool:
        raise AttributeError("'NoneType' object has no attribute '_processes'")

    life.connected(channel(clock))
    life._channel.qos.can_consume = can_consume
    assert life._lives()
