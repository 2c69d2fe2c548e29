"""A network for plans that is none: answers in order, and what was asked."""

from __future__ import annotations

import json
from collections import deque
from typing import Any, TypeVar

from kiosk_tasks.client.effects import (
    HangUp,
    Listen,
    NetworkDown,
    NextLine,
    Pause,
    Plan,
    Send,
    Stream,
    Work,
)
from kiosk_tasks.client.errors import KioskClientError
from kiosk_tasks.client.wire import Reply, Request

T = TypeVar("T")


def job(status: str = "new", **more: Any) -> dict[str, Any]:
    """What a server says of a job."""
    ended = status in ("done", "failed", "cancelled")
    return {
        "id": "j1",
        "type": "predict",
        "name": "x.tif",
        "status": status,
        "ended": ended,
        **more,
    }


def reply(status: int = 200, body: Any = None, **headers: str) -> Reply:
    """An answer with JSON."""
    told = {name.replace("_", "-").lower(): value for name, value in headers.items()}
    return Reply(status, told, json.dumps(body if body is not None else {}).encode())


def event(state: dict[str, Any]) -> list[str]:
    """The lines of an event."""
    return ["event: job", f"data: {json.dumps(state)}", ""]


class Network:
    """Carries out plans by a script: a Reply or NetworkDown for Send, lines for Listen."""

    def __init__(self, *answers: Any) -> None:
        self.answers = deque(answers)
        self.requests: list[Request] = []
        self.pauses: list[float] = []
        self.hung_up = 0

    def run(self, plan: Plan[T]) -> T:
        answer: Any = None
        failure: Exception | None = None
        while True:
            try:
                effect = plan.send(answer) if failure is None else plan.throw(failure)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            try:
                answer = self._do(effect)
            except KioskClientError as exc:
                answer = exc
            failure = answer if isinstance(answer, Exception) else None

    def _do(self, effect: Any) -> Any:
        match effect:
            case Pause(seconds):
                self.pauses.append(seconds)
            case Send(request, into):
                self.requests.append(request)
                answer = self.answers.popleft()
                if into is not None and isinstance(answer, Reply):
                    into.write_bytes(answer.body)
                return answer
            case Listen(request):
                self.requests.append(request)
                answer = self.answers.popleft()
                if isinstance(answer, Reply):
                    return Stream(answer.status, deque(), None)
                return answer if isinstance(answer, NetworkDown) else Stream(200, deque(answer), 0)
            case NextLine(stream):
                return stream.lines.popleft() if stream.lines else None
            case HangUp():
                self.hung_up += 1
            case Work(do):
                return do()
        return None
