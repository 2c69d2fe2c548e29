"""Which models there are, and what they take and give: as their server tells, or as files do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kiosk_tasks.errors import KioskError, MissingObject, ModelMismatch, UnknownModel
from kiosk_tasks.ports import Signature, Storage
from kiosk_tasks.serving.card import CARD, parse_card, read_card
from kiosk_tasks.serving.client import TensorFlowServing
from kiosk_tasks.serving.deployed import deployed
from kiosk_tasks.serving.signatures import read_signature
from kiosk_tasks.serving.versions import VersionState

__all__ = [
    "Deployed",
    "from_bucket",
    "from_folders",
    "from_server",
    "in_bucket",
    "pixel_size",
]

_KEY = re.compile(r"models/(?P<name>[^/]+)/(?P<version>[0-9]+)/saved_model\.pb")


@dataclass(frozen=True)
class Deployed:
    """One model.

    versions: those that answer requests, or lie in the folders.
    signature: of the newest of them; None where it cannot be known.
    problems: versions that are not served, and signatures that cannot be read, a sentence each.
    """

    name: str
    versions: tuple[int, ...] = ()
    signature: Signature | None = None
    problems: tuple[str, ...] = field(default=())


def from_folders(folders: Sequence[Path]) -> list[Deployed]:
    """Return what lies in the folders, by name, without TensorFlow."""
    return [_in_folders(name, versions, folders) for name, versions in deployed(folders).items()]


def from_server(server: TensorFlowServing, names: Iterable[str]) -> list[Deployed]:
    """Return which of the names the server serves; it cannot be asked for a list.

    Raises ModelServerUnavailable if it does not answer.
    """
    found = (_at_server(server, name) for name in sorted(set(names)))
    return [model for model in found if model is not None]


def in_bucket(bucket: Storage) -> dict[str, tuple[int, ...]]:
    """Return the versions of each model, both sorted, at `models/<name>/<version>/`."""
    found: dict[str, set[int]] = {}
    for key in bucket.list("models/"):
        match = _KEY.fullmatch(key)
        if match:
            found.setdefault(match["name"], set()).add(int(match["version"]))
    return {name: tuple(sorted(found[name])) for name in sorted(found)}


def from_bucket(bucket: Storage, scratch: Path) -> list[Deployed]:
    """Return what lies in the bucket, by name; `scratch` is an empty folder."""
    models = []
    for name, versions in in_bucket(bucket).items():
        folder = scratch / name / str(versions[-1])
        folder.mkdir(parents=True)
        bucket.download(f"models/{name}/{versions[-1]}/saved_model.pb", folder / "saved_model.pb")
        models.append(_in_folders(name, versions, [scratch]))
    return models


def pixel_size(
    name: str, version: int, folders: Sequence[Path], bucket: Storage | None = None
) -> float | None:
    """Return what the card of that version says, µm per pixel; None if it says nothing.

    bucket: looked into where no folder has the version.
    """
    place = _place(name, version, folders)
    if place:
        return read_card(place).mpp
    if bucket is None:
        return None
    try:
        return parse_card(bucket.get(f"models/{name}/{version}/{CARD}")).mpp
    except MissingObject:
        return None


def _in_folders(name: str, versions: tuple[int, ...], folders: Sequence[Path]) -> Deployed:
    newest = versions[-1]
    place = _place(name, newest, folders)
    try:
        return Deployed(name, versions, read_signature(place, name, newest) if place else None)
    except ModelMismatch as exc:
        return Deployed(name, versions, None, (str(exc),))


def _place(name: str, version: int, folders: Sequence[Path]) -> Path | None:
    """Return the folder that is served: an earlier one hides a later one."""
    places = (folder / name / str(version) for folder in folders)
    return next((place for place in places if (place / "saved_model.pb").is_file()), None)


def _at_server(server: TensorFlowServing, name: str) -> Deployed | None:
    try:
        states = server.status(name)
    except UnknownModel:
        return None
    versions = tuple(s.version for s in states if s.state is VersionState.AVAILABLE)
    problems = [
        f"version {s.version} is {s.state.name.lower()}{': ' if s.error else ''}{s.error}"
        for s in states
        if s.state is not VersionState.AVAILABLE
    ]
    signature = None
    if versions:
        try:
            signature = server.signature(name, versions[-1])
        except KioskError as exc:  # it was removed since, or takes what no array can hold
            problems.append(str(exc))
    return Deployed(name, versions, signature, tuple(problems))
