"""Measurements that are modules by themselves, as rows: what they print is kept."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

from benchmarks.figures import Figure, Result
from benchmarks.runs import Effort
from benchmarks.stack import Site

__all__ = ["module"]

_LIMIT_S = 300.0


def module(name: str) -> Callable[[Site, Effort], Result]:
    """Return the row of `python -m benchmarks.<name>`; its exit status says if a goal is missed.

    It takes minutes, so that a quick run leaves it out.
    """

    def row(_site: Site, effort: Effort) -> Result:
        if effort.quick:
            return Result()
        command = [sys.executable, "-m", f"benchmarks.{name}"]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_LIMIT_S, check=False
        )
        if done.returncode not in (0, 1):
            raise RuntimeError(f"it ended with {done.returncode}: {done.stderr[-500:]}")
        missed = Figure("goals missed", "", (float(done.returncode),), 0.0)
        return Result((missed,), facts={"said": done.stdout.strip().splitlines()})

    return row
