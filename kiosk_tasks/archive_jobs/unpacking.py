"""The first stage of an archive's job: its files go into the bucket, and get jobs.

Each gets one of its own; many small files go into one object and get one together.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from kiosk_tasks.archive_jobs.batches import written
from kiosk_tasks.archive_jobs.small import SMALL_BYTES, is_small
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
_FEWEST, _MOST = 32, 128
"""Small files in an archive below which each gets its own job; and files of one job, at least, if
there are so many, and at most: a job's own cost is a hundredth of theirs then."""
_SHARES = 8
"""Jobs that small files are dealt to, at least, so that there is something for each worker."""
_MOST_BYTES = 2**25
"""Of the files of one job: it has them in memory."""
_CLUTTER = frozenset({"thumbs.db", "desktop.ini"})
"""Files that Windows leaves beside images; what macOS leaves is hidden, or below `__MACOSX`."""


@dataclass(frozen=True)
class Unpacked:
    """What an archive held.

    names: of the files that children work on, in the order of the archive.
    failures: other files, and why they cannot be used.
    children: for each of the names, which child does it, from 0; empty: each is done by one of its
        own. The files of one child are in its order.
    batches: numbers of the children that do many.
    """

    names: tuple[str, ...]
    failures: tuple[tuple[str, str], ...]
    children: tuple[int, ...] = ()
    batches: tuple[int, ...] = ()


def unpack(_: None, ctx: Context[Any], *, type_name: str, many: str = "") -> FanOut:
    """Put the archive's files into the bucket, and ask for a job on each, or on many small ones.

    many: the job type that does many small files; empty: there is none.
    Raises UnreadableArchive and ArchiveTooLarge; the former also where no file can be used.
    """
    name = ctx.job.source.name
    names = _Names({stem_of(name), *TABLES})
    failures, children = list[tuple[str, str]](), _Children(ctx, type_name, many)
    with scratch_folder(ctx.limits.scratch) as folder:
        path = fetch(ctx, folder)
        with ZipArchive(path, name=name, limits=ctx.limits.archive) as archive:
            members = [m for m in archive.members if not _is_clutter(m.name)]
            children.expect(members)
            for member in members:
                try:
                    children.add(member, names.next(member.name), folder / "member")
                except UnusableMember as exc:
                    failures.append((member.name, str(exc)))
                else:
                    names.take()
                ctx.report.check()
    asked = children.all()
    if not asked:
        raise nothing_done(name, failures)
    batches = tuple(number for number, child in enumerate(asked) if child.files is not None)
    given, owners = tuple(names.given), tuple(children.owners)
    return FanOut(asked, keep=Unpacked(given, tuple(failures), owners, batches))


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


class _Children:
    """Jobs on the files of an archive: one each, or one on many small files together.

    owners: for each file that was added, the number of its job.
    """

    def __init__(self, ctx: Context[Any], type_name: str, many: str) -> None:
        self._ctx, self._type_name, self._many = ctx, type_name, many
        self._params = ctx.params.model_dump(exclude_unset=True, mode="json")
        self._made = dict[int, Child]()
        self._batch = list[tuple[str, bytes]]()
        self._batch_number, self._number, self._size = 0, 0, 0
        self.owners = list[int]()

    def expect(self, members: Sequence[Member]) -> None:
        """Decide whether small files are done together, and how many."""
        count = sum(member.size_bytes <= SMALL_BYTES for member in members)
        if self._many and count >= _FEWEST:
            self._size = min(max(-(-count // _SHARES), _FEWEST), _MOST)

    def add(self, member: Member, name: str, path: Path) -> None:
        """Put a file into the bucket, or into the batch. name: of its own. Raises UnusableMember.

        path: where its bytes may lie meanwhile.
        """
        if not self._size or member.size_bytes > SMALL_BYTES:
            member.copy(path)
            return self._add_alone(member, name, path)
        data = member.read(max_bytes=SMALL_BYTES)
        if not is_small(data):
            path.write_bytes(data)
            return self._add_alone(member, name, path)
        if not self._batch:
            self._batch_number = self._next_number()
        self._batch.append((name, data))
        self.owners.append(self._batch_number)
        if len(self._batch) == self._size or _bytes_of(self._batch) > _MOST_BYTES:
            self._put_batch()
        return None

    def all(self) -> tuple[Child, ...]:
        """Return the jobs, in the order of their numbers."""
        if self._batch:
            self._put_batch()
        return tuple(self._made[number] for number in range(self._number))

    def _add_alone(self, member: Member, name: str, path: Path) -> None:
        number = self._next_number()
        suffix = PurePosixPath(member.name).suffix.lower()
        plain = suffix if re.fullmatch(r"\.[a-z0-9]{1,8}", suffix) else ""
        key = f"{parts_folder(self._ctx.job.id)}{number:05d}{plain}"
        self._ctx.storage.upload_new(key, path)
        given = {"input_file_name": key, "original_name": name}
        self._made[number] = Child(self._type_name, {**self._params, **given}, member.size_bytes)
        self.owners.append(number)

    def _put_batch(self) -> None:
        files, self._batch = self._batch, []
        key = f"{parts_folder(self._ctx.job.id)}{self._batch_number:05d}"
        self._ctx.storage.put_new(key, written(files))
        called = f"{len(files)} files from {PurePosixPath(files[0][0]).name} on"
        fields = {**self._params, "input_file_name": key, "original_name": called}
        size = _bytes_of(files)
        self._made[self._batch_number] = Child(self._many, fields, size, files=len(files))

    def _next_number(self) -> int:
        self._number += 1
        return self._number - 1


def _bytes_of(files: Sequence[tuple[str, bytes]]) -> int:
    return sum(len(data) for _, data in files)


class _Names:
    """Names of the inputs, such that no two results are called the same."""

    def __init__(self, taken: set[str]) -> None:
        self.given: list[str] = []
        self._taken = {stem.casefold() for stem in taken}
        self._next = ("", "")

    def next(self, name: str) -> str:
        """Return the name, with a number where `a.tif` and `a.png` lie in one folder."""
        path, number = PurePosixPath(name), 1
        while (key := str(path.parent / stem_of(path.name)).casefold()) in self._taken:
            number += 1
            path = path.with_name(numbered(PurePosixPath(name).name, number))
        self._next = str(path), key
        return str(path)

    def take(self) -> None:
        """Give the name that `next` returned."""
        name, key = self._next
        self._taken.add(key)
        self.given.append(name)


def _is_clutter(name: str) -> bool:
    return PurePosixPath(name).name.lower() in _CLUTTER
