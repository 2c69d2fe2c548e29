"""Measures rows one after the other; what fails is told, and the others go on."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.figures import Result, machine, rounded
from benchmarks.rows import ROWS
from benchmarks.runs import Effort
from benchmarks.stack import Site, bench_stack

__all__ = ["measured", "merged", "read", "write"]

FORMAT = 1


def measured(
    names: Iterable[str],
    effort: Effort,
    on_row: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:
    """Measure rows by name; return what is kept of them, with the machine that did it.

    on_row: given what there is so far after each row, so that an end by force loses one row.
    """
    kept: dict[str, Any] = {"format": FORMAT, "quick": effort.quick, "machine": machine()}
    kept["rows"] = {}
    with bench_stack() as site:
        for name in names:
            measured_at = {"commit": kept["machine"]["commit"], "quick": effort.quick}
            kept["rows"][name] = {**_row(name, site, effort), **measured_at}
            on_row(kept)
    return kept


def merged(new: dict[str, Any], old: dict[str, Any] | None) -> dict[str, Any]:
    """Return an older run with the new run's rows in place of its own, in the rows' order."""
    rows = {**(old["rows"] if old else {}), **new["rows"]}
    return {**new, "rows": {name: rows[name] for name in ROWS if name in rows}}


def read(file: Path) -> dict[str, Any]:
    """Read what was kept. Raises ValueError for a file of another format."""
    kept: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if kept.get("format") != FORMAT:
        raise ValueError(f"{file} is of another format; measure anew.")
    return kept


def write(kept: dict[str, Any], file: Path) -> None:
    """Write it, a row's figure per line."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _row(name: str, site: Site, effort: Effort) -> dict[str, Any]:
    row, start, load = ROWS[name], time.monotonic(), os.getloadavg()[0]
    print(f"{name}: {row.title} …", file=sys.stderr, flush=True)
    error = ""
    try:
        result = row.measure(site, effort)
    except Exception as exc:  # one row's failure is not the others'
        traceback.print_exc()
        result, error = Result(), f"{type(exc).__name__}: {exc}".splitlines()[0]
    seconds = time.monotonic() - start
    for figure in result.figures:
        if figure.goal is not None:
            verdict = "reached" if figure.reached else "MISSED"
            told = f"{figure.median:.4g} {figure.unit}, goal {figure.goal:g}, {verdict}"
            print(f"    {figure.name}: {told}", file=sys.stderr)
    print(f"    {seconds:.0f} s, load {load:.1f}", file=sys.stderr, flush=True)
    about = {"title": row.title, "old": row.old, "seconds": round(seconds), "load": rounded(load)}
    return {**about, "error": error, **result.to_json()}
