"""A model server that many images ask at once: their tiles go out together."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.archive_jobs.turns import Turn, Turns
from kiosk_tasks.errors import KioskError
from kiosk_tasks.limits import Limits
from kiosk_tasks.ports import ModelServer, Signature, no_check
from kiosk_tasks.prediction import most_tiles

__all__ = ["SharedModels"]

Arrays = Mapping[str, NDArray[Any]]
_Service = tuple[str, int, tuple[str, ...]]
_Kind = tuple[Any, ...]


@dataclass(eq=False)
class _Request:
    """What one image asks, and the answer."""

    signature: Signature
    arrays: Arrays
    turn: Turn
    reply: dict[str, NDArray[Any]] = field(default_factory=dict)
    error: KioskError | None = None
    answered: bool = False
    awaited: bool = False  # its image has handed its turn back until it is answered

    @property
    def items(self) -> int:
        return len(next(iter(self.arrays.values())))


@dataclass(eq=False)
class _Company:
    """Requests that may go out together, `most` items at a time."""

    most: int
    requests: deque[_Request] = field(default_factory=deque)
    items: int = 0

    def join(self, request: _Request) -> None:
        self.requests.append(request)
        self.items += request.items

    def leave(self) -> list[_Request]:
        """Take as many requests as fit one; the first however large it is."""
        group, items = list[_Request](), 0
        while self.requests and (not group or items + self.requests[0].items <= self.most):
            group.append(self.requests.popleft())
            items += group[-1].items
        self.items -= items
        return group


class SharedModels:
    """A `ModelServer` for functions that take turns: who asks waits until others ask, too.

    Their answers are those that each would have had alone, from a model that looks at each item of
    a batch for itself. Where a request of many fails, each is sent alone, to fail for itself.
    """

    def __init__(
        self,
        models: ModelServer,
        turns: Turns,
        *,
        limits: Limits,
        check: Callable[[], None] = no_check,
    ) -> None:
        """models: the server. limits: of a request. check: raises to stop."""
        self._models, self._turns, self._limits, self._check = models, turns, limits, check
        self._signatures: dict[tuple[str, int | None], Signature] = {}
        self._asked: dict[_Service, dict[_Kind, _Company]] = {}

    def signature(self, name: str, version: int | None = None) -> Signature:
        """Return what is served under that name; asked once for all images."""
        if (name, version) not in self._signatures:
            self._signatures[name, version] = self._models.signature(name, version)
        return self._signatures[name, version]

    def predict(
        self,
        signature: Signature,
        batches: Iterable[Arrays],
        *,
        check: Callable[[], None] = no_check,
        in_flight: int | None = None,  # noqa: ARG002  of all images together there are several
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield the outputs of each batch, in order; all are asked at once, and await company."""
        requests = deque[_Request]()
        for batch in batches:
            check()
            requests.append(_Request(signature, batch, self._turns.current))
            self._company(requests[-1]).join(requests[-1])
        while requests:
            request = requests.popleft()
            if not request.answered:
                request.awaited = True
                self._turns.wait()
            if request.error is not None:
                raise request.error
            yield request.reply

    def run(self) -> None:
        """Give all functions their turns, and answer them, until the last has ended.

        Raises what one of them raised, and what makes the server of no use to any.
        """
        while True:
            while self._turns.step():
                pass
            if not self._asked:
                return
            self._exchange(next(iter(self._asked)))

    def _company(self, request: _Request) -> _Company:
        companies = self._asked.setdefault(_service_of(request), {})
        kind = _kind_of(request)
        if kind not in companies:
            companies[kind] = _Company(_most_items(request.arrays, self._limits))
        return companies[kind]

    def _exchange(self, service: _Service) -> None:
        """Send what was asked of a model, and go on with others while answers are awaited."""
        sent: deque[list[_Request]] = deque()
        signature = next(iter(self._asked[service].values())).requests[0].signature
        replies = self._models.predict(signature, self._drawn(service, sent), check=self._check)
        try:
            self._deliver(replies, sent)
        except KioskError as exc:
            if exc.retry or self._turns.error is not None:
                raise
            for request in [request for group in sent for request in group]:
                self._ask_alone(request)

    def _drawn(self, service: _Service, sent: deque[list[_Request]]) -> Iterator[Arrays]:
        """Yield joined requests: full ones, as long as there are functions that can go on."""
        while True:
            while (group := self._taken(service, full=True)) is None and self._turns.step():
                pass
            group = group or self._taken(service, full=False)
            if group is None:
                return
            sent.append(group)
            if len(group) == 1:
                yield group[0].arrays
                continue
            names = group[0].arrays
            yield {name: np.concatenate([one.arrays[name] for one in group]) for name in names}

    def _deliver(
        self, replies: Iterator[dict[str, NDArray[Any]]], sent: deque[list[_Request]]
    ) -> None:
        while True:
            began, had = time.perf_counter(), self._turns.given_s
            reply = next(replies, None)
            if reply is None:
                return
            group = sent.popleft()
            waited = time.perf_counter() - began - (self._turns.given_s - had)
            items = sum(one.items for one in group)
            if len(group) > 1 and any(a.ndim == 0 or len(a) != items for a in reply.values()):
                for one in group:
                    self._ask_alone(one)
                continue
            at = 0
            for one in group:
                part = slice(at, at + one.items) if len(group) > 1 else ...
                one.reply = {name: array[part] for name, array in reply.items()}
                at += one.items
                self._answer(one, charged_s=waited * one.items / items)

    def _ask_alone(self, request: _Request) -> None:
        began = time.perf_counter()
        replies = self._models.predict(request.signature, [request.arrays], check=self._check)
        try:
            (request.reply,) = replies
        except KioskError as exc:
            if exc.retry:
                raise
            request.error = exc
        self._answer(request, charged_s=time.perf_counter() - began)

    def _answer(self, request: _Request, *, charged_s: float) -> None:
        request.answered = True
        request.turn.seconds += charged_s
        if request.awaited:
            self._turns.wake(request.turn)

    def _taken(self, service: _Service, *, full: bool) -> list[_Request] | None:
        """Take the requests of the next message; None if there are none, or no full one."""
        companies = self._asked.get(service, {})
        for kind, company in companies.items():
            if not full or company.items >= company.most:
                group = company.leave()
                if not company.requests:
                    del companies[kind]
                if not companies:
                    del self._asked[service]
                return group
        return None


def _most_items(arrays: Arrays, limits: Limits) -> int:
    """Return how many items like these share a request, as those of one image do."""
    side = max((array.shape[1] for array in arrays.values() if array.ndim > 1), default=0)
    return most_tiles(side, limits) if side else limits.max_batch


def _service_of(request: _Request) -> _Service:
    signature = request.signature
    return (signature.model, signature.version, tuple(sorted(signature.outputs)))


def _kind_of(request: _Request) -> _Kind:
    """Return what requests of a model have in common that may go out together."""
    shapes = ((name, array.shape[1:], array.dtype) for name, array in request.arrays.items())
    return tuple(sorted(shapes, key=str))
