"""Signs of life of a process: a file that is touched while the work goes on, and who looks at it.

`python -m kiosk_tasks.run.liveness FILE SECONDS` is the probe: it ends with 0 if the file was
touched within that time, else with 1 and a sentence. It imports nothing but the standard library,
for an orchestrator starts it every few seconds.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

__all__ = ["age_s", "main", "sign"]


def sign(file: Path | None) -> None:
    """Leave a sign of life there; nothing where there is no such file to be kept."""
    if file is not None:
        file.touch()


def age_s(file: Path) -> float | None:
    """Return how long ago the last sign was left, seconds; None if there is none."""
    try:
        return time.time() - file.stat().st_mtime
    except FileNotFoundError:
        return None


def main(arguments: list[str]) -> int:
    """Tell whether the last sign of life is young enough: file, seconds."""
    file, most_s = Path(arguments[0]), float(arguments[1])
    age = age_s(file)
    if age is None:
        sys.stdout.write(f"{file}: no sign of life yet.\n")
        return 1
    if age > most_s:
        sys.stdout.write(f"{file}: the last sign of life is {age:.0f} s old, over {most_s:g} s.\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
