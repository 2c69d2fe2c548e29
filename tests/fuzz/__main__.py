"""`python -m tests.fuzz --minutes 5`: mutations of sound files, read in a process of their own.

A finding is anything but success or a KioskError: another exception, a crash, a hang of five
seconds, memory. Each is printed and its file kept; the same seed gives the same files.
"""

from __future__ import annotations

import argparse
import json
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.mutate import mutated
from tests.fuzz.seeds import READERS, seeds

_HANG_S = 5.0
_START_S = 60.0
_BATCH = 50  # files for one reader before the next has its turn


@dataclass
class Tally:
    """What came of the files of one reader."""

    executions: int = 0
    seconds: float = 0.0
    slowest_s: float = 0.0
    slowest: int = 0  # its number
    largest_mb: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)


class Child:
    """The process that reads; started anew when it has died."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None
        self.new = True  #: whether the last answer took a start as well

    def run(self, reader: str, number: int) -> tuple[str, str, float]:
        """Return outcome, finding ("" if none) and growth in MB."""
        self.new = self._process is None
        process = self._process or self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{reader} {number}\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], _START_S if self.new else _HANG_S)
        if not ready:
            self.close()
            return "hang", f"no answer after {_HANG_S:g} s", 0.0
        line = process.stdout.readline()
        if not line:
            code = process.wait()
            self.close()
            return "crash", f"the process ended with {code}", 0.0
        outcome, finding, grown = json.loads(line)
        return outcome, finding, grown

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _started(self) -> subprocess.Popen[str]:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.child", str(self._folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self._process


def main() -> int:
    """Run; return 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=None, help="default: the time")
    parser.add_argument("--reader", choices=READERS, action="append")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "kiosk-fuzz")
    options = parser.parse_args()
    first = (int(time.time()) if options.seed is None else options.seed) * 10**7
    tallies = {reader: Tally() for reader in options.reader or READERS}
    end = time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory() as folder:
        child = Child(Path(folder))
        number = first
        while time.monotonic() < end:
            for reader, tally in tallies.items():
                for step in range(_BATCH):
                    _one(child, reader, number + step, tally, options.keep)
            number += _BATCH
        child.close()
    _tell(tallies, first // 10**7)
    return 1 if any(tally.findings for tally in tallies.values()) else 0


def _one(child: Child, reader: str, number: int, tally: Tally, keep: Path) -> None:
    began = time.perf_counter()
    outcome, finding, grown = child.run(reader, number)
    seconds = time.perf_counter() - began
    tally.executions += 1
    tally.seconds += seconds
    if seconds > tally.slowest_s and not child.new:
        tally.slowest_s, tally.slowest = seconds, number
    tally.largest_mb = max(tally.largest_mb, grown)
    tally.outcomes[outcome] += 1
    if finding:
        keep.mkdir(parents=True, exist_ok=True)
        (keep / f"{number}.{reader}").write_bytes(mutated(seeds(reader), number))
        tally.findings.append(f"{number}.{reader}")
        _say(f"{keep / f'{number}.{reader}'}: {finding}")


def _tell(tallies: dict[str, Tally], seed: int) -> None:
    _say(f"seed {seed}")
    titles = f"{'reader':8}{'files':>9}{'per s':>8}{'slowest':>9}{'growth':>9}{'findings':>10}"
    _say(f"{titles}  outcomes, number of the slowest")
    for reader, tally in tallies.items():
        rate = tally.executions / max(tally.seconds, 1e-9)
        outcomes = ", ".join(f"{name} {count}" for name, count in tally.outcomes.most_common())
        _say(
            f"{reader:8}{tally.executions:9}{rate:8.0f}{tally.slowest_s:7.2f} s"
            f"{tally.largest_mb:6.0f} MB{len(tally.findings):10}  {outcomes}, {tally.slowest}"
        )


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
