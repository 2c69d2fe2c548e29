"""Starts the embedded model server as a child process and waits until it is ready."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

from kiosk_tasks.errors import ModelServerUnavailable

__all__ = ["ModelServerProcess"]

_POLL_S = 0.05
_STOP_S = 15.0  #: a server that has not ended so long after SIGTERM is killed


class ModelServerProcess:
    """A model server of our own: started on entering, ended on leaving.

    It also ends by itself once its parent process is gone.
    """

    def __init__(
        self,
        models: Sequence[Path],
        *,
        options: Sequence[str] = (),
        log: IO[bytes] | None = None,
        ready_s: float = 120.0,
    ) -> None:
        """Start nothing yet.

        models: folders of `<name>/<version>/saved_model.pb`.
        options: further arguments of `python -m kiosk_tasks.serving.server`.
        log: an open file for what the server says; None inherits standard error.
        ready_s: TensorFlow and all models must be loaded in that time.
        """
        self._arguments = [*map(str, models), *options]
        self._log = log
        self._ready_s = ready_s
        self._process: subprocess.Popen[bytes] | None = None
        self.target = ""  #: `host:port`, once it is ready

    def __enter__(self) -> ModelServerProcess:
        """Start, and wait until every model answers. Raises ModelServerUnavailable."""
        with tempfile.TemporaryDirectory(prefix="kiosk-model-server-") as folder:
            port_file = Path(folder) / "port"
            self._process = self._start(port_file)
            try:
                self._wait_for(port_file)
            except BaseException:
                self.stop()
                raise
            self.target = f"127.0.0.1:{int(port_file.read_text())}"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the server."""
        self.stop()

    @property
    def pid(self) -> int:
        """The server's process id. Raises ModelServerUnavailable if it was not started."""
        if self._process is None:
            raise ModelServerUnavailable("The model server was not started.")
        return self._process.pid

    def stop(self) -> int | None:
        """End the server with SIGTERM, by force if need be; returns its exit status."""
        if self._process is None:
            return None
        self._process.terminate()
        try:
            return self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _start(self, port_file: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "kiosk_tasks.serving.server", *self._arguments]
        command += ["--port-file", str(port_file), "--parent-pid", str(os.getpid())]
        return subprocess.Popen(  # noqa: S603  # our own module, arguments as a list
            command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log
        )

    def _wait_for(self, port_file: Path) -> None:
        """Wait for the file that the server writes once it is ready."""
        assert self._process is not None  # noqa: S101  # just started
        end = time.monotonic() + self._ready_s
        while not port_file.exists():
            if self._process.poll() is not None:
                raise ModelServerUnavailable(
                    f"The model server ended with status {self._process.returncode} "
                    "before it was ready; its log says why."
                )
            if time.monotonic() > end:
                raise ModelServerUnavailable(
                    f"The model server was not ready within {self._ready_s:g} s."
                )
            time.sleep(_POLL_S)
