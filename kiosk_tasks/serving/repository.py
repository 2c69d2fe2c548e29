"""Versions on disk -> loaded models: `<folder>/<name>/<integer version>/saved_model.pb`.

Folders are looked at every second or so. A version that appears is loaded, one that disappears is
dropped, and one whose files change is loaded again and replaces the old one only then. A version
that cannot be loaded is reported with the state END and the reason, and tried again once its files
change: half-copied versions heal by themselves.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from kiosk_tasks.serving.versions import VersionState, VersionStatus

__all__ = ["NotServed", "Repository"]

_log = logging.getLogger(__name__)

T = TypeVar("T")
_Key = tuple[str, int]
_Fingerprint = tuple[str, int, int, int]


class NotServed(LookupError):
    """No such model or version is loaded; the message is that of TensorFlow Serving."""


@dataclass
class _Entry(Generic[T]):
    """One version: its files when last tried, and the model, if that worked."""

    fingerprint: _Fingerprint
    state: VersionState = VersionState.START
    model: T | None = None
    error: str = ""


class Repository(Generic[T]):
    """The models in some folders; an earlier folder hides the same version in a later one."""

    def __init__(
        self, folders: Sequence[Path], load: Callable[[Path], T], *, poll_s: float = 1.0
    ) -> None:
        """Look at nothing yet; `load` makes a model of a version's folder."""
        self._folders = folders
        self._load = load
        self._poll_s = poll_s
        self._entries: dict[_Key, _Entry[T]] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Load everything there is, then keep looking on a thread of its own."""
        self.refresh()
        self._thread = threading.Thread(target=self._watch, name="repository", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop looking."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def refresh(self) -> None:
        """Bring what is loaded in line with what is on disk."""
        found = dict(self._scan())
        with self._lock:
            for key in set(self._entries) - set(found):
                del self._entries[key]
                _log.info("event=unload model=%s version=%d", *key)
            changed = sorted(
                key
                for key, (_, fingerprint) in found.items()
                if key not in self._entries or self._entries[key].fingerprint != fingerprint
            )
            for key in changed:
                self._entries.setdefault(key, _Entry(found[key][1]))
        for key in changed:
            if self._stop.is_set():
                return
            self._renew(key, *found[key])

    def get(self, name: str, version: int | None = None) -> tuple[int, T]:
        """Return a version's number and model; None asks for the newest that is loaded.

        Raises NotServed.
        """
        with self._lock:
            loaded = {
                key[1]: entry.model
                for key, entry in self._entries.items()
                if key[0] == name and entry.model is not None
            }
        chosen = max(loaded, default=None) if version is None else version
        model = loaded.get(chosen) if chosen is not None else None
        if chosen is None or model is None:
            wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise NotServed(f"Servable not found for request: {wanted}")
        return chosen, model

    def status(self, name: str) -> list[VersionStatus]:
        """Return the versions of a model, newest first; empty if there is no such model."""
        with self._lock:
            found = [
                VersionStatus(version, entry.state, entry.error)
                for (model, version), entry in self._entries.items()
                if model == name
            ]
        return sorted(found, key=lambda status: -status.version)

    def _watch(self) -> None:
        while not self._stop.wait(self._poll_s):
            try:
                self.refresh()
            except OSError as exc:  # a folder that cannot be read now may be readable again later
                _log.warning("event=scan_failed error=%r", exc)

    def _renew(self, key: _Key, path: Path, fingerprint: _Fingerprint) -> None:
        entry = self._entries[key]
        if entry.model is None:
            entry.state = VersionState.LOADING
        start = time.perf_counter()
        try:
            model = self._load(path)
        except Exception as exc:  # a damaged model must not stop the others
            _log.warning("event=load_failed model=%s version=%d error=%r", *key, exc)
            with self._lock:
                entry.fingerprint = fingerprint
                if entry.model is None:
                    entry.state, entry.error = VersionState.END, f"{type(exc).__name__}: {exc}"
            return
        with self._lock:
            entry.fingerprint, entry.model = fingerprint, model
            entry.state, entry.error = VersionState.AVAILABLE, ""
        seconds = time.perf_counter() - start
        _log.info("event=load model=%s version=%d seconds=%.2f", *key, seconds)

    def _scan(self) -> Iterator[tuple[_Key, tuple[Path, _Fingerprint]]]:
        """Yield the versions on disk; later ones of the same key win, so folders go backwards."""
        for folder in reversed(self._folders):
            for file in folder.glob("*/*/saved_model.pb"):
                version = file.parent
                if version.name.isdecimal():
                    key = (version.parent.name, int(version.name))
                    yield key, (version, _fingerprint(version))


def _fingerprint(folder: Path) -> _Fingerprint:
    """Return what changes when a file of the version does: path, count, bytes, newest time (ns)."""
    count = size = newest = 0
    for file in folder.rglob("*"):
        try:
            stat = file.stat()
        except FileNotFoundError:  # removed since it was listed
            continue
        count, size, newest = count + 1, size + stat.st_size, max(newest, stat.st_mtime_ns)
    return str(folder), count, size, newest
