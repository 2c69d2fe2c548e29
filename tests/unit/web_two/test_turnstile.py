"""How many submissions are let in at once, by how long those before them stayed."""

from __future__ import annotations

from contextlib import ExitStack

import httpx
import pytest

from kiosk_tasks.settings import Settings
from kiosk_tasks.web.app import create_app
from kiosk_tasks.web.turnstile import Overloaded, WaitingRoom
from tests.fakes import fake_adapters
from tests.served import served


class Clock:
    """A clock that the test turns."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def seats(room: WaitingRoom) -> int:
    """Fill the room in no time; return how many went in."""
    with ExitStack() as guests:
        for count in range(1000):
            try:
                guests.enter_context(room.seat())
            except Overloaded:
                return count
    raise AssertionError("nobody was turned away")


def stay(room: WaitingRoom, clock: Clock, *, guests: int, seconds: float) -> None:
    with ExitStack() as inside:
        for _ in range(guests):
            inside.enter_context(room.seat())
        clock.now += seconds


def test_who_is_quick_makes_room_for_the_next() -> None:
    room = WaitingRoom(clock=Clock())
    for _ in range(500):
        with room.seat():
            pass
    assert seats(room) == 10


def test_guests_that_stay_cost_seats_but_never_the_last() -> None:
    clock = Clock()
    room = WaitingRoom(patience_s=0.1, clock=clock)
    stay(room, clock, guests=9, seconds=0.2)
    assert seats(room) == 7, "nine that were slow together are one lesson"
    for _ in range(20):
        stay(room, clock, guests=6, seconds=0.2)
    clock.now += 1
    assert 6 <= seats(room) <= 7
    for _ in range(60):
        stay(room, clock, guests=1, seconds=0.05)
    assert seats(room) == 10


def test_those_who_are_turned_away_come_back_one_after_the_other() -> None:
    clock = Clock()
    room = WaitingRoom(clock=clock)
    told = [room.come_back_s() for _ in range(184)]
    assert told == sorted(told)
    assert [told.count(wait) for wait in (1, 2, 3, 4)] == pytest.approx([40] * 4, abs=1)
    assert max(room.come_back_s() for _ in range(10_000)) <= 31
    clock.now += 100
    assert room.come_back_s() == 1


def test_one_that_fails_leaves_its_seat() -> None:
    room = WaitingRoom(clock=Clock())
    for _ in range(100):
        with pytest.raises(RuntimeError), room.seat():
            raise RuntimeError
    assert seats(room) == 10


def test_who_is_turned_away_has_not_used_up_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """They come back every second, until they are let in."""
    monkeypatch.setenv("KIOSK_BUCKET", "memory://turnstile")
    monkeypatch.setenv("KIOSK_WEB_RATE", "2")
    monkeypatch.setenv("KIOSK_CORS_ORIGINS", "https://friend.org")
    monkeypatch.setattr("kiosk_tasks.web.turnstile._MOST", 0)
    friend = {"Origin": "https://friend.org"}
    with (
        served(create_app(Settings.load(), outside=fake_adapters())) as url,
        httpx.Client(base_url=url, trust_env=False) as http,
    ):
        of_friend = http.post("/jobs/predict", content=b"{}", headers=friend)
        answers = [http.post("/jobs/predict", files={"file": b"x"}) for _ in range(5)]
    assert [answer.json()["error"] for answer in answers] == ["Overloaded"] * 5
    assert {answer.headers["Retry-After"] for answer in answers} == {"1"}
    assert of_friend.headers["Access-Control-Allow-Origin"] == "https://friend.org"
    assert not [a for a in answers if "Access-Control-Allow-Origin" in a.headers]
