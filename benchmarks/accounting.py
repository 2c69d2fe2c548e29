"""What processes use: CPU seconds and peak memory of each role, and the model's own seconds.

CPU seconds of a process are those of all its threads, also of those that have ended, and of its
children that have ended; the kernel tells them in steps of 10 ms. The broker tells its own to the
microsecond.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import redis

__all__ = ["ModelLog", "Processes", "busy_seconds", "minus"]

_RUN = re.compile(r"time=(\S+ \S+) .*event=run .* items=(\d+) seconds=([0-9.]+)")


@dataclass(frozen=True)
class Processes:
    """The processes of each role, and a client of the broker.

    roles: "worker" is the parent; its children are the role "child".
    """

    roles: Mapping[str, psutil.Process]
    broker: redis.Redis

    def cpu_s(self) -> dict[str, float]:
        """Return the CPU seconds that each role has used since its start."""
        used = {}
        for role, process in self.roles.items():
            times = process.cpu_times()
            used[role] = times.user + times.system
            if role == "worker":
                ended = times.children_user + times.children_system
                used["child"] = ended + sum(map(_own_cpu_s, process.children()))
        info: Any = self.broker.info("cpu")
        used["broker"] = float(info["used_cpu_sys"]) + float(info["used_cpu_user"])
        return used

    def forget_peaks(self) -> None:
        """Have the kernel count peaks of memory from now on; Linux only."""
        for process in (*self.roles.values(), *self._children()):
            with suppress(OSError):
                Path(f"/proc/{process.pid}/clear_refs").write_text("5")

    def peak_mb(self) -> dict[str, float]:
        """Return the peak of each role's resident memory, MB; of children, the largest one's."""
        peaks = {role: _peak_mb(process) for role, process in self.roles.items()}
        return peaks | {"child": max(map(_peak_mb, self._children()), default=0.0)}

    def _children(self) -> list[psutil.Process]:
        worker = self.roles.get("worker")
        return worker.children() if worker else []


class ModelLog:
    """The model server's log, read from where it ended last time."""

    def __init__(self, path: Path) -> None:
        """path: of the log; what it holds now is skipped."""
        self._path = path
        self._read = path.stat().st_size

    def runs(self) -> list[tuple[float, float, int]]:
        """Return the runs since the last look: begin and end, seconds, and tiles."""
        with self._path.open("rb") as log:
            log.seek(self._read)
            text = log.read().decode()
            self._read = log.tell()
        found = []
        for moment, items, seconds in _RUN.findall(text):
            end = datetime.strptime(moment, "%Y-%m-%d %H:%M:%S,%f").timestamp()
            found.append((end - float(seconds), end, int(items)))
        return found


def busy_seconds(runs: Iterable[tuple[float, float, int]]) -> float:
    """Return for how long at least one of the runs was under way."""
    busy, until = 0.0, float("-inf")
    for begin, end, _items in sorted(runs):
        busy += max(0.0, end - max(begin, until))
        until = max(until, end)
    return busy


def minus(later: Mapping[str, float], earlier: Mapping[str, float]) -> dict[str, float]:
    """Return the differences; a role that was not there earlier counts from 0."""
    return {role: seconds - earlier.get(role, 0.0) for role, seconds in later.items()}


def _own_cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def _peak_mb(process: psutil.Process) -> float:
    if sys.platform != "linux":
        return float(process.memory_info().rss) / 1e6
    status = Path(f"/proc/{process.pid}/status")
    with suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        return int(found[1]) * 1024 / 1e6 if found else 0.0
    return 0.0
