"""A model from a file to where servers look for it, whole or not at all.

`<folder>/<name>/<version>/` on disk, `models/<name>/<version>/` in a bucket. What needs TensorFlow
is done by a child process, `kiosk_tasks.serving.export`.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kiosk_tasks import errors
from kiosk_tasks.errors import (
    InternalError,
    InvalidParameter,
    KioskError,
    StorageDenied,
    UnusableModel,
)
from kiosk_tasks.ports import Signature, Storage
from kiosk_tasks.scratch import remove_stale_scratch, scratch_folder
from kiosk_tasks.serving.card import ModelCard, read_card, write_card
from kiosk_tasks.serving.export import REFUSED
from kiosk_tasks.serving.fitness import check_fitness
from kiosk_tasks.serving.signatures import read_signature

__all__ = ["Export", "Wish", "export_to_bucket", "export_to_folder"]

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,99}")
_KERAS = (".keras", ".h5", ".hdf5")


@dataclass(frozen=True)
class Wish:
    """What is to be exported, and what it shall be called.

    source: a `.keras` or `.h5` file, or the folder of a SavedModel.
    mpp: pixel size the model was trained at, µm per pixel; None if nobody knows.
    Raises InvalidParameter for a name or version that no server would find.
    """

    source: Path
    name: str
    version: int
    mpp: float | None = None

    def __post_init__(self) -> None:
        """Refuse what servers could not find, before any work."""
        if not _NAME.fullmatch(self.name):
            raise InvalidParameter(
                f"{self.name!r} cannot name a model: use letters, digits, '_', '-' and '.', a "
                "letter first, at most 100. Give another with --name."
            )
        if not 0 < self.version < 2**63:
            raise InvalidParameter(
                f"version {self.version} is none that a server knows; give 1 to {2**63 - 1}."
            )
        if self.mpp is not None and not 0 < self.mpp < math.inf:
            raise InvalidParameter(f"mpp {self.mpp:g} is no pixel size; give µm per pixel.")

    @property
    def title(self) -> str:
        """What a person calls it."""
        return f"{self.name} version {self.version}"


@dataclass(frozen=True)
class Export:
    """What came of it.

    place: folder or URL. notes: what should be known before it is used.
    sent, answered: shapes of the noise that it was tried on, and of what it made of it, by name.
    """

    place: str
    signature: Signature
    card: ModelCard
    notes: tuple[str, ...]
    sent: dict[str, list[int]] = field(default_factory=dict)
    answered: dict[str, list[int]] = field(default_factory=dict)


def export_to_folder(wish: Wish, folder: Path) -> Export:
    """Put the model at `<folder>/<name>/<version>/`; the version appears at once, by a rename.

    Raises InvalidParameter if that version is there, UnusableModel, ModelMismatch, MissingExtra.
    """
    parent = folder / wish.name
    target = parent / str(wish.version)
    if target.exists():
        raise _taken(wish, str(target))
    _check_source(wish.source)
    with _made(parent):
        remove_stale_scratch(parent)
        with scratch_folder(parent) as scratch:  # servers pass over what is named by no number
            made = _make(wish, scratch)
            try:
                (scratch / "model").rename(target)
            except OSError as exc:
                if exc.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    raise _taken(wish, str(target)) from exc
                raise
    return replace(made, place=str(target))


def export_to_bucket(
    wish: Wish, bucket: Storage, *, shown: str, scratch_in: Path | None = None
) -> Export:
    """Put the model at `models/<name>/<version>/` in a bucket; `saved_model.pb` is written last.

    shown: the bucket's URL as a person may read it. scratch_in: where it is made before.
    Raises what `export_to_folder` and the bucket raise. What was written until then is removed.
    """
    prefix = f"models/{wish.name}/{wish.version}/"
    place = f"{shown.rstrip('/')}/{prefix}"
    _refuse_what_is_there(wish, bucket, prefix, place)
    _check_source(wish.source)
    with scratch_folder(scratch_in) as scratch:
        made = _make(wish, scratch)
        model = scratch / "model"
        files = [f for f in model.rglob("*") if f.is_file() and f.name != "saved_model.pb"]
        written: list[str] = []
        try:
            for file in (*sorted(files), model / "saved_model.pb"):
                key = prefix + file.relative_to(model).as_posix()
                if not bucket.upload_new(key, file):
                    raise _taken(wish, place)
                written.append(key)
        except KioskError:
            for key in written:
                with suppress(KioskError):  # the first error is the one to tell
                    bucket.delete(key)
            raise
    return replace(made, place=place)


def _refuse_what_is_there(wish: Wish, bucket: Storage, prefix: str, place: str) -> None:
    if bucket.exists(f"{prefix}saved_model.pb"):
        raise _taken(wish, place)
    if next(iter(bucket.list(prefix)), None) is not None:
        raise InvalidParameter(
            f"{place} holds files, but no saved_model.pb: another export is at work, or was cut "
            "short. Wait, remove them, or take another version."
        )


def _make(wish: Wish, scratch: Path) -> Export:
    """Make, check and try the version at `<scratch>/model`."""
    model = scratch / "model"
    keras = None if wish.source.is_dir() else wish.source
    if keras is None:
        # Soon, not after TensorFlow; and of the source, whose path the sentence tells.
        check_fitness(read_signature(wish.source, wish.name, wish.version))
        _copy(wish.source, model)
    report = _in_child(wish, model, keras)
    signature = read_signature(model, wish.name, wish.version)
    notes = check_fitness(signature)
    card = ModelCard(
        mpp=wish.mpp or read_card(model).mpp,
        source=wish.source.resolve().name,
        sha256=_checksum(keras or model / "saved_model.pb"),
    )
    write_card(model, card)
    notes += (report["note"],) if report["note"] else ()
    return Export("", signature, card, notes, report["inputs"], report["outputs"])


def _copy(source: Path, model: Path) -> None:
    try:
        shutil.copytree(source, model)
    except shutil.Error as exc:  # of many files; the first tells enough
        ((failed, _, reason), *_) = exc.args[0]
        raise UnusableModel(f"{failed} cannot be copied: {reason}.") from exc


def _in_child(wish: Wish, model: Path, keras: Path | None) -> dict[str, Any]:
    report = model.with_name("report.json")
    command = [sys.executable, "-m", "kiosk_tasks.serving.export", str(model)]
    command += ["--name", wish.name, "--version", str(wish.version), "--report", str(report)]
    command += ["--keras", str(keras)] if keras else []
    done = subprocess.run(  # noqa: S603  # our own module, arguments as a list
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode not in (0, REFUSED):
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise InternalError(f"exporting {wish.title} ended with status {done.returncode}: {last}")
    found: dict[str, Any] = json.loads(report.read_text("utf-8"))
    if done.returncode == REFUSED:
        raise getattr(errors, found["error"])(found["sentence"])
    return found


def _check_source(source: Path) -> None:
    """Refuse what is neither a SavedModel nor a Keras file, by its name."""
    if source.is_dir():
        if (source / "saved_model.pb").is_file():
            return
        inner = sorted(path.parent.name for path in source.glob("*/saved_model.pb"))
        hint = f" Did you mean {source / inner[-1]}?" if inner else ""
        raise UnusableModel(f"{source} has no saved_model.pb, so it is no SavedModel.{hint}")
    if not source.exists():
        raise UnusableModel(f"{source} does not exist.")
    if source.suffix.lower() not in _KERAS:
        raise UnusableModel(
            f"{source} is no model that can be exported; give a .keras or .h5 file, "
            "or the folder of a SavedModel."
        )


def _taken(wish: Wish, place: str) -> InvalidParameter:
    return InvalidParameter(
        f"{wish.title} is there already: {place}. What is served never changes; "
        "take a higher --version."
    )


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make a folder and those above it; those that stay empty are removed again."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise StorageDenied(f"{folder} cannot be made: {exc.strerror}.") from exc
    try:
        yield
    finally:
        for path in new:
            with suppress(OSError):  # not empty: that is what it was made for
                path.rmdir()
