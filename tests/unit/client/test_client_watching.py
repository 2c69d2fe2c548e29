"""Following a job: events, polling where they do not come, a server that is away."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from kiosk_tasks.client.calls import Calls
from kiosk_tasks.client.effects import NetworkDown
from kiosk_tasks.client.errors import NotFound, ServerUnavailable, WaitedTooLong
from kiosk_tasks.client.watching import Watching
from tests.unit.client.network import Network, event, job, reply

CALLS = Calls("http://kiosk.test", retries=0)
DOWN = NetworkDown("refused", sent=False)


def follow(network: Network, watching: Watching) -> list[tuple[str, int]]:
    seen = []
    while (state := network.run(watching.next())) is not None:
        seen.append((state.status, state.progress))
    return seen


def test_events_are_followed_to_the_end() -> None:
    lines = [
        *event(job()),
        ": still here",
        *event(job("predicting", progress=40)),
        *event(job("predicting", progress=40)),
        *event(job("done", progress=100)),
    ]
    network = Network(lines)
    assert follow(network, Watching(CALLS, "j1")) == [
        ("new", 0),
        ("predicting", 40),
        ("done", 100),
    ]
    assert [r.path for r in network.requests] == ["jobs/j1/events"]
    assert network.hung_up == 1


def test_a_stream_that_ends_early_is_opened_again() -> None:
    network = Network(
        event(job()),
        reply(200, job("started", progress=5)),
        [*event(job("predicting", progress=50)), *event(job("done", progress=100))],
    )
    statuses = [status for status, _ in follow(network, Watching(CALLS, "j1"))]
    assert statuses == ["new", "started", "predicting", "done"]


def test_where_no_events_come_the_client_asks_and_not_too_often() -> None:
    polls = [reply(200, job("predicting", progress=n)) for n in range(1, 12)]
    network = Network(reply(404), polls[0], reply(404), polls[1], DOWN, *polls[2:],
                      reply(200, job("done", progress=100)))  # fmt: skip
    seen = follow(network, Watching(CALLS, "j1"))
    assert seen[-1] == ("done", 100)
    assert len(seen) == 12
    assert network.pauses == sorted(network.pauses)
    assert network.pauses[0] == pytest.approx(0.2)
    assert network.pauses[-1] == 2.0


def test_a_server_that_is_started_anew_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(DOWN, DOWN, DOWN, DOWN, DOWN, DOWN, DOWN, reply(200, job("done")))
    assert [status for status, _ in follow(network, Watching(CALLS, "j1"))] == ["done"]

    monkeypatch.setattr("kiosk_tasks.client.watching._PATIENCE_S", -1)
    with pytest.raises(ServerUnavailable):
        follow(Network(*[DOWN] * 20), Watching(CALLS, "j1"))


def test_a_job_that_is_gone_is_no_reason_to_wait() -> None:
    with pytest.raises(NotFound):
        follow(Network(reply(404), reply(404, {"message": "no job j1."})), Watching(CALLS, "j1"))


def test_a_stream_is_not_listened_to_for_longer_than_the_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    clock = SimpleNamespace(monotonic=lambda: now)
    monkeypatch.setattr("kiosk_tasks.client.watching.time", clock)
    network = Network(event(job("predicting")), event(job("done")))
    watching = Watching(CALLS, "j1", timeout=16)
    assert network.run(watching.next())
    now += 15.0  # the server is alive, so that the first stream could be silent for 16 s more
    assert network.run(watching.next())
    assert [request.read_s for request in network.requests] == [16.0, 1.0]


def test_the_timeout_ends_the_wait_and_says_that_the_job_goes_on() -> None:
    network = Network(event(job("predicting")), *[reply(200, job("predicting"))] * 3)
    watching = Watching(CALLS, "j1", timeout=30)
    network.run(watching.next())
    watching._end = 0.0
    with pytest.raises(WaitedTooLong, match=r"not ended within 30 s \(it is predicting\); it goes"):
        network.run(watching.next())
    network.run(watching.stop())
    assert network.hung_up == 1
    assert isinstance(WaitedTooLong("x"), TimeoutError)
