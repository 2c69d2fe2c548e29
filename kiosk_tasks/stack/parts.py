"""The parts of a stack: what each is run with, and when it is ready.

The broker, the model server, the worker and the reaper are needed; the web service and Flower are
not. The model server and the broker start at once and together, because TensorFlow takes seconds to
load; the worker, the web service and Flower start as soon as the broker answers, the reaper once
there is a worker. Where an autoscaler starts the workers, none is among the parts.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kiosk_tasks.stack.flower import flower_argv, flower_env, flower_url, reachable
from kiosk_tasks.stack.probes import all_of, broker_answers, file_exists, http_answers, port_answers
from kiosk_tasks.stack.process import Part
from kiosk_tasks.stack.sockets import HOST, Reservation
from kiosk_tasks.stack.valkey import valkey_binary, valkey_config
from kiosk_tasks.stack.web import WEB_ONLY, WebPlan, web_argv, web_only, web_ready, web_values
from kiosk_tasks.stack.workers import BROKER, PYTHON_START_S, WORKER, worker_part

__all__ = [
    "BROKER",
    "FLOWER",
    "MODEL_SERVER",
    "REAPER",
    "WEB",
    "WORKER",
    "PartsOf",
    "Plan",
    "broker_part",
    "flower_part",
    "model_server_part",
    "parts_of",
    "web_part",
    "worker_part",
]

MODEL_SERVER = "model server"
REAPER = "reaper"
FLOWER = "flower"
WEB = "web"

FLOWER_USER = "kiosk"
REAP_EVERY_S = "15"


@dataclass(frozen=True)
class Plan:
    """What one start of a stack consists of.

    run: folder for this start's logs and scratch files.
    flower: None leaves Flower out.
    password: of the broker and, where `flower_auth` is None, of Flower; made for this start.
    environ: what the parts inherit.
    flower_address, flower_auth: where Flower listens; user:password of the user's own.
    web: where the web service listens; None leaves it out.
    autoscale: whether workers come and go; then none is started with the stack.
    """

    home: Path
    run: Path
    queues: tuple[str, ...]
    concurrency: int
    models_dirs: tuple[Path, ...]
    bucket: str = field(repr=False)
    broker: Reservation
    model_server: Reservation
    flower: Reservation | None
    password: str = field(repr=False)
    environ: Mapping[str, str] = field(repr=False)
    flower_address: str = HOST
    flower_auth: str | None = field(default=None, repr=False)
    web: WebPlan | None = None
    autoscale: bool = False

    @property
    def flower_login(self) -> str:
        """user:password of Flower."""
        return self.flower_auth or f"{FLOWER_USER}:{self.password}"

    @property
    def work_nice(self) -> int:
        """How far the work on jobs steps back, so that the web service answers meanwhile."""
        return 4 if self.web else 0

    @property
    def values(self) -> dict[str, str]:
        """What the parts are told in their environment, and everyone else in `stack.env`."""
        values = {
            "KIOSK_BROKER_URL": f"redis://:{self.password}@{self.broker.address}/0",
            # apart from the queues, so that emptying those loses no job
            "KIOSK_LEDGER_URL": f"redis://:{self.password}@{self.broker.address}/1",
            "KIOSK_MODEL_SERVER": self.model_server.address,
            "KIOSK_BUCKET": self.bucket,
            "KIOSK_STACK_PID": str(os.getpid()),
        }
        if self.autoscale:
            values["KIOSK_AUTOSCALED"] = "true"
        if self.flower:
            url = flower_url(self.flower_address, self.flower.port, self.flower_login)
            values["KIOSK_FLOWER_URL"] = url
        if self.web:
            values |= web_values(self.web, self.environ)
        # How jobs are cut into links is decided where they are submitted: everyone must agree.
        shared = ("KIOSK_LINKS", "KIOSK_STAGE_QUEUES")
        return values | {name: self.environ[name] for name in shared if self.environ.get(name)}

    @property
    def env(self) -> dict[str, str]:
        """The environment of a part, but for what it alone is told."""
        mine = {"KIOSK_HOME": str(self.home), "PYTHONUNBUFFERED": "1"}
        others = {name: v for name, v in self.environ.items() if name not in WEB_ONLY}
        return {**others, **mine, **self.values}

    def log(self, name: str) -> Path:
        """The log of a part."""
        return self.run / f"{name.replace(' ', '-')}.log"


PartsOf = Callable[[Plan], Sequence[Part]]


def parts_of(plan: Plan) -> Sequence[Part]:
    """Return the parts in the order in which they start."""
    workers = [] if plan.autoscale else [worker_part(plan)]
    parts = [broker_part(plan), model_server_part(plan), *workers, reaper_part(plan)]
    if plan.web:
        parts.append(web_part(plan, plan.web))
    if plan.flower:
        parts.append(flower_part(plan, plan.flower))
    return parts


def broker_part(plan: Plan) -> Part:
    """Valkey on a loopback port with a password; every write is on disk within a second."""
    config = plan.run / "valkey.conf"
    data = plan.home / "valkey"
    data.mkdir(mode=0o700, exist_ok=True)
    config.touch(mode=0o600)  # it holds the password, which a command line would show to everyone
    config.write_text(valkey_config(plan.broker.port, plan.password, data), encoding="utf-8")
    return Part(
        name=BROKER,
        argv=(str(valkey_binary()), str(config)),
        env=plan.env,
        log_path=plan.log(BROKER),
        ready=broker_answers(plan.broker.port, plan.password),
        before_start=plan.broker.release,
    )


def model_server_part(plan: Plan) -> Part:
    """The embedded gRPC model server, on the port that the worker has already been told."""
    port_file = plan.run / "model-server.port"
    folders = tuple(str(folder) for folder in plan.models_dirs)
    listen = ("--host", HOST, "--port", str(plan.model_server.port), "--port-file", str(port_file))
    return Part(
        name=MODEL_SERVER,
        argv=(sys.executable, "-m", "kiosk_tasks.serving.server", *folders, *listen),
        env=plan.env,
        log_path=plan.log(MODEL_SERVER),
        ready=all_of(file_exists(port_file), port_answers(plan.model_server.port)),
        start_limit_s=PYTHON_START_S,
        before_start=plan.model_server.release,
        nice=plan.work_nice,
    )


def reaper_part(plan: Plan) -> Part:
    """What sends lost jobs again; nobody waits for it, so it starts after the worker."""
    every = plan.environ.get("KIOSK_REAP_EVERY") or REAP_EVERY_S
    return Part(
        name=REAPER,
        argv=(sys.executable, "-m", "kiosk_tasks", "reap", "--every", every),
        env=plan.env,
        log_path=plan.log(REAPER),
        ready=lambda: True,
        needs=frozenset({BROKER if plan.autoscale else WORKER}),
    )


def flower_part(plan: Plan, port: Reservation) -> Part:
    """Flower behind a password, which its URL in `stack.env` carries so that a browser opens it."""
    return Part(
        name=FLOWER,
        argv=flower_argv(plan.flower_address, port.port),
        env=flower_env(plan.env, plan.flower_login),
        log_path=plan.log(FLOWER),
        ready=http_answers(port.port, "/healthcheck", host=reachable(plan.flower_address)),
        needs=frozenset({BROKER}),
        start_limit_s=PYTHON_START_S,
        before_start=port.release,
    )


def web_part(plan: Plan, web: WebPlan) -> Part:
    """The page and the REST interface."""
    return Part(
        name=WEB,
        argv=web_argv(web),
        env={**plan.env, **web_only(plan.environ)},
        log_path=plan.log(WEB),
        ready=web_ready(web),
        needs=frozenset({BROKER}),
        start_limit_s=PYTHON_START_S,
        before_start=web.port.release,
    )
