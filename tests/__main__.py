"""Run all tests: `python -m tests`, in groups, four of which run beside each other.

The fault suite mostly waits, and what starts whole stacks waits for its parts. Coverage measures
the groups that test the code part by part: it makes everything a third slower. The first group is
shown as it runs; what the others say is shown when that one is through, and the exit status is the
worst of all.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
PYTEST = ("-m", "pytest")
MEASURED = ("-m", "coverage", "run", *PYTEST)
GROUPS = (
    ("acceptance",),
    ("integration",),
    ("deployment",),
    ("faults",),
    ("security",),
    ("unit", "contract", "fuzz"),
)
"""The longest first: the last begins when one of the others is through."""
AT_ONCE = 4
NOT_MEASURED = ("acceptance", "faults")
"""What they cover the others do, but for the way through everything."""


def main() -> int:
    """Run all groups; pass Ctrl-C on to them by not being in their way."""
    forgotten = {path.relative_to(HERE).parts[0] for path in HERE.rglob("test_*.py")}
    forgotten -= {folder for group in GROUPS for folder in group}
    if forgotten:
        raise SystemExit(f"no group runs the tests in {', '.join(sorted(forgotten))}.")
    with ThreadPoolExecutor(AT_ONCE) as at_once:
        shown, *others = [at_once.submit(_run, group, shown=group is GROUPS[0]) for group in GROUPS]
        outcomes = [shown.result(), *(other.result() for other in others)]
    sys.stdout.writelines(said for _status, said in outcomes)
    return max(status for status, _said in outcomes)


def _run(group: Sequence[str], *, shown: bool) -> tuple[int, str]:
    """Run one group; return its exit status and what it said, unless that was shown."""
    how = PYTEST if set(group) <= set(NOT_MEASURED) else MEASURED
    command = [sys.executable, *how, *(str(HERE / folder) for folder in group)]
    if shown:
        return subprocess.run(command, check=False).returncode, ""
    with tempfile.TemporaryFile("w+") as log:
        status = subprocess.run(command, check=False, stdout=log, stderr=log).returncode
        log.seek(0)
        return status, log.read()


if __name__ == "__main__":
    sys.exit(main())
