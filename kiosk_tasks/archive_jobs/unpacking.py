"""The first stage of an archive's job: its files go into the bucket, and each gets a child."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from kiosk_tasks.errors import UnreadableArchive, UnusableMember
from kiosk_tasks.fan_out import Child, FanOut
from kiosk_tasks.imaging.archives import Member, ZipArchive
from kiosk_tasks.job import Context
from kiosk_tasks.outputs import numbered, parts_folder, stem_of
from kiosk_tasks.scratch import scratch_folder
from kiosk_tasks.stages import fetch

__all__ = ["TABLES", "Unpacked", "nothing_done", "unpack"]

TABLES = ("summary", "failures")
"""Stems of the tables beside the results."""
_CLUTTER = frozenset({"thumbs.db", "desktop.ini"})
"""Files that Windows leaves beside images; what macOS leaves is hidden, or below `__MACOSX`."""


@dataclass(frozen=True)
class Unpacked:
    """What an archive held.

    names: of the files that children work on, in the order of the children.
    failures: other files, and why they cannot be used.
    """

    names: tuple[str, ...]
    failures: tuple[tuple[str, str], ...]


def unpack(_: None, ctx: Context[Any], *, type_name: str) -> FanOut:
    """Put the archive's files into the bucket, one by one, and ask for a job on each.

    Raises UnreadableArchive and ArchiveTooLarge; the former also where no file can be used.
    """
    name = ctx.job.source.name
    params = ctx.params.model_dump(exclude_unset=True, mode="json")
    names = _Names({stem_of(name), *TABLES})
    failures, children = list[tuple[str, str]](), list[Child]()
    with scratch_folder(ctx.limits.scratch) as folder:
        path = fetch(ctx, folder)
        with ZipArchive(path, name=name, limits=ctx.limits.archive) as archive:
            members = [m for m in archive.members if not _is_clutter(m.name)]
            for number, member in enumerate(members):
                try:
                    key = _put(member, number, folder / "member", ctx)
                except UnusableMember as exc:
                    failures.append((member.name, str(exc)))
                else:
                    given = {"input_file_name": key, "original_name": names.add(member.name)}
                    children.append(Child(type_name, {**params, **given}, member.size_bytes))
                ctx.report.check()
    if not children:
        raise nothing_done(name, failures)
    return FanOut(tuple(children), keep=Unpacked(tuple(names.given), tuple(failures)))


def _put(member: Member, number: int, path: Path, ctx: Context[Any]) -> str:
    """Put a member into the bucket, through a file; return its key. Raises UnusableMember."""
    member.copy(path)
    suffix = PurePosixPath(member.name).suffix.lower()
    plain = suffix if re.fullmatch(r"\.[a-z0-9]{1,8}", suffix) else ""
    key = f"{parts_folder(ctx.job.id)}{number:05d}{plain}"
    ctx.storage.upload_new(key, path)
    return key


def nothing_done(name: str, failures: list[tuple[str, str]]) -> UnreadableArchive:
    """Return the error of an archive of which no file could be used."""
    if not failures:
        return UnreadableArchive(f"{name} holds no file to work on; zip the images themselves.")
    first, reason = failures[0]
    said = reason if first in reason else f"{first}: {reason}"
    if len(failures) == 1:
        return UnreadableArchive(f"the one file in {name} could not be used: {said}")
    return UnreadableArchive(
        f"none of the {len(failures)} files in {name} could be used; the first: {said}"
    )


class _Names:
    """Names of the inputs, such that no two results are called the same."""

    def __init__(self, taken: set[str]) -> None:
        self.given: list[str] = []
        self._taken = {stem.casefold() for stem in taken}

    def add(self, name: str) -> str:
        """Return the name, with a number where `a.tif` and `a.png` lie in one folder."""
        path, number = PurePosixPath(name), 1
        while (key := str(path.parent / stem_of(path.name)).casefold()) in self._taken:
            number += 1
            path = path.with_name(numbered(PurePosixPath(name).name, number))
        self._taken.add(key)
        self.given.append(str(path))
        return str(path)


def _is_clutter(name: str) -> bool:
    return PurePosixPath(name).name.lower() in _CLUTTER
