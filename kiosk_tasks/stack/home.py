"""The folder that holds a stack's state, its lock, and the file by which others find the stack.

<home>/stack.lock    held while a stack, or the guard that cleans up after it, is alive
<home>/stack.env     where the parts are; only while the stack runs, readable by its owner only
<home>/link.secret   signs links to results; made once, readable by its owner only
<home>/valkey/       the broker's data: jobs survive a restart
<home>/bucket/       inputs and outputs
<home>/run/<start>/  logs and scratch of one start; the newest few are kept
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil

from kiosk_tasks.settings import STACK_ENV
from kiosk_tasks.stack.errors import HomeBusy

__all__ = ["PID_KEY", "Lock", "forget", "new_run_folder", "publish", "running"]

PID_KEY = "KIOSK_STACK_PID"
LOCK = "stack.lock"
RUNS_KEPT = 5
CLEAN_UP_LIMIT_S = 45.0  # how long the guard of a killed stack may take
CLOCK_SLACK_S = 2.0


class Lock:
    """The lock of a home folder; `fd` may be inherited, and then holds it as well."""

    def __init__(self, home: Path) -> None:
        """Take the lock.

        Raises HomeBusy, with the process that holds it. Where that process is dead, its guard is
        still ending its parts: this waits for it.
        """
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.fd = os.open(home / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self._take(home)
        except BaseException:
            os.close(self.fd)
            raise

    def _take(self, home: Path) -> None:
        deadline = time.monotonic() + CLEAN_UP_LIMIT_S
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            holder = os.pread(self.fd, 32, 0).decode().strip()
            if _is_alive(holder) or time.monotonic() > deadline:
                raise HomeBusy(
                    f"The folder {home} is used by another stack, process {holder or 'unknown'}. "
                    "Stop that one, or give this one another folder (KIOSK_HOME)."
                )
            time.sleep(0.1)
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Give the lock up, unless another process has inherited it and still runs."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def new_run_folder(home: Path) -> Path:
    """Make the folder of this start, and remove the oldest of those before it.

    The lock must be held.
    """
    runs = home / "run"
    runs.mkdir(mode=0o700, exist_ok=True)
    for old in sorted(runs.iterdir())[: -RUNS_KEPT + 1]:
        shutil.rmtree(old, ignore_errors=True)
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
    folder = runs / f"{now}-{os.getpid()}"
    folder.mkdir(mode=0o700)
    return folder


def publish(home: Path, values: Mapping[str, str]) -> None:
    """Write `stack.env`, whole or not at all, for its owner only."""
    fd, name = tempfile.mkstemp(dir=home, prefix=f".{STACK_ENV}.")
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.writelines(f"{key}={value}\n" for key, value in values.items())
        Path(name).replace(home / STACK_ENV)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def forget(home: Path) -> None:
    """Remove `stack.env`."""
    (home / STACK_ENV).unlink(missing_ok=True)


def running(home: Path) -> dict[str, str] | None:
    """Return what `stack.env` says of the stack that runs in this home; None if none does.

    A file whose process is gone is removed.
    """
    path = home / STACK_ENV
    try:
        with path.open(encoding="utf-8") as file:
            status = os.fstat(file.fileno())
            pairs = (line.rstrip("\n").partition("=") for line in file)
            values = {key: value for key, _, value in pairs}
    except FileNotFoundError:
        return None
    if _is_alive(values.get(PID_KEY, ""), since=status.st_mtime):
        return values
    with suppress(FileNotFoundError):
        if path.stat().st_ino == status.st_ino:  # not one that was written meanwhile
            path.unlink()
    return None


def _is_alive(pid: str, *, since: float | None = None) -> bool:
    """Tell whether the process runs; with `since`, whether it was there at that time."""
    try:
        process = psutil.Process(int(pid))
        alive = process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        return alive and (since is None or process.create_time() <= since + CLOCK_SLACK_S)
    except (ValueError, psutil.NoSuchProcess):
        return False
