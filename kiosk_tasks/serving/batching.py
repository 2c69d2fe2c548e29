"""Dynamic batching: requests that arrive together become one run of the model.

The first request of a batch leads it, on its own thread: it waits a little for others, then for a
free slot (meanwhile the batch stays open, so it grows under load), runs the model and hands the
parts out. There are no other threads.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Abandoned", "Arrays", "Batcher", "Limits", "QueueFull"]

Arrays: TypeAlias = Mapping[str, NDArray[Any]]


class QueueFull(Exception):
    """Too many requests are waiting."""


class Abandoned(Exception):
    """Nobody waits for the answer any more."""


@dataclass(frozen=True)
class Limits:
    """How requests are put together.

    max_items: most items (first axis) of a batch; a larger request runs alone.
    max_wait_s: how long a batch waits for company.
    max_queued: most requests waiting or running.
    max_runs: runs of models at once.
    """

    max_items: int = 32
    max_wait_s: float = 0.002
    max_queued: int = 64
    max_runs: int = 2


@dataclass
class _Request:
    inputs: Arrays
    items: int
    wanted: Callable[[], bool]
    done: threading.Event = field(default_factory=threading.Event)
    outputs: Arrays | None = None
    error: BaseException | None = None


@dataclass
class _Batch:
    requests: list[_Request] = field(default_factory=list)
    items: int = 0
    full: threading.Event = field(default_factory=threading.Event)


class Batcher:
    """Puts requests together and runs them."""

    def __init__(
        self,
        limits: Limits,
        *,
        on_run: Callable[[Hashable, int, int, float], None] = lambda *_: None,
    ) -> None:
        """Take the limits; `on_run(key, requests, items, seconds)` is told of each run."""
        self._limits = limits
        self._on_run = on_run
        self._lock = threading.Lock()
        self._slots = threading.Semaphore(limits.max_runs)
        self._open: dict[Hashable, _Batch] = {}
        self._queued = 0

    def submit(
        self,
        key: Hashable,
        run: Callable[[Arrays], Arrays],
        inputs: Arrays,
        *,
        items: int | None,
        wanted: Callable[[], bool] = lambda: True,
    ) -> Arrays:
        """Run `inputs`, perhaps together with those of other threads, and return the outputs.

        key: requests of one key may share a run; `run` must be the same for all of them.
        items: length of the first axis of each input; None if the request must run alone.
        wanted: asked just before the run; a request that nobody waits for is dropped.
        Raises QueueFull, Abandoned, or what `run` raised for these inputs.
        """
        request = _Request(inputs, items or 1, wanted)
        with self._lock:
            if self._queued >= self._limits.max_queued:
                raise QueueFull(f"{self._queued} requests are waiting; that is the limit.")
            self._queued += 1
            batch, leads = self._join(key, request, alone=items is None)
        try:
            if leads:
                self._lead(key, batch, run)
            request.done.wait()
        finally:
            with self._lock:
                self._queued -= 1
        if request.error is not None:
            raise request.error
        assert request.outputs is not None  # noqa: S101  # done without error
        return request.outputs

    def _join(self, key: Hashable, request: _Request, *, alone: bool) -> tuple[_Batch, bool]:
        """Put the request into the open batch, or into a new one that it leads. Needs the lock."""
        limit = self._limits.max_items
        if alone or request.items >= limit:
            batch = _Batch([request], request.items)
            batch.full.set()
            return batch, True
        current = self._open.get(key)
        if current is not None and current.items + request.items <= limit:
            current.requests.append(request)
            current.items += request.items
            if current.items == limit:
                del self._open[key]
                current.full.set()
            return current, False
        if current is not None:
            current.full.set()
        self._open[key] = batch = _Batch([request], request.items)
        return batch, True

    def _lead(self, key: Hashable, batch: _Batch, run: Callable[[Arrays], Arrays]) -> None:
        try:
            batch.full.wait(self._limits.max_wait_s)
            with self._slots:
                self._close(key, batch)
                self._run(key, batch, run)
        finally:
            self._close(key, batch)
            for request in batch.requests:  # none may wait for ever, whatever happened
                if request.outputs is None and request.error is None:
                    request.error = Abandoned("The run was stopped.")
                request.done.set()

    def _close(self, key: Hashable, batch: _Batch) -> None:
        with self._lock:
            if self._open.get(key) is batch:
                del self._open[key]

    def _run(self, key: Hashable, batch: _Batch, run: Callable[[Arrays], Arrays]) -> None:
        requests = []
        for request in batch.requests:
            if request.wanted():
                requests.append(request)
            else:
                request.error = Abandoned("Nobody waits for the answer.")
        if len(requests) > 1 and self._run_joined(key, requests, run):
            return
        for request in requests:
            start = time.perf_counter()
            try:
                request.outputs = run(request.inputs)
            except Exception as exc:  # raised again on the thread it belongs to
                request.error = exc
            self._on_run(key, 1, request.items, time.perf_counter() - start)
            request.done.set()

    def _run_joined(
        self, key: Hashable, requests: list[_Request], run: Callable[[Arrays], Arrays]
    ) -> bool:
        """Run the requests as one; False if that fails, since only one of them may be at fault."""
        start = time.perf_counter()
        total = sum(request.items for request in requests)
        try:
            joined = {
                name: np.concatenate([request.inputs[name] for request in requests])
                for name in requests[0].inputs
            }
            outputs = run(joined)
        except Exception:  # each request finds its own error when it runs alone
            return False
        if any(array.ndim == 0 or len(array) != total for array in outputs.values()):
            return False
        position = 0
        for request in requests:
            part = slice(position, position + request.items)
            request.outputs = {name: array[part] for name, array in outputs.items()}
            position = part.stop
        self._on_run(key, len(requests), total, time.perf_counter() - start)
        return True
