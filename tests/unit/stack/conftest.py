"""Small processes as parts, so that a test takes tenths of a second."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from kiosk_tasks.stack import Part

MakePart = Callable[..., Part]


def gone(processes: Sequence[psutil.Process], *, limit_s: float = 10.0) -> bool:
    """Wait until every process has ended (a zombie that nobody collects has)."""
    deadline = time.monotonic() + limit_s
    while any(map(_runs, processes)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def make_part(tmp_path: Path) -> MakePart:
    """Return a maker of parts that run Python code and are ready once they touch $READY."""

    def make(name: str, code: str, **more: Any) -> Part:
        ready = tmp_path / f"{name}.ready"
        script = f"import os, signal, sys, time, pathlib\n{code}\n"
        return Part(
            **{
                "name": name,
                "argv": (sys.executable, "-S", "-I", "-c", script),
                "env": {**os.environ, "READY": str(ready)},
                "log_path": tmp_path / f"{name}.log",
                "ready": ready.exists,
                "start_limit_s": 20.0,
                **more,
            }
        )

    return make
