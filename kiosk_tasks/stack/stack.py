"""The whole stack as one object."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from types import TracebackType

from kiosk_tasks.stack.errors import MissingFolder
from kiosk_tasks.stack.flower import check_flower
from kiosk_tasks.stack.home import Lock, forget, new_run_folder, publish
from kiosk_tasks.stack.parts import PartsOf, Plan, parts_of
from kiosk_tasks.stack.signals import OrderlyExit
from kiosk_tasks.stack.sockets import HOST, Reservation
from kiosk_tasks.stack.supervisor import OnEvent, Supervisor, ignore_events
from kiosk_tasks.stack.web import WebPlan, link_secret

__all__ = ["Autoscale", "Stack"]

Autoscale = Callable[[Plan, Supervisor], Callable[[], None]]
"""Makes, of a stack that runs, the step that is taken some times per second."""


@dataclass
class Stack:
    """Broker, model server, worker, web and Flower on this machine; one stack per home folder.

    A context manager: the body runs once every part is ready, and leaving it stops them in reverse
    order. Ctrl-C, SIGTERM and SIGHUP leave it too; a second one while it stops ends the waiting.
    Should this process be killed outright, a watchdog ends the parts.

    queues: the queues that the worker consumes.
    concurrency: jobs that run at once.
    models_dirs: folders of `<name>/<version>/` that the model server serves; by default the folder
        `models` in `home`.
    flower_address, flower_auth: where Flower listens, and its user:password, which is made for
        this start if it is None; beyond loopback it must be given.
    web_port: of the web service; 0 takes a free one, None leaves it out.
    web_port_fixed: whether it must be that one; else a free one does where it is taken.
    web_address: where it listens. Beyond loopback the caller has looked at `check_web`.
    bucket: URL; by default a folder in `home`.
    environ: what the parts inherit; by default this process's environment.
    on_event: told of each part's state as it changes.
    autoscale: what starts and stops workers while `wait` waits; by default one worker, of all
        queues, runs as long as the stack.
    parts_of: what to run; by default the real parts.
    """

    home: Path
    _: KW_ONLY
    queues: Sequence[str]
    concurrency: int = 2
    models_dirs: Sequence[Path] = ()
    flower: bool = True
    flower_address: str = HOST
    flower_auth: str | None = field(default=None, repr=False)
    web_port: int | None = None
    web_port_fixed: bool = True
    web_address: str = HOST
    bucket: str | None = field(default=None, repr=False)
    environ: Mapping[str, str] | None = field(default=None, repr=False)
    on_event: OnEvent = ignore_events
    autoscale: Autoscale | None = None
    parts_of: PartsOf = parts_of
    values: Mapping[str, str] = field(init=False, default_factory=dict, repr=False)
    """As in `stack.env`."""
    run_folder: Path | None = field(init=False, default=None)  #: logs of this start
    _supervisor: Supervisor | None = field(init=False, default=None, repr=False)
    _its_plan: Plan | None = field(init=False, default=None, repr=False)
    _cleanup: ExitStack = field(init=False, default_factory=ExitStack, repr=False)

    def __post_init__(self) -> None:
        """Check what can be checked before anything runs."""
        if not self.queues or self.concurrency < 1:
            raise ValueError("A stack needs at least one queue and one process.")
        if self.flower:
            check_flower(self.flower_address, self.flower_auth)
        self.home = self.home.expanduser().resolve()

    def start(self) -> None:
        """Start every part and wait until all are ready.

        Raises HomeBusy, MissingBroker, MissingFolder, PartDied, PartNotReady; nothing is left
        running then.
        """
        with ExitStack() as cleanup:
            orderly = cleanup.enter_context(OrderlyExit())
            lock = Lock(self.home)
            cleanup.callback(lock.close)
            plan = self._plan(cleanup)
            parts = self.parts_of(plan)
            supervisor = cleanup.enter_context(
                Supervisor(on_event=self.on_event, keep_open=[lock.fd])
            )
            cleanup.callback(orderly.divert, supervisor.hurry)
            supervisor.start(parts)
            cleanup.callback(forget, self.home)
            publish(self.home, plan.values)
            self.values, self.run_folder = plan.values, plan.run
            self._supervisor, self._its_plan = supervisor, plan
            self._cleanup = cleanup.pop_all()

    def check(self) -> None:
        """Raise PartDied if a part has ended by itself."""
        if self._supervisor:
            self._supervisor.check()

    def wait(self) -> None:
        """Return when the stack is stopped from elsewhere; raise PartDied when a part ends."""
        if self._supervisor and self._its_plan:
            if self.autoscale:
                self._supervisor.wait(self.autoscale(self._its_plan, self._supervisor))
            else:
                self._supervisor.wait()

    def stop(self) -> None:
        """Stop every part; calling it again does nothing."""
        self._cleanup.close()
        self._supervisor = None

    def __enter__(self) -> Stack:
        """Start."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()

    def _plan(self, cleanup: ExitStack) -> Plan:
        """Reserve the ports and make the folders."""

        def port(number: int = 0, *, or_another: bool = False) -> Reservation:
            reservation = Reservation(number, or_another=or_another)
            cleanup.callback(reservation.close)
            return reservation

        bucket, models = self.home / "bucket", self.home / "models"
        for folder in (bucket, models):
            folder.mkdir(mode=0o700, exist_ok=True)
        web = None
        if self.web_port is not None:
            its_port = port(self.web_port, or_another=not self.web_port_fixed)
            web = WebPlan(its_port, self.web_address, link_secret(self.home))
        return Plan(
            home=self.home,
            run=new_run_folder(self.home),
            queues=tuple(self.queues),
            concurrency=self.concurrency,
            models_dirs=tuple(map(_folder, self.models_dirs or [models])),
            bucket=self.bucket or bucket.as_uri(),
            broker=port(),
            model_server=port(),
            flower=port() if self.flower else None,
            password=secrets.token_hex(16),
            environ=os.environ if self.environ is None else self.environ,
            flower_address=self.flower_address,
            flower_auth=self.flower_auth,
            web=web,
            autoscale=self.autoscale is not None,
        )


def _folder(path: Path) -> Path:
    """Return the absolute path of a folder of models."""
    folder = path.expanduser().resolve()
    if not folder.is_dir():
        raise MissingFolder(f"There is no folder {folder}, so no models can be served from it.")
    return folder
