"""What a person sees while jobs run: bars on a terminal, lines elsewhere, a table at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from kiosk_tasks.archive_jobs import COUNTS
from kiosk_tasks.ledger import Record

__all__ = ["Board", "Outcome", "summary_table"]

_STAGE_WORDS = {
    "new": "waiting",
    "started": "reading",
    "pre-processing": "preparing",
    "predicting": "predicting",
    "post-processing": "labelling",
    "saving-results": "saving",
    "waiting": "in parts",
}


@dataclass(frozen=True)
class Outcome:
    """How one image ended.

    seconds: from the start of its job to its end. counts: of what the job has found: cells, tracks.
    notes: what the job's stages noted, and the seconds of each.
    there: it was there already, of an earlier run; nothing was done.
    """

    image: str
    job: str
    status: str
    seconds: float
    megabytes: float
    counts: Mapping[str, int]
    reason: str
    files: tuple[str, ...]
    notes: Mapping[str, Any]
    there: bool = False


class Board:
    """Live progress of some jobs: one bar each while they run, and one for all."""

    def __init__(self, count: int, *, console: Console) -> None:
        """count: how many jobs there will be."""
        self._console = console
        self._live = console.is_terminal and not console.is_dumb_terminal
        self._bars: dict[str, TaskID] = {}
        self._said: dict[str, str] = {}
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[stage]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not self._live,
        )
        self._all = self._progress.add_task("all images", total=count, stage="", visible=count > 1)

    def __enter__(self) -> Board:
        """Start drawing."""
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop drawing."""
        self._progress.stop()

    def show(self, record: Record, name: str) -> None:
        """Show what a job's record says now.

        name: what to call the job.
        """
        status = str(record.status)
        stage = _STAGE_WORDS.get(status, status)
        if record.status.terminal:
            self._close(record, name)
        elif self._live and status != "new":
            bar = self._bars.get(record.id)
            if bar is None:
                bar = self._bars[record.id] = self._progress.add_task(name, total=100, stage=stage)
            self._progress.update(bar, completed=record.progress, stage=stage)
        elif (
            not self._live
            and status != "new"
            and self._said.get(record.id) != f"{stage} {record.progress}"
        ):
            self._said[record.id] = f"{stage} {record.progress}"
            self._console.print(f"{name}: {stage} ({record.progress} %)", highlight=False)

    def _close(self, record: Record, name: str) -> None:
        bar = self._bars.pop(record.id, None)
        if bar is not None:
            self._progress.remove_task(bar)
        self._progress.advance(self._all)
        mark = "[green]done[/]" if record.status == "done" else f"[red]{record.status}[/]"
        self._console.print(f"{name}: {mark}", highlight=False)


def summary_table(outcomes: Sequence[Outcome], *, seconds: float) -> Table:
    """Return the closing table: a row per image, and the sum."""
    table = Table(show_footer=len(outcomes) > 1, pad_edge=False)
    megabytes = sum(o.megabytes for o in outcomes if not o.there)
    counted = [name for name in COUNTS if any(name in o.counts for o in outcomes)]
    table.add_column("image", footer=f"{len(outcomes)} images", overflow="fold")
    table.add_column("result", footer=f"{sum(o.status == 'done' for o in outcomes)} done")
    for name in counted:
        total = sum(o.counts.get(name, 0) for o in outcomes)
        table.add_column(name, justify="right", footer=str(total))
    table.add_column("seconds", justify="right", footer=f"{seconds:.2f}")
    table.add_column("MB/s", justify="right", footer=f"{megabytes / max(seconds, 1e-9):.2f}")
    for o in outcomes:
        table.add_row(
            o.image,
            _result(o),
            *(str(o.counts.get(name, "")) for name in counted),
            "" if o.there else f"{o.seconds:.2f}",
            f"{o.megabytes / o.seconds:.2f}" if o.status == "done" and o.seconds else "",
        )
    return table


def _result(outcome: Outcome) -> str:
    word = "done before" if outcome.there else outcome.status
    word = f"[green]{word}[/]" if outcome.status == "done" else f"[red]{word}[/]"
    return f"{word}: {outcome.reason}" if outcome.reason else word
