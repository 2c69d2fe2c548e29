"""Real worker processes that can be killed, frozen and told to stop, and the reaper's."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psutil

from tests.conftest import wait_for
from tests.faults.site import QUEUE, Site
from tests.processes import child

__all__ = ["PLAIN", "Fleet", "Kind", "Reaper", "Worker"]

_CELERY = (sys.executable, "-m", "celery", "-A", "kiosk_tasks")
_START_LIMIT_S = 60.0
_SOFT_SHUTDOWN_S = 1
_numbers = count(1)


@dataclass(frozen=True)
class Kind:
    """How a worker is started.

    children: size of its pool.
    env: on top of the site's. options: more of its command line.
    """

    children: int = 2
    env: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()


class Worker:
    """A Celery worker: a main process and its pool of children."""

    def __init__(self, site: Site, kind: Kind) -> None:
        """Start it; it consumes when `wait_ready` returns."""
        self.kind = kind
        self.name = f"w{next(_numbers)}"
        self.log = site.folder / f"{self.name}.log"
        self._ready = site.folder / f"{self.name}.ready"
        self._life = ExitStack()
        options = ["-Q", QUEUE, "-c", str(kind.children), "-n", f"{self.name}@%h"]
        quiet = ["--without-gossip", "--without-mingle", "--loglevel", "INFO"]
        settings = ["--", f"worker.soft_shutdown_timeout={_SOFT_SHUTDOWN_S}"]
        self.process = self._life.enter_context(
            child(
                [*_CELERY, "worker", *options, *kind.options, *quiet, *settings],
                log=self.log,
                env=site.process_env(
                    **{
                        "KIOSK_READY_FILE": str(self._ready),
                        "REMAP_SIGTERM": "SIGQUIT",
                        **kind.env,
                    }
                ),
                cwd=site.folder,
            )
        )

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def wait_ready(self) -> None:
        wait_for(
            lambda: self._ready.exists() or not self.alive,
            limit_s=_START_LIMIT_S,
            what=f"{self.name} is ready",
        )
        assert self.alive, self.log.read_text()

    def children(self) -> list[psutil.Process]:
        """Return the processes of the pool."""
        try:
            return psutil.Process(self.process.pid).children()
        except psutil.NoSuchProcess:
            return []

    def kill_tree(self) -> None:
        """SIGKILL all of it, as a lost machine would; the main process first is frozen."""
        self.freeze()
        family = self.children()
        self.process.kill()
        for process in family:
            _kill(process)
        self.process.wait()
        psutil.wait_procs(family, timeout=10)

    def kill_child(self, rng: random.Random) -> bool:
        """SIGKILL one child; False if there was none at the moment."""
        family = self.children()
        return bool(family) and _kill(rng.choice(family))

    def freeze(self) -> None:
        """Stop the main process; its children run on."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def terminate(self) -> None:
        """Ask it to stop, as a cluster that scales down does; running jobs are put back."""
        self._signal(signal.SIGTERM)

    def wait_gone(self, limit_s: float = 30.0) -> int:
        """Wait until it has ended; return its exit status."""
        return self.process.wait(limit_s)

    def stop(self) -> None:
        """End it, whatever it does."""
        if self.alive:
            self.kill_tree()
        self._life.close()

    def _signal(self, number: signal.Signals) -> None:
        if self.alive:
            os.kill(self.process.pid, number)


PLAIN = Kind()


class Fleet:
    """The workers of a site."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.workers: list[Worker] = []

    def want(self, number: int, kind: Kind = PLAIN) -> list[Worker]:
        """Have exactly so many workers of one kind, alive and ready."""
        return self.have(*[kind] * number)

    def have(self, *kinds: Kind) -> list[Worker]:
        """Have workers of exactly these kinds, alive and ready; returns them in that order.

        Those that are there already are kept, the others are started together.
        """
        spare, self.workers = self.workers, []
        for kind in kinds:
            fitting = [worker for worker in spare if worker.alive and worker.kind == kind]
            if fitting:
                spare.remove(fitting[0])
            self.workers.append(fitting[0] if fitting else Worker(self.site, kind))
        for worker in spare:
            worker.stop()
        for worker in self.workers:
            worker.wait_ready()
        return self.workers

    def replace(self, worker: Worker) -> Worker:
        """Start another in the place of one that is dead; it may not be ready yet."""
        worker.stop()
        fresh = Worker(self.site, worker.kind)
        self.workers[self.workers.index(worker)] = fresh
        return fresh

    def exits(self) -> list[str]:
        """Return the names of the workers that have ended."""
        return [worker.name for worker in self.workers if not worker.alive]

    def stop(self) -> None:
        for worker in self.workers:
            worker.stop()
        self.workers.clear()


class Reaper:
    """`kiosk reap --every 1` on a site."""

    def __init__(self, site: Site) -> None:
        self.log: Path = site.folder / "reaper.log"
        self._life = ExitStack()
        self._process: subprocess.Popen[bytes] = self._life.enter_context(
            child(
                [sys.executable, "-m", "kiosk_tasks", "reap", "--every", "1"],
                log=self.log,
                env=site.process_env(),
                cwd=site.folder,
            )
        )

    def check(self) -> None:
        """Fail if it has ended."""
        assert self._process.poll() is None, self.log.read_text()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let nothing be reaped for a while."""
        os.kill(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._process.pid, signal.SIGCONT)

    def stop(self) -> None:
        self._process.kill()
        self._life.close()


def _kill(process: psutil.Process) -> bool:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return False
    return True
