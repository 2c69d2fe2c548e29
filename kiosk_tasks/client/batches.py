"""Many images: a few jobs open at a time, results written as they come, and resumed."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

from kiosk_tasks.client.calls import Calls
from kiosk_tasks.client.contents import Contents
from kiosk_tasks.client.effects import Pause, Plan, work
from kiosk_tasks.client.errors import (
    CannotSend,
    KioskClientError,
    NotFound,
    Refused,
    ServerUnavailable,
    TooManyJobs,
)
from kiosk_tasks.client.images import as_upload, each
from kiosk_tasks.client.state import State
from kiosk_tasks.client.wire import Upload

__all__ = ["Batch", "Mapped"]

_JOURNAL = ".kiosk-map.jsonl"
_LOOK_S = 0.5
_BUSY_S = 5.0
_MOST_BUSY = 1000
"""So often in a row a server may have no room; with the pauses that is an hour and more."""


@dataclass(frozen=True)
class Mapped:
    """What became of one image.

    name: of the image. files: what was written. reason: why it failed; None if it did not.
    state: the job; None where none was submitted. there: the results were there already.
    """

    name: str
    files: tuple[Path, ...] = ()
    reason: str | None = None
    state: State | None = None
    there: bool = False


@dataclass
class _Item:
    """An image on its way: what to send, and what the journal calls it."""

    upload: Upload
    params: dict[str, Any]
    mark: str


class Batch:
    """Images, submitted a few at a time; `next` gives them as they end."""

    def __init__(
        self, calls: Calls, type_name: str, images: Any, out: Path, params: Mapping[str, Any]
    ) -> None:
        """Stems that occur more than once get numbers, so that no result overwrites another."""
        self._calls = replace(calls, patient=False)
        self._type = type_name
        self._out = out
        self._params = dict(params)
        self._left = deque(each(images))
        self._stems: set[str] = set()
        self._open: dict[str, _Item] = {}
        self._ready: deque[Mapped] = deque()
        self._back: deque[_Item] = deque()
        self._most = 16
        self._busy, self._full = 0, False
        out.mkdir(parents=True, exist_ok=True)
        self._journal = _Journal(out / _JOURNAL)

    def at_most(self, open_jobs: int) -> Batch:
        """Bound the number of jobs that are open at a time."""
        if open_jobs < 1:
            raise CannotSend(f"open_jobs is {open_jobs}; at least one job must be open.")
        self._most = open_jobs
        return self

    def next(self) -> Plan[Mapped | None]:
        """Return the next image that has ended; None after the last."""
        while True:
            yield from self._fill()
            if self._ready:
                return self._ready.popleft()
            if not self._open and not self._left and not self._back:
                return None
            state = yield from self._ended()
            if state is not None:
                return (yield from self._finish(state))
            if self._open:
                yield Pause(_LOOK_S)

    def _fill(self) -> Plan[None]:
        while self._has_room() and not self._ready:
            if self._back:
                item: _Item | None = self._back.popleft()
            else:
                item = yield from self._prepared(self._left.popleft())
            if item is None:
                return
            there = self._journal.written(item.mark, self._out)
            if there:
                self._ready.append(Mapped(item.upload.name, there, there=True))
            elif not (yield from self._submit(item)):
                return

    def _has_room(self) -> bool:
        waiting = bool(self._left or self._back)
        return waiting and not self._full and len(self._open) < self._most

    def _prepared(self, image: Any) -> Plan[_Item | None]:
        """Return what to send for an image; None, and a failure to tell, for what cannot be."""
        try:
            upload, params = yield from work(
                partial(as_upload, image, self._params, type_name=self._type)
            )
        except CannotSend as exc:
            name = str(image) if isinstance(image, str | Path) else type(image).__name__
            self._ready.append(Mapped(name, reason=str(exc)))
            return None
        upload = replace(upload, name=self._free_name(upload.name))
        mark = yield from work(partial(_mark, upload, self._type, params))
        return _Item(upload, params, mark)

    def _free_name(self, name: str) -> str:
        """Return the name, with a number if results of another image are called so already.

        Results have the stem of a name: those of `x.tif` and `x.png` are called the same.
        """
        end = "".join(Path(name).suffixes[-2:]) if ".ome." in name else Path(name).suffix
        stem = free = name.removesuffix(end)
        for number in count(2):
            if free.casefold() not in self._stems:
                break
            free = f"{stem}-{number}"
        self._stems.add(free.casefold())
        return f"{free}{end}"

    def _submit(self, item: _Item) -> Plan[bool]:
        """Submit one; False where the server has enough for now."""
        key = self._journal.key(item.mark)
        try:
            state = yield from self._calls.submit(self._type, item.upload, item.params, key=key)
            if state.ended and not state.done:  # of an earlier run: its failure is no answer
                key = self._journal.key(item.mark, anew=True)
                state = yield from self._calls.submit(self._type, item.upload, item.params, key=key)
        except (TooManyJobs, ServerUnavailable) as exc:
            self._busy += not self._open
            if exc.status is None or self._busy > _MOST_BUSY:
                raise
            self._back.appendleft(item)
            self._full = bool(self._open)  # then there is room when one of ours has ended
            if not self._full:
                yield Pause(_BUSY_S)
            return False
        except Refused as exc:
            self._ready.append(Mapped(item.upload.name, reason=str(exc)))
            return True
        self._open[state.id] = item
        self._busy = 0
        return True

    def _ended(self) -> Plan[State | None]:
        """Look at the open jobs; return one that has ended."""
        for job_id, item in list(self._open.items()):
            try:
                state = yield from self._calls.job(job_id)
            except NotFound:
                state = State(job_id, self._type, "failed", True, item.upload.name)
                state = replace(state, reason="the server does not know this job any more.")
            if state.ended:
                return state
        return None

    def _finish(self, state: State) -> Plan[Mapped]:
        item, self._full = self._open.pop(state.id), False
        name = item.upload.name
        if not state.done:
            reason = state.reason or f"job {state.id} was {state.status}."
            return Mapped(name, reason=reason, state=state)
        try:
            files = yield from Contents(self._calls, state).save(self._out)
        except KioskClientError as exc:
            return Mapped(name, reason=str(exc), state=state)
        self._journal.add(item.mark, files=[str(path.relative_to(self._out)) for path in files])
        return Mapped(name, tuple(files), state=state)


class _Journal:
    """What was submitted and what was written, a line each, so that a batch can be resumed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, dict[str, Any]] = {}
        text = path.read_text("utf-8") if path.exists() else ""
        for line in text.splitlines():
            try:
                told = json.loads(line)
            except ValueError:  # cut short by a crash
                continue
            self._known.setdefault(told.pop("mark"), {}).update(told)
        self._cut_short = bool(text) and not text.endswith("\n")

    def key(self, mark: str, *, anew: bool = False) -> str:
        """Return the idempotency key for an image, which is written down before it is used."""
        known = self._known.get(mark, {})
        if "key" not in known or anew or known.get("files"):
            self.add(mark, key=uuid4().hex, files=[])
        return str(self._known[mark]["key"])

    def written(self, mark: str, out: Path) -> tuple[Path, ...]:
        """Return the image's results, if all are there."""
        paths = tuple(out / name for name in self._known.get(mark, {}).get("files") or ())
        return paths if all(path.is_file() for path in paths) else ()

    def add(self, mark: str, **told: Any) -> None:
        """Write a line."""
        self._known.setdefault(mark, {}).update(told)
        start, self._cut_short = "\n" if self._cut_short else "", False
        with self._path.open("a", encoding="utf-8") as file:
            file.write(start + json.dumps({"mark": mark, **told}) + "\n")


def _mark(upload: Upload, type_name: str, params: Mapping[str, Any]) -> str:
    """Return what tells an image, its name and its parameters from others."""
    told = json.dumps([type_name, upload.name, params], sort_keys=True, default=str)
    digest = hashlib.sha256(told.encode())
    if isinstance(upload.content, bytes):
        digest.update(upload.content)
    else:
        with upload.content.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
