"""Run all tests: `python -m tests`. The fault suite, which mostly waits, beside all the others.

Both are measured by coverage. What the fault suite says is shown when the others are through, and
the exit status is the worse of the two.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
PYTEST = (sys.executable, "-m", "coverage", "run", "-m", "pytest")


def main() -> int:
    """Run both halves; pass Ctrl-C on to them by not being in their way."""
    with tempfile.TemporaryFile("w+") as said:
        faults = subprocess.Popen([*PYTEST, str(HERE / "faults")], stdout=said, stderr=said)
        try:
            others = subprocess.run([*PYTEST, f"--ignore={HERE / 'faults'}"], check=False)
            status = max(others.returncode, faults.wait())
        finally:
            faults.terminate()
            faults.wait()
        said.seek(0)
        sys.stdout.writelines(said)
    return status


if __name__ == "__main__":
    sys.exit(main())
