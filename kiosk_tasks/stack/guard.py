"""The watchdog: when the process that started a stack is gone, end everything it started.

It is run as a script, `python -S -I guard.py FD PARENT MARKER`, on the standard library alone. FD
is the read end of a pipe whose write end is with the parent alone. Each line that comes through it
says `+PID SIGNAL GRACE_S CREW` (this process leads a group; end it so) or `-PID` (it has ended).
The pipe closes when the parent stops in order and when it is killed, so both ends come down one
path:

1. each group is sent its signal, given its grace, then killed: first those of the crew (1), all at
   the same time, then the others (0) one by one, the last started first;
2. on Linux, whatever else carries MARKER in its environment is killed. That reaches processes
   which left their group, and the one that was started a moment before it could be announced.

The guard lives in a session of its own, so that Ctrl-C or a closed terminal does not end it. It
also holds the lock of the home folder until it is done.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

PARENT_CHECK_S = 1.0  # a forked copy of the parent may keep the pipe open: look at the parent too
LONGEST_GRACE_S = 10.0
AFTER_KILL_S = 5.0
LOOK_S = 0.02
PROC = Path("/proc")

Groups = dict[int, tuple[int, float, bool]]


def main(fd: int, parent: int, marker: bytes) -> None:
    """Wait until the parent is gone, then end what it left."""
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.SIG_IGN)
    groups = _listen(fd, parent)
    crew = {pid: how for pid, how in groups.items() if how[2]}
    _end(crew)
    for pid, how in reversed(groups.items()):
        if pid not in crew:
            _end({pid: how})
    _sweep(marker)


def _listen(fd: int, parent: int) -> Groups:
    """Return the groups that are left when the pipe closes or the parent is another."""
    groups: Groups = {}
    rest = b""
    while True:
        readable, _, _ = select.select([fd], [], [], PARENT_CHECK_S)
        if readable:
            chunk = os.read(fd, 4096)
            if not chunk:
                return groups
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                _note(line.decode(), groups)
        elif os.getppid() != parent:
            return groups


def _note(line: str, groups: Groups) -> None:
    if line.startswith("+"):
        pid, number, grace_s, crew = line[1:].split()
        groups[int(pid)] = (int(number), min(float(grace_s), LONGEST_GRACE_S), crew == "1")
    else:
        groups.pop(int(line[1:]), None)


def _end(groups: Groups) -> None:
    """Ask the leaders to end and give them their grace, then kill what is left of their groups."""
    for pid, (number, _, _) in groups.items():
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
    grace_s = max((grace_s for _, grace_s, _ in groups.values()), default=0.0)
    _until(lambda: not any(map(_leader_runs, groups)), grace_s)
    for pid in groups:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
    _until(lambda: not any(map(_group_runs, groups)), AFTER_KILL_S)


def _sweep(marker: bytes) -> None:
    """Kill every process that has the marker in its environment, until none is found."""

    def none_left() -> bool:
        left = [pid for pid in _pids() if marker in _read(pid, "environ")]
        for pid in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        return not left

    _until(none_left, AFTER_KILL_S)


def _until(done: Callable[[], bool], limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while not done() and time.monotonic() < deadline:
        time.sleep(LOOK_S)


def _leader_runs(pid: int) -> bool:
    if not PROC.is_dir():
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, 0)
            return True
        return False
    return _group_of(pid) is not None


def _group_runs(group: int) -> bool:
    if not PROC.is_dir():
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, 0)
            return True
        return False
    return any(_group_of(pid) == group for pid in _pids())


def _group_of(pid: int) -> int | None:
    """Return the process group; None for a process that is gone or a zombie."""
    fields = _read(pid, "stat").rpartition(b")")[2].split()
    return int(fields[2]) if fields and fields[0] not in (b"Z", b"X") else None


def _pids() -> Iterator[int]:
    if PROC.is_dir():
        yield from (int(entry.name) for entry in PROC.iterdir() if entry.name.isdecimal())


def _read(pid: int, name: str) -> bytes:
    """Return a file of `/proc/<pid>`; nothing if the process is gone or someone else's."""
    with suppress(OSError):
        return (PROC / str(pid) / name).read_bytes()
    return b""


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3].encode())
