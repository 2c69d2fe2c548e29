"""One part of the stack: what to run, and the process while it runs."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from kiosk_tasks.stack.errors import PartDied, PartNotReady
from kiosk_tasks.stack.priority import step_back
from kiosk_tasks.stack.probes import Probe

__all__ = ["Part", "Running"]

TAIL_LINES = 15
TAIL_BYTES = 16_384
UNREADY_GRACE_S = 1.0


def _nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Part:
    """A process of the stack.

    name: the word a person sees, for example "model server".
    env: the whole environment of the process.
    ready: asked again and again until it says yes.
    needs: names of the parts that must be ready before this one starts.
    before_start: called just before the process starts.
    nice: how far it steps back behind other parts that want the processor.
    crew: one of several alike that come and go: its end is not that of the stack, and the stack
        stops all of them at the same time.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)  # it holds passwords
    log_path: Path
    ready: Probe
    needs: frozenset[str] = frozenset()
    stop_signal: signal.Signals = signal.SIGTERM
    grace_s: float = 10.0
    start_limit_s: float = 60.0
    before_start: Callable[[], None] = _nothing
    nice: int = 0
    crew: bool = False


class Running:
    """A part's process, the leader of its own session and process group."""

    def __init__(self, part: Part) -> None:
        """Start the process; both its outputs go to the log."""
        self.part = part
        self.is_ready = False
        self._asked_to_end = False
        part.before_start()
        with part.log_path.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  # the stack's own command lines
                part.argv,
                env=dict(part.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._process.pid
        if part.nice:
            step_back(self.pid, part.nice)
        self._deadline = time.monotonic() + part.start_limit_s

    def ask(self) -> bool:
        """Ask the probe; True from the first yes on.

        Raises PartDied, and PartNotReady after `start_limit_s`.
        """
        self.check()
        if not self.is_ready:
            self.is_ready = self.part.ready()
        if not self.is_ready and time.monotonic() > self._deadline:
            raise PartNotReady(
                f"The {self.part.name} runs but was not ready within "
                f"{self.part.start_limit_s:.0f} s. {self._tail()}"
            )
        return self.is_ready

    def check(self) -> None:
        """Raise PartDied if the process has ended."""
        if self.has_ended:
            raise PartDied(f"{self.fate} {self._tail()}")

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone; others of its group may not be."""
        return self._process.poll() is not None

    @property
    def fate(self) -> str:
        """A sentence on how the process ended."""
        code = self._process.returncode
        how = f"ended with exit code {code}" if code >= 0 else f"was ended by {_signal(-code)}"
        return f"The {self.part.name} {how}."

    def send(self, number: signal.Signals) -> None:
        """Send the process a signal, if it still runs."""
        if not self.has_ended:
            self._process.send_signal(number)

    def ask_to_end(self) -> None:
        """Send the signal that ends the process, once: to some programs a second says "now"."""
        if not self._asked_to_end:
            self._asked_to_end = True
            self.send(self.part.stop_signal)

    def stop(self, hurry: Callable[[], bool]) -> None:
        """Ask the process to end, wait for its grace, then kill what is left of its group.

        What never became ready has nothing to put in order, and waits less.
        hurry: says whether to wait no longer.
        """
        self.ask_to_end()
        grace_s = self.part.grace_s if self.is_ready else min(self.part.grace_s, UNREADY_GRACE_S)
        deadline = time.monotonic() + grace_s
        while self._process.poll() is None and time.monotonic() < deadline and not hurry():
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.1)
        self.kill()

    def kill(self) -> None:
        """Kill what is left of the process's group."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def _tail(self) -> str:
        """Say what the log ends with and where it is."""
        path = self.part.log_path
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()[-TAIL_LINES:]
        if not lines:
            return f"It logged nothing (log: {path})."
        return f"Its last log lines (all of them: {path}):\n" + "\n".join(f"  {x}" for x in lines)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
