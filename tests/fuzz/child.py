"""The process in which mutations are read: `python -m tests.fuzz.child FOLDER`.

Takes lines `READER NUMBER` and answers each with a line of JSON: outcome, finding, megabytes.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import traceback
from pathlib import Path

from tests.fuzz.mutate import mutated
from tests.fuzz.seeds import READERS, seeds
from tests.fuzz.targets import run_reader

_MEMORY_BYTES = 2**30  # beyond what the process has when it begins
_GROWTH_MB = 128.0  # four times what the limits of the targets allow an image and its copies


def main() -> None:
    """Serve until the input ends."""
    folder = Path(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what libpng has to say
    for reader in READERS:
        for content in seeds(reader):
            _run(reader, content, folder)
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + _MEMORY_BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin:
        reader, number = line.split()
        before = _peak_mb()
        outcome, finding = _run(reader, mutated(seeds(reader), int(number)), folder)
        grown = _peak_mb() - before
        if not finding and grown > _GROWTH_MB:
            finding = f"{grown:.0f} MB more memory"
        print(json.dumps([outcome, finding, grown]), file=answers, flush=True)


def _run(reader: str, content: bytes, folder: Path) -> tuple[str, str]:
    path = folder / "input"
    path.write_bytes(content)
    try:
        return run_reader(reader, path), ""
    except BaseException as exc:
        if isinstance(exc, KeyboardInterrupt):
            raise
        return type(exc).__name__, traceback.format_exc(limit=-4)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
