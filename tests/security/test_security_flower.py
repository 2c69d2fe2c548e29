"""Flower asks for its password, and is never open to the network without one."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from kiosk_tasks.settings import InvalidSetting, Settings
from kiosk_tasks.stack import OpenFlower, Stack
from kiosk_tasks.stack.flower import flower_url
from tests.conftest import wait_for
from tests.ports import free_port
from tests.processes import child
from tests.security_site import ask, kiosk, python, site_env

LOGIN = "lab:pass word-1234"
PASSWORD = "pass word-1234"  # noqa: S105


COMMANDS = {
    "kiosk": ["kiosk_tasks", "flower"],
    "celery": ["celery", "-A", "kiosk_tasks", "flower"],
}


@pytest.fixture(scope="module", params=COMMANDS)
def flower(
    request: pytest.FixtureRequest, valkey: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[int, psutil.Process]]:
    """A real Flower, started by either command; its port and process."""
    folder = tmp_path_factory.mktemp("flower")
    port = free_port()
    hostile = {"FLOWER_UNAUTHENTICATED_API": "true"}
    if request.param == "kiosk":
        hostile["FLOWER_ADDRESS"] = "0.0.0.0"  # noqa: S104
    env = site_env(folder, valkey, KIOSK_FLOWER_AUTH=LOGIN, **hostile)
    command = [sys.executable, "-m", *COMMANDS[request.param], f"--port={port}"]
    log = folder / "flower.log"
    with child(command, log=log, env=env, cwd=folder) as process:
        wait_for(
            lambda: process.poll() is not None or ask(port, "/healthcheck"),
            limit_s=60,
            what="Flower answers",
        )
        assert process.poll() is None, log.read_text()
        yield port, psutil.Process(process.pid)
        assert PASSWORD not in log.read_text()


PAGES = ["/", "/workers", "/tasks", "/broker", "/api/workers", "/api/tasks", "/api/queues/length"]


@pytest.mark.parametrize("page", PAGES)
def test_password_is_asked_for(flower: tuple[int, psutil.Process], page: str) -> None:
    port, _ = flower
    assert ask(port, page) == 401
    assert ask(port, page, login="lab:wrong") == 401
    assert ask(port, page, login=LOGIN) == 200


@pytest.mark.parametrize("page", ["/metrics", "/healthcheck"])
def test_what_flower_tells_everyone(flower: tuple[int, psutil.Process], page: str) -> None:
    """Flower's own doing, and the reason why docs/security.md has it behind a proxy."""
    assert ask(flower[0], page) == 200


def test_flower_listens_here_only_and_its_command_line_is_clean(
    flower: tuple[int, psutil.Process],
) -> None:
    port, process = flower
    assert PASSWORD not in " ".join(process.cmdline())
    listening = [c.laddr for c in process.net_connections() if c.status == psutil.CONN_LISTEN]
    assert [(address.ip, address.port) for address in listening] == [("127.0.0.1", port)]


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.1", "kiosk.example.org"])  # noqa: S104
def test_open_flower_is_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(OpenFlower, match="KIOSK_FLOWER_AUTH"):
        Stack(tmp_path, queues=["predict"], flower_address=address)
    Stack(tmp_path, queues=["predict"], flower_address=address, flower_auth=LOGIN)
    Stack(tmp_path, queues=["predict"], flower_address=address, flower=False)


@pytest.mark.parametrize("command", [["up"], ["flower"]])
def test_open_flower_is_refused_with_a_sentence(tmp_path: Path, command: list[str]) -> None:
    env = site_env(tmp_path, "redis://127.0.0.1:1/0", KIOSK_FLOWER_ADDRESS="0.0.0.0")  # noqa: S104
    done = kiosk(env, *command, folder=tmp_path)
    assert done.returncode == 3
    assert "would be open to the network" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("options", "more"),
    [
        (["--address=0.0.0.0"], {}),  # the user's own option
        ([], {"FLOWER_ADDRESS": "0.0.0.0"}),  # noqa: S104
        ([], {"KIOSK_FLOWER_ADDRESS": "192.0.2.1"}),
    ],
)
def test_celerys_own_command_does_not_open_flower_either(
    tmp_path: Path, options: list[str], more: dict[str, str]
) -> None:
    env = site_env(tmp_path, "redis://127.0.0.1:1/0", **more)
    command = ["-m", "celery", "-A", "kiosk_tasks", "flower", f"--port={free_port()}", *options]
    done = python(env, *command, folder=tmp_path)
    assert done.returncode == 3
    assert "would be open to the network" in done.stderr
    assert "Traceback" not in done.stderr


def test_celerys_own_command_makes_a_login_where_none_is_set(tmp_path: Path, valkey: str) -> None:
    port, log = free_port(), tmp_path / "flower.log"
    command = [sys.executable, "-m", "celery", "-A", "kiosk_tasks", "flower", f"--port={port}"]
    with child(command, log=log, env=site_env(tmp_path, valkey), cwd=tmp_path):
        wait_for(lambda: ask(port, "/healthcheck"), limit_s=60, what="Flower answers")
        told = re.search(r"for this start: (kiosk:[0-9a-f]{32})", log.read_text())
        assert told
        assert ask(port, "/api/workers") == ask(port, "/", login="kiosk:") == 401
        assert ask(port, "/api/workers", login=told[1]) == 200


def test_flower_without_a_login_is_refused(tmp_path: Path) -> None:
    done = kiosk(site_env(tmp_path, "redis://127.0.0.1:1/0"), "flower", folder=tmp_path)
    assert done.returncode == 2
    assert "KIOSK_FLOWER_AUTH=user:password" in done.stderr


def test_login_must_have_both_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIOSK_FLOWER_AUTH", "only-a-password")
    with pytest.raises(InvalidSetting, match="KIOSK_FLOWER_AUTH") as told:
        Settings.load()
    assert "only-a-password" not in str(told.value)


def test_url_for_a_browser() -> None:
    assert flower_url("0.0.0.0", 5, "a:b/c@d") == "http://a:b%2Fc%40d@127.0.0.1:5"  # noqa: S104
    assert flower_url("::1", 5, "a:b") == "http://a:b@[::1]:5"
