"""`kiosk up` as a process, for tests that talk to its web service."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from kiosk_tasks.stack import running
from tests.conftest import wait_for
from tests.processes import child

__all__ = ["QUICK", "Kiosk", "kiosk_up"]

QUICK = {"KIOSK_MODEL_WAIT": "5", "KIOSK_MAX_RETRIES": "1"}
"""Settings with which a test need not wait for what fails on purpose."""

_START_LIMIT_S = 120.0
_STOP_LIMIT_S = 60.0


@dataclass(frozen=True)
class Kiosk:
    """A running stack: where its page is, and the environment of a process that belongs to it."""

    url: str
    home: Path
    env: Mapping[str, str] = field(repr=False)
    """What a command line, a client or a bridge beside it is started with."""
    values: Mapping[str, str] = field(repr=False)
    """What `stack.env` says."""
    models: Path
    """Folder of models that it serves beside its own; tests put theirs there, under own names."""
    log: Path

    def run(self, *arguments: str, limit_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a `kiosk` command beside it, whatever its exit code."""
        return subprocess.run(
            [sys.executable, "-m", "kiosk_tasks", *arguments],
            env=dict(self.env),
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
        )


@contextmanager
def kiosk_up(
    folder: Path,
    *,
    env: Mapping[str, str] | None = None,
    workers: int = 1,
    options: Sequence[str] = (),
) -> Iterator[Kiosk]:
    """Run `kiosk up` in a folder on free ports until the body is over; nothing is left then.

    env: settings; none of the developer's own count.
    options: more of the command's.
    """
    home, models, log = folder / "home", folder / "models", folder / "up.log"
    models.mkdir(parents=True, exist_ok=True)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("KIOSK_")}
    quick = {**QUICK, "KIOSK_MODELS_DIR": str(models)}
    environ = {**clean, "KIOSK_HOME": str(home), "COLUMNS": "200", **quick, **(env or {})}
    argv = [sys.executable, "-m", "kiosk_tasks", "up", "--no-flower", "--port", "0"]
    with child(
        [*argv, "--workers", str(workers), *options], log=log, env=environ, stop_s=_STOP_LIMIT_S
    ) as process:
        wait_for(
            lambda: running(home) or process.poll() is not None,
            limit_s=_START_LIMIT_S,
            what=f"kiosk up, see {log}",
        )
        values = running(home)
        assert values is not None, log.read_text()
        family = psutil.Process(process.pid).children(recursive=True)
        yield Kiosk(values["KIOSK_URL"], home, environ, values, models, log)
    assert psutil.wait_procs(family, timeout=10)[1] == []
