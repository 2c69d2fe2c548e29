"""Helper processes of the tests: they end with the test process, however that ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["child"]

_DIE_WITH_PARENT = """
import ctypes, os, signal, sys
try:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG; Linux only
except AttributeError:
    pass
os.execv(sys.argv[1], sys.argv[1:])
"""


@contextmanager
def child(
    argv: Sequence[str],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stop_s: float = 20.0,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program; SIGTERM on leaving, SIGKILL if it does not end within `stop_s`."""
    wrapped = [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, *argv]
    with log.open("ab") as output:
        process = subprocess.Popen(
            wrapped,
            env=dict(os.environ if env is None else env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(stop_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
