"""This process's side of `guard.py`: start it, tell it which process groups there are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from kiosk_tasks.stack.errors import PartDied

__all__ = ["MARKER_VARIABLE", "Watchdog"]

MARKER_VARIABLE = "KIOSK_STACK_ID"
SCRIPT = Path(__file__).with_name("guard.py")
CLOSE_LIMIT_S = 30.0


class Watchdog:
    """The guard process and the pipe whose end tells it that this process is gone."""

    def __init__(self, marker: str, *, keep_open: Collection[int] = ()) -> None:
        """Start the guard.

        marker: the value of `MARKER_VARIABLE` in the environment of each part.
        keep_open: file descriptors that the guard holds until it is done.
        """
        read_end, self._write_end = os.pipe()
        environ = {name: value for name, value in os.environ.items() if name != MARKER_VARIABLE}
        try:
            self._process = subprocess.Popen(  # noqa: S603  # this package's own script
                _argv(read_end, marker),
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(read_end, *keep_open),
                start_new_session=True,
            )
        except BaseException:
            os.close(self._write_end)
            raise
        finally:
            os.close(read_end)
        self._open = True

    @property
    def pid(self) -> int:
        """Process id of the guard."""
        return self._process.pid

    def watch(
        self, pid: int, stop_signal: signal.Signals, grace_s: float, *, crew: bool = False
    ) -> None:
        """Have the group that `pid` leads ended when this process is gone.

        crew: it ends at the same time as others of which that was said, and before all the rest.
        """
        self._say(f"+{pid} {int(stop_signal)} {grace_s} {int(crew)}\n")

    def forget(self, pid: int) -> None:
        """The group has ended: its number may be given to others from now on."""
        self._say(f"-{pid}\n")

    def check(self) -> None:
        """Raise PartDied if the guard has ended: nothing would end the parts after a kill."""
        code = self._process.poll()
        if code is not None:
            raise PartDied(f"The watchdog ended with exit code {code}. Start the stack again.")

    def close(self) -> None:
        """Let the guard end what is left, and wait until it has."""
        if self._open:
            self._open = False
            os.close(self._write_end)
        try:
            self._process.wait(CLOSE_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _say(self, line: str) -> None:
        with suppress(BrokenPipeError):  # `check` tells of a guard that is gone
            os.write(self._write_end, line.encode())


def _argv(read_end: int, marker: str) -> list[str]:
    """Return the guard's command line; without site-packages it starts in some 20 ms."""
    me = str(os.getpid())
    return [
        sys.executable,
        "-S",
        "-I",
        str(SCRIPT),
        str(read_end),
        me,
        f"{MARKER_VARIABLE}={marker}",
    ]
