"""`python -m benchmarks`: measure every row on the real stack; exit status 1 if a goal is missed.

`--only ROW …` measures some. `--keep` writes what was measured to `benchmarks/results/` and into
`docs/performance.md`; with `--only`, the other rows stay as they were. `--compare OLD.json` prints
ratios. `--quick` shows in some minutes that every row works.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from benchmarks import document, report
from benchmarks.measuring import measured, merged, read, write
from benchmarks.rows import ROWS
from benchmarks.runs import Effort


def main() -> int:
    """Measure, print and write."""
    given = _parser().parse_args()
    names = [name for name in ROWS if not given.only or name in given.only]
    old = read(given.compare) if given.compare else None
    before = read(document.RESULTS) if given.only and document.RESULTS.exists() else None

    def save(kept: dict[str, Any]) -> None:
        if given.json:
            write(kept, given.json)
        if given.keep:
            write(merged(kept, before), document.RESULTS)

    kept = measured(names, Effort(quick=given.quick), save)
    print("\n\n".join(document.parts(kept).values()))
    if old:
        print(f"\nAgainst {given.compare}:\n\n{report.compared(kept, old)}")
    if given.keep:
        document.fill()
    missed = report.missed(kept)
    print(f"\n{len(missed)} missed", *missed, sep="\n  ")
    return int(bool(missed))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--only", nargs="+", choices=ROWS, metavar="ROW", help=f"of {', '.join(ROWS)}")
    add("--quick", action="store_true", help="few runs of small work; no measurements")
    add("--json", type=Path, help="write everything there, with the raw runs")
    add("--compare", type=Path, metavar="OLD.json", help="print ratios to an older run")
    add("--keep", action="store_true", help="write benchmarks/results and docs/performance.md")
    return parser


if __name__ == "__main__":
    sys.exit(main())
