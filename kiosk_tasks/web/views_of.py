"""What there is to look at of a finished job: its record of provenance tells, and its files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

from kiosk_tasks.imaging.planes import PlaneChoice
from kiosk_tasks.ports import Storage
from kiosk_tasks.web.errors import NoResult
from kiosk_tasks.web.results_cache import Directory, Member

__all__ = ["MOST_TABLE_BYTES", "Part", "View", "view_of"]

MOST_TABLE_BYTES = 2**26
"""Of a table whose rows are drawn; longer ones are for other programs."""

_RECORD = "_job.json"
_LABELS, _TRACKED = "_labels.ome.tif", "_tracked.ome.tif"
_TABLES = ("_cells.csv", "_counts.csv")
_MOST_TABLES = 64  # of which the rows are counted
_BATCH = re.compile(r"(?:^|_)batch_(\d+)(?=_|$)")


@dataclass(frozen=True)
class Part:
    """One label image, or those of all planes.

    files: by frame; that of a movie, by 0, has all of them.
    """

    name: str
    files: Mapping[int, Member]
    movie: bool = False
    count: int | None = None


@dataclass(frozen=True)
class View:
    """What there is to look at.

    size: (Y, X), px. mpp: µm per pixel. image: which planes of the input the job has worked on.
    tracks, divisions, lineage, spots: files of the result, where it has them.
    """

    directory: Directory
    size: tuple[int, int]
    frames: int
    mpp: float | None
    image: PlaneChoice
    parts: Mapping[str, Part]
    tables: Mapping[str, Member] = field(default_factory=dict)


def view_of(directory: Directory, bucket: Storage) -> View:
    """Look into a result; raises NoResult for one that nothing can be drawn of."""
    try:
        return _view(directory, bucket)
    except (KeyError, TypeError, ValueError, AttributeError) as exc:  # of somebody's own job type
        raise NoResult(
            "this result says of its image what cannot be drawn; only its files can be fetched."
        ) from exc


def _view(directory: Directory, bucket: Storage) -> View:
    members = directory.members
    record = next((name for name in members if name.endswith(_RECORD) and "/" not in name), None)
    facts = _json(directory, bucket, members[record]) if record else {}
    if record is None or not isinstance(facts.get("image"), dict):
        raise NoResult("this result says nothing of an image; only its files can be fetched.")
    image, parameters = facts["image"], facts.get("parameters", {})
    stem = record.removesuffix(_RECORD)
    size = dict(zip(image["axes"], image["shape"], strict=True))
    project = bool(parameters.get("project"))
    frames = prod(n for axis, n in size.items() if axis not in ("YXCZ" if project else "YXC"))
    parts = _parts(members, stem)
    counted = {
        name: _counted(part, facts, parts, directory, bucket) for name, part in parts.items()
    }
    return View(
        directory=directory,
        size=(size["Y"], size["X"]),
        frames=frames,
        mpp=image.get("mpp"),
        image=PlaneChoice(
            axes=parameters.get("axes"),
            channel=_channel(facts, parameters, next(iter(parts), "")),
            movie=any(part.movie for part in parts.values()),
            project=project,
        ),
        parts=counted,
        tables=_tables(members, stem),
    )


def _json(directory: Directory, bucket: Storage, member: Member) -> dict[str, Any]:
    if member.size > MOST_TABLE_BYTES:
        return {}
    found: dict[str, Any] = json.loads(b"".join(directory.read(bucket, member)))
    return found


def _parts(members: Mapping[str, Member], stem: str) -> dict[str, Part]:
    """Return the label images by name, in the result's order; of several movies the first."""
    files: dict[str, dict[int, Member]] = {}
    for name, member in members.items():
        if name.endswith(_TRACKED) and name.startswith(stem):
            return {"": Part("", {0: member}, movie=True)}
        if name.endswith(_LABELS) and name.startswith(stem):
            part = name.removeprefix(stem).removesuffix(_LABELS).strip("_")
            plane = _BATCH.search(part)
            frame = int(plane[1]) if plane else 0
            files.setdefault(_BATCH.sub("", part).strip("_"), {})[frame] = member
    return {name: Part(name, found) for name, found in files.items()}


def _counted(
    part: Part,
    facts: Mapping[str, Any],
    parts: Mapping[str, Part],
    directory: Directory,
    bucket: Storage,
) -> Part:
    """Say how many cells, or tracks, a part has, where that is known without looking at pixels."""
    told = facts.get("tracks" if part.movie else "cells")
    if len(parts) == 1 and isinstance(told, int):
        return Part(part.name, part.files, part.movie, told)
    count = 0
    for member in part.files.values():
        stem = member.name.removesuffix(_LABELS)
        table = next((stem + end for end in _TABLES if stem + end in directory.members), None)
        if table is None or len(part.files) > _MOST_TABLES:
            return part
        chunks = directory.read(bucket, directory.members[table])
        count += sum(chunk.count(b"\n") for chunk in chunks) - 1
    return Part(part.name, part.files, part.movie, count)


def _channel(facts: Mapping[str, Any], parameters: Mapping[str, Any], part: str) -> int | None:
    """Return the channel that the job has worked on; None for the first or the brightest colour."""
    told = facts.get("channel", facts.get("channels"))
    if isinstance(told, dict):  # by what each shows; the form has their order: "2,1"
        listed = parameters.get("channels") or ""
        told = next((int(place) for place in listed.split(",") if place.strip()), None)
    if isinstance(told, list):  # nuclei, then membrane
        told = told[0] if part == "nuclear" else told[-1]
    if told is None and "spot_channels" in parameters:
        listed = parameters["spot_channels"] or parameters.get("channels") or ""
        told = int(listed.partition(",")[0] or 0)
    if told is None:
        told = parameters.get("channel")
    return told if isinstance(told, int) else None


def _tables(members: Mapping[str, Member], stem: str) -> dict[str, Member]:
    """Return tables to draw, by what they are; of several movies the first's."""
    ends = {"tracks": "_tracks.csv", "divisions": "_divisions.csv", "lineage": "_lineage.json"}
    found = {}
    for kind, end in {**ends, "spots": "_spots.csv"}.items():
        one = next((m for name, m in members.items() if name.endswith(end)), None)
        if one is not None and one.name.startswith(stem) and one.size <= MOST_TABLE_BYTES:
            found[kind] = one
    return found
