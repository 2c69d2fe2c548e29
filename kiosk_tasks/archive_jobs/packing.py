"""The last stage of an archive's job: one archive of its children's results, and two tables."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlencode

from kiosk_tasks.archive_jobs.unpacking import TABLES, Unpacked, nothing_done
from kiosk_tasks.errors import MissingObject, UnreadableArchive
from kiosk_tasks.fan_out import Gathered, Outcome
from kiosk_tasks.job import Context
from kiosk_tasks.outputs import OutputFile, fetch_result, stem_of
from kiosk_tasks.scratch import scratch_folder
from kiosk_tasks.stages import store

__all__ = ["COUNTS", "pack_results"]

COUNTS = ("cells", "nuclei", "tracks", "divisions", "spots")
"""Facts that a job may note of an input, and that are columns of the table over all inputs."""

_MOST_FAILURES_BYTES = 2**14
"""Of the record's field; all of them are in `failures.csv`."""


def pack_results(value: Gathered, ctx: Context[Any]) -> dict[str, str]:
    """Make one archive of the children's, and of two tables: all files, and those that failed.

    Raises UnreadableArchive where no child is done.
    """
    unpacked: Unpacked = value.keep
    results = _Results(ctx, unpacked)
    if not any(outcome.ok for outcome in value.outcomes):
        failed = zip(unpacked.names, value.outcomes, strict=True)
        reasons = [(name, outcome.reason) for name, outcome in failed]
        raise nothing_done(ctx.job.source.name, [*reasons, *unpacked.failures])
    with scratch_folder(ctx.limits.scratch) as folder:
        stored = store(results.files(value.outcomes, folder), ctx)
    told = _url_encoded(results.failures)
    return {**stored, "failures": told} if told else stored


@dataclass
class _Results:
    """The files of the result, drawn one by one, and what is learnt of them on the way."""

    ctx: Context[Any]
    unpacked: Unpacked
    rows: list[dict[str, Any]] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)

    def files(self, outcomes: tuple[Outcome, ...], folder: Path) -> Iterator[OutputFile]:
        """Yield the files of each child's result, under the folder and stem of its input."""
        for number, (name, outcome) in enumerate(zip(self.unpacked.names, outcomes, strict=True)):
            try:
                yield from self._of_one(name, outcome, folder / "one")
            except MissingObject:
                self._failed(name, "its result is gone from the bucket; send the file again.")
            except UnreadableArchive as exc:
                self._failed(name, str(exc))
            shutil.rmtree(folder / "one", ignore_errors=True)
            self.ctx.report.progress(number + 1, len(outcomes))
        for name, reason in self.unpacked.failures:
            self._failed(name, reason)
        self.ctx.report.note(**self._sums())
        summary, failures = (f"{stem}.csv" for stem in TABLES)
        yield OutputFile(summary, _table(["file", "result", *self._columns()], self.rows))
        if self.failures:
            rows = [{"file": name, "reason": reason} for name, reason in self.failures]
            yield OutputFile(failures, _table(["file", "reason"], rows))

    def _of_one(self, name: str, outcome: Outcome, folder: Path) -> Iterator[OutputFile]:
        if not outcome.ok:
            self._failed(name, outcome.reason)
            return
        found = fetch_result(self.ctx.storage, outcome.output["output_file_name"], folder)
        stem = stem_of(PurePosixPath(name).name)
        place = PurePosixPath(name).parent
        self.rows.append(
            {
                "file": name,
                "result": "done",
                **_counts(found.get(f"{stem}_job.json")),
                "seconds": f"{outcome.seconds:.2f}",
            }
        )
        for file, path in sorted(found.items()):
            yield OutputFile(self._place(place, stem, file), path)

    def _place(self, folder: PurePosixPath, stem: str, file: str) -> str:
        """Return where a file of a child's result goes: named after the input, and no other's."""
        rest = file.removeprefix(stem) if file.startswith((f"{stem}_", f"{stem}.")) else f"_{file}"
        number, name = 1, str(folder / f"{stem}{rest}")
        while name.casefold() in self.taken:  # a_b.tif's own, and part b of a.tif
            number += 1
            name = str(folder / f"{stem}-{number}{rest}")
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
