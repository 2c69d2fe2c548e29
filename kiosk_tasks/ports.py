"""What a job needs from the outside, as protocols; `storage`, `serving` and `ledger` adapt it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Fact",
    "Model",
    "ModelServer",
    "Reporter",
    "Signature",
    "Storage",
    "TensorSpec",
    "no_check",
]


Fact = str | int | float | bool | None | list["Fact"] | dict[str, "Fact"]
"""A JSON value."""


@dataclass(frozen=True)
class Model:
    """A model as a job type or a user names it.

    version: None asks for the newest that is served.
    axes: axes of one item of the batch, for example "YXC".
    tile: side of the square tile the model is given, px.
    mpp: pixel size the model was trained at, µm per pixel.
    """

    name: str
    version: int | None = None
    axes: str = "YXC"
    tile: int = 512
    mpp: float | None = None


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a model; -1 in `shape` is any length, None an unknown rank."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...] | None


@dataclass(frozen=True)
class Signature:
    """What a served model version takes and gives (`serving_default`)."""

    model: str
    version: int
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]


def no_check() -> None:
    """Let the work go on."""


def any_size(_size_bytes: int) -> None:
    """Take an object of whatever size."""


class Storage(Protocol):
    """A bucket: whole objects by key. Objects appear complete or not at all.

    Every method raises InvalidKey for a key that leaves the bucket, MissingObject where there is
    none, StorageFull, StorageDenied and StorageUnavailable; no vendor error leaves an adapter.
    """

    def get(self, key: str) -> bytes:
        """Return the object's bytes."""
        ...

    def open(self, key: str) -> Iterator[bytes]:
        """Return the object's bytes chunk by chunk; memory stays bounded whatever its size.

        What `get` raises is raised at once, not with the first chunk. An object that is replaced
        meanwhile is never mixed: the rest is the old one's, or StorageUnavailable is raised.
        """
        ...

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Return at most `length` bytes from `start` on: fewer, or none, past the object's end."""
        ...

    def download(self, key: str, target: Path, *, check: Callable[[int], None] = any_size) -> None:
        """Copy the object to a file; memory stays bounded whatever its size.

        check: told the object's size in bytes before any is written; raises to refuse it.
        """
        ...

    def put(self, key: str, data: bytes) -> None:
        """Write an object, replacing one that is there."""
        ...

    def write(self, key: str, chunks: Iterable[bytes]) -> None:
        """Write an object from chunks, however many; memory stays bounded whatever their sum.

        If drawing a chunk raises, nothing is written, and that error goes on to the caller.
        """
        ...

    def upload(self, key: str, source: Path) -> None:
        """Write an object from a file; memory stays bounded whatever its size."""
        ...

    def put_new(self, key: str, data: bytes) -> bool:
        """Write an object only where there is none, whole or not at all; False if one is there.

        Of many writers at once exactly one is told True, and what it wrote is what stays. One that
        gets StorageUnavailable cannot know whether it wrote.
        """
        ...

    def upload_new(self, key: str, source: Path) -> bool:
        """Write an object from a file as `put_new` does."""
        ...

    def exists(self, key: str) -> bool:
        """Tell whether the object is there."""
        ...

    def size(self, key: str) -> int:
        """Return how many bytes the object has."""
        ...

    def delete(self, key: str) -> None:
        """Remove the object; one that is not there is no error."""
        ...

    def delete_all(self, prefix: str) -> int:
        """Remove every object whose key starts with `prefix`; return how many there were.

        Raises InvalidKey for an empty prefix: nobody means the whole bucket.
        """
        ...

    def remove_partials(self, older_than_s: float) -> int:
        """Remove what writers that died have left; return how many such remains there were.

        Remains that were touched within `older_than_s` seconds may belong to a writer that lives.
        """
        ...

    def list(self, prefix: str = "") -> Iterator[str]:
        """Yield the keys that start with `prefix`, sorted."""
        ...

    def url(self, key: str, *, name: str | None = None) -> str:
        """Return a URL at which the object can be fetched for a while, without further rights.

        name: what a browser saves the file as; default: the last part of the key. A local bucket's
        URL is a file's, and has no place for it.
        """
        ...

    def upload_url(self, key: str) -> str:
        """Return a URL to which the object can be written with one PUT for a while.

        Raises UnsupportedByBucket where nothing could answer such a PUT.
        """
        ...


class ModelServer(Protocol):
    """A TensorFlow Serving endpoint."""

    def signature(self, name: str, version: int | None = None) -> Signature:
        """Return what is served under that name; None asks for the newest version.

        Raises UnknownModel with a sentence that lists what is served, and
        ModelServerUnavailable when nothing answers within the deadline.
        """
        ...

    def predict(
        self,
        signature: Signature,
        batches: Iterable[Mapping[str, NDArray[Any]]],
        *,
        check: Callable[[], None] = no_check,
        in_flight: int | None = None,
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield the outputs of each batch, in order; several batches are in flight at once.

        batches: one mapping of input name to array each. They are drawn lazily.
        in_flight: most batches that are; None: as many as keep a server busy. With 1, the next is
            sent when the reply is there, and that is yielded while the server works on.
        check: called about once a second while a reply is awaited; raises to stop.
        Raises ModelMismatch when an array does not fit the signature, before it is sent.
        """
        ...


class Reporter(Protocol):
    """Where a running job says how far it is, and learns that it should stop."""

    def stage(self, name: str, status: str | None) -> AbstractContextManager[None]:
        """Enclose one stage: sets the status word and records the seconds it took."""
        ...

    def check(self) -> None:
        """Raise Cancelled, ClaimLost or TimeLimit if the job should stop; costs next to nothing.

        Stages that work for long without a prediction call it between two units of their work.
        """
        ...

    def progress(self, done: int, total: int) -> None:
        """Record that `done` of `total` units of the model's work are finished.

        Raises what `check` raises.
        """
        ...

    def note(self, **facts: Fact) -> None:
        """Keep facts for the job's provenance record; they outlive the link that found them."""
        ...

    def notes(self) -> dict[str, Fact]:
        """Return all facts noted for this job so far, by whichever link."""
        ...
