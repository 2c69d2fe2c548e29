"""What rows yield: figures with their raw runs and goals, tables, and the facts of the machine."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = ["Figure", "Result", "Table", "machine", "rounded"]

PACKAGES = ("celery", "kombu", "numpy", "scipy", "scikit-image", "grpcio", "tensorflow-cpu", "moto")
_ROOT = Path(__file__).resolve().parents[1]
_DIGITS = 4  #: of what is kept


@dataclass(frozen=True)
class Figure:
    """One measured quantity.

    values: of each run. goal: None if there is none. at_least: the goal is a lower bound.
    """

    name: str
    unit: str
    values: tuple[float, ...]
    goal: float | None = None
    at_least: bool = False

    @property
    def median(self) -> float:
        """The figure that counts."""
        return statistics.median(self.values)

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached; None if there is none."""
        if self.goal is None:
            return None
        return self.median >= self.goal if self.at_least else self.median <= self.goal

    def to_json(self) -> dict[str, Any]:
        """Return it as it is kept."""
        kept = {"name": self.name, "unit": self.unit, "median": rounded(self.median)}
        kept["values"] = [rounded(value) for value in self.values]
        if self.goal is not None:
            kept |= {"goal": self.goal, "at_least": self.at_least, "reached": self.reached}
        return kept


@dataclass(frozen=True)
class Table:
    """Rows of the same kind, such as one for each image size.

    rows: cells by column; numbers are rounded when they are kept.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[float | str, ...], ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as it is kept."""
        kept = asdict(self)
        kept["rows"] = [[rounded(c) if isinstance(c, float) else c for c in r] for r in self.rows]
        return kept


@dataclass(frozen=True)
class Result:
    """What a row has measured."""

    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)  #: whatever else others need of it

    def to_json(self) -> dict[str, Any]:
        """Return it as it is kept."""
        return {
            "figures": [figure.to_json() for figure in self.figures],
            "tables": [table.to_json() for table in self.tables],
            "facts": dict(self.facts),
        }


def rounded(value: float) -> float:
    """Return a number with four significant digits."""
    return float(f"{value:.{_DIGITS}g}")


def machine() -> dict[str, Any]:
    """Return what the figures depend on: processor, system, versions, commit, load."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "commit": _git("rev-parse", "--short", "HEAD"),
        "changed": bool(_git("status", "--porcelain", "--", "kiosk_tasks", "celeryconfig.py")),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "load": rounded(os.getloadavg()[0]),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _git(*arguments: str) -> str:
    command: Sequence[str] = ["git", "-C", str(_ROOT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip()
