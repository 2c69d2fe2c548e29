"""Fetching parts of objects: what lies side by side at once, and a few requests at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from kiosk_tasks.errors import MissingObject
from kiosk_tasks.imaging.regions.values import Files

__all__ = ["Span", "Spans"]

_THREADS = 4  # hide the latency of a bucket: 20 to 50 ms a request
_GROUP_BYTES = 2**22
_GAP_BYTES = 2**16  # cheaper to read than another request: 1 ms at 500 Mbit/s
_IN_FLIGHT_BYTES = 2**27


@dataclass(frozen=True)
class Span:
    """A part of an object.

    length: bytes. what: whatever its reader wants to know it by.
    whole: all of the object, which may have fewer bytes, or not be there.
    """

    key: str
    start: int
    length: int
    what: Any
    whole: bool = False


Use = Callable[[Span, bytes | memoryview | None], None]
"""Takes a span's bytes, on one of several threads; None for an object that is not there."""


class Spans:
    """Fetches spans with a few threads. Not more is held than what they work on."""

    def __init__(self, files: Files, *, chunk_bytes: int = 0) -> None:
        """chunk_bytes: of one decoded span; large ones are worked on by fewer threads."""
        self._files = files
        threads = max(1, min(_THREADS, _IN_FLIGHT_BYTES // max(1, chunk_bytes)))
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="regions")

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(cancel_futures=True)

    def fetch(self, spans: Iterable[Span], use: Use) -> None:
        """Call `use` with each span's bytes; raise the first error, when all threads are done."""
        running: set[Future[None]] = set()
        try:
            for group in _groups(spans):
                if len(running) >= 2 * _THREADS:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for one in done:
                        one.result()
                running.add(self._pool.submit(self._fetch, group, use))
            for one in running:
                one.result()
        finally:
            for one in running:
                one.cancel()
            wait(running)

    def _fetch(self, group: Sequence[Span], use: Use) -> None:
        first = group[0]
        if first.whole:
            use(first, self._whole(first))
            return
        end = max(one.start + one.length for one in group)
        data = memoryview(self._files.read_range(first.key, first.start, end - first.start))
        for one in group:
            begin = one.start - first.start
            use(one, data[begin : begin + one.length])

    def _whole(self, span: Span) -> bytes | None:
        try:
            data = self._files.read_range(span.key, 0, span.length + 1)
        except MissingObject:
            return None
        if len(data) > span.length:
            raise ValueError(f"a chunk has more than {span.length} bytes")
        return data


def _groups(spans: Iterable[Span]) -> Iterator[list[Span]]:
    ordered = sorted(spans, key=lambda span: (span.key, span.start))
    for _, of_key in groupby(ordered, key=lambda span: span.key):
        group: list[Span] = []
        end = 0
        for span in of_key:
            stop = span.start + span.length
            if group and (
                span.whole or span.start > end + _GAP_BYTES or stop - group[0].start > _GROUP_BYTES
            ):
                yield group
                group, end = [], 0
            group.append(span)
            end = max(end, stop)
        yield group
