"""Run all tests: `python -m tests`, in three groups beside each other.

The fault suite mostly waits; unit and contract tests need no model server; what starts whole stacks
takes longest and is shown as it runs. All are measured by coverage. What the other groups say is
shown when that one is through, and the exit status is the worst of the three.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

HERE = Path(__file__).parent
PYTEST = (sys.executable, "-m", "coverage", "run", "-m", "pytest")
SHOWN = ("acceptance", "integration")
BESIDE = (("unit", "contract", "fuzz"), ("faults",))


def main() -> int:
    """Run all groups; pass Ctrl-C on to them by not being in their way."""
    named = {*SHOWN, *(folder for group in BESIDE for folder in group)}
    forgotten = {path.relative_to(HERE).parts[0] for path in HERE.rglob("test_*.py")} - named
    if forgotten:
        raise SystemExit(f"no group runs the tests in {', '.join(sorted(forgotten))}.")
    with ExitStack() as ending:
        logs = [ending.enter_context(tempfile.TemporaryFile("w+")) for _group in BESIDE]
        beside = [_start(group, log) for group, log in zip(BESIDE, logs, strict=True)]
        for process in beside:
            ending.callback(process.wait)
            ending.callback(process.terminate)
        shown = subprocess.run([*PYTEST, *_paths(SHOWN)], check=False)
        status = max(shown.returncode, *(process.wait() for process in beside))
        for log in logs:
            log.seek(0)
            sys.stdout.writelines(log)
    return status


def _start(group: Sequence[str], log: IO[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([*PYTEST, *_paths(group)], stdout=log, stderr=log)


def _paths(group: Sequence[str]) -> list[str]:
    return [str(HERE / name) for name in group]


if __name__ == "__main__":
    sys.exit(main())
