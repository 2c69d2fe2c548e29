"""How long an answer took is told of the last sending."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kiosk_tasks.serving.calls import Call


class Future:
    """Ends when it is told to."""

    def __init__(self) -> None:
        self.tell: Callable[[Any], None] = lambda _: None

    def add_done_callback(self, tell: Callable[[Any], None]) -> None:
        self.tell = tell

    def end(self) -> None:
        self.tell(self)


def test_the_end_of_a_lost_sending_is_not_taken_for_the_answer() -> None:
    futures: list[Future] = []

    def send(_request: Any) -> Future:
        futures.append(Future())
        return futures[-1]

    call = Call(b"", send, items=1)
    call.send_again()
    assert call.resends == 1
    lost, current = futures
    lost.end()
    assert call.seconds < call.seconds, "the clock stands still"
    current.end()
    assert call.seconds == call.seconds
