"""The last stage of an archive's job: one archive of its children's results, and two tables."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlencode

from kiosk_tasks.archive_jobs.batches import Results
from kiosk_tasks.archive_jobs.facts import COUNTS
from kiosk_tasks.archive_jobs.unpacking import TABLES, Unpacked, nothing_done
from kiosk_tasks.errors import MissingObject, UnreadableArchive
from kiosk_tasks.fan_out import Gathered, Outcome
from kiosk_tasks.job import Context
from kiosk_tasks.outputs import OutputFile, fetch_result, stem_of
from kiosk_tasks.ports import Storage
from kiosk_tasks.scratch import fetching_into, scratch_folder
from kiosk_tasks.stages import store

__all__ = ["pack_results"]

_MOST_FAILURES_BYTES = 2**14
"""Of the record's field; all of them are in `failures.csv`."""


def pack_results(value: Gathered, ctx: Context[Any]) -> dict[str, str]:
    """Make one archive of the children's, and of two tables: all files, and those that failed.

    Raises UnreadableArchive where no child is done.
    """
    unpacked: Unpacked = value.keep
    results = _Results(ctx, unpacked, value.outcomes)
    if not any(outcome.ok for outcome in value.outcomes):
        reasons = [(name, outcome.reason) for name, outcome, _ in results.owned()]
        raise nothing_done(ctx.job.source.name, [*reasons, *unpacked.failures])
    with scratch_folder(ctx.limits.scratch) as folder:
        stored = store(results.files(folder), ctx)
    told = _url_encoded(results.failures)
    return {**stored, "failures": told} if told else stored


@dataclass
class _Results:
    """The files of the result, drawn one by one, and what is learnt of them on the way."""

    ctx: Context[Any]
    unpacked: Unpacked
    outcomes: tuple[Outcome, ...]
    rows: list[dict[str, Any]] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)

    def owned(self) -> Iterator[tuple[str, Outcome, int | None]]:
        """Yield each file's name, its job's outcome, and its place among the files of that job.

        The place is None where the job had no others.
        """
        owners = self.unpacked.children or tuple(range(len(self.outcomes)))
        places = dict.fromkeys(owners, 0)
        for name, owner in zip(self.unpacked.names, owners, strict=True):
            outcome = self.outcomes[owner]
            yield name, outcome, places[owner] if owner in self.unpacked.batches else None
            places[owner] += 1

    def files(self, folder: Path) -> Iterator[OutputFile]:
        """Yield the files of each child's result, under the folder and stem of its input."""
        with _Batches(self.ctx.storage, folder / "batch") as batches:
            for number, (name, outcome, place) in enumerate(self.owned()):
                try:
                    if not outcome.ok:
                        self._failed(name, outcome.reason)
                    elif place is None:
                        yield from self._of_one(name, outcome, folder / "one")
                    else:
                        yield from self._of_many(name, batches.of(outcome), place)
                except MissingObject:
                    self._failed(name, "its result is gone from the bucket; send the file again.")
                except UnreadableArchive as exc:
                    self._failed(name, str(exc))
                self.ctx.report.progress(number + 1, len(self.unpacked.names))
        for name, reason in self.unpacked.failures:
            self._failed(name, reason)
        self.ctx.report.note(**self._sums())
        summary, failures = (f"{stem}.csv" for stem in TABLES)
        yield OutputFile(summary, _table(["file", "result", *self._columns()], self.rows))
        if self.failures:
            rows = [{"file": name, "reason": reason} for name, reason in self.failures]
            yield OutputFile(failures, _table(["file", "reason"], rows))

    def _of_one(self, name: str, outcome: Outcome, folder: Path) -> Iterator[OutputFile]:
        try:
            found = fetch_result(self.ctx.storage, outcome.output["output_file_name"], folder)
            stem = stem_of(PurePosixPath(name).name)
            self._done(name, _counts(found.get(f"{stem}_job.json")), outcome.seconds)
            where = _where(name)
            for file, path in sorted(found.items()):
                yield OutputFile(self._place(where, file), path)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _of_many(self, name: str, results: Results, place: int) -> Iterator[OutputFile]:
        done = results.done[place]
        if done.reason:
            self._failed(name, done.reason)
            return
        self._done(name, done.counts, done.seconds)
        where = _where(name)
        for file in sorted(results.files(place), key=lambda file: file.name):
            yield replace(file, name=self._place(where, file.name))

    def _done(self, name: str, counts: Mapping[str, int], seconds: float) -> None:
        self.rows.append({"file": name, "result": "done", **counts, "seconds": f"{seconds:.2f}"})

    def _place(self, where: tuple[str, str], file: str) -> str:
        """Return where a file of a result goes: named after the input, and no other's."""
        folder, stem = where
        rest = file.removeprefix(stem) if file.startswith((f"{stem}_", f"{stem}.")) else f"_{file}"
        number, name = 1, f"{folder}{stem}{rest}"
        while name.casefold() in self.taken:  # a_b.tif's own, and part b of a.tif
            number += 1
            name = f"{folder}{stem}-{number}{rest}"
        self.taken.add(name.casefold())
        return name

    def _failed(self, name: str, reason: str) -> None:
        self.failures.append((name, reason))
        self.rows.append({"file": name, "result": "failed"})

    def _columns(self) -> list[str]:
        return [*(c for c in COUNTS if any(c in row for row in self.rows)), "seconds"]

    def _sums(self) -> dict[str, int]:
        """Return the facts to note of the archive: how many files, and what is in all of them."""
        found = {c: [row[c] for row in self.rows if c in row] for c in COUNTS}
        sums = {c: sum(numbers) for c, numbers in found.items() if numbers}
        return {"files": len(self.rows), "failed": len(self.failures), **sums}


def _where(name: str) -> tuple[str, str]:
    """Return what names of an input's results begin with: its folder, with a slash, and stem."""
    path = PurePosixPath(name)
    folder = str(path.parent)
    return "" if folder == "." else f"{folder.rstrip('/')}/", stem_of(path.name)


class _Batches(ExitStack):
    """Results of jobs that did many files: one at a time is here, since their files follow on."""

    def __init__(self, storage: Storage, path: Path) -> None:
        super().__init__()
        self._storage, self._path = storage, path
        self._here: tuple[str, Results] | None = None

    def of(self, outcome: Outcome) -> Results:
        """Return the results of a job that is done; raises MissingObject, UnreadableArchive."""
        if self._here is None or self._here[0] != outcome.id:
            self.close()
            self._here = None
            with fetching_into(self._path.parent):
                self._storage.download(outcome.output["output_file_name"], self._path)
            self._here = outcome.id, self.enter_context(Results(self._path))
        return self._here[1]


def _counts(record: Path | None) -> dict[str, int]:
    """Return what a child noted, out of the record among its files."""
    if record is None:
        return {}
    facts = json.loads(record.read_bytes())
    return {c: facts[c] for c in COUNTS if isinstance(facts.get(c), int)}


def _table(columns: list[str], rows: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _url_encoded(failures: list[tuple[str, str]]) -> str:
    """Return the failures as older clients read them, as many as a record should hold."""
    told, left = list[str](), _MOST_FAILURES_BYTES
    for number, failure in enumerate(failures):
        pair = urlencode([failure])
        left -= len(pair) + 1
        if left < 0:
            told.append(urlencode({"…": f"{len(failures) - number} more, see failures.csv"}))
            break
        told.append(pair)
    return "&".join(told)
