"""How many submissions are let in at once, by how long those before them stayed."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from kiosk_tasks.web.turnstile import Overloaded, WaitingRoom


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
    assert seats(room) == 16


def test_guests_that_stay_cost_seats_but_never_the_last() -> None:
    clock = Clock()
    room = WaitingRoom(patience_s=0.1, clock=clock)
    stay(room, clock, guests=12, seconds=0.2)
    assert seats(room) == 11, "twelve that were slow together are one lesson"
    for _ in range(20):
        stay(room, clock, guests=8, seconds=0.2)
    clock.now += 1
    assert 8 <= seats(room) <= 9
    for _ in range(60):
        stay(room, clock, guests=1, seconds=0.05)
    assert seats(room) == 16


def test_one_that_fails_leaves_its_seat() -> None:
    room = WaitingRoom(clock=Clock())
    for _ in range(100):
        with pytest.raises(RuntimeError), room.seat():
            raise RuntimeError
    assert seats(room) == 16
