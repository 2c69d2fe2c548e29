"""Messages that would run code are not even read, and the jobs behind them run."""

from __future__ import annotations

import base64
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.conftest import wait_for
from tests.security_site import client, connect, server, site_env, worker


class Attack:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, redis.Redis]]:
    folder = tmp_path_factory.mktemp("messages")
    with server(folder) as port, connect(port) as broker:
        env = site_env(folder, f"redis://127.0.0.1:{port}/0")
        with worker(folder, env):
            yield folder, broker


def message(body: bytes, content_type: str, *, coding: str = "base64") -> str:
    """Return what a client of Celery with another serializer would put on the queue."""
    text = base64.b64encode(body).decode() if coding == "base64" else body.decode()
    return json.dumps(
        {
            "body": text,
            "content-encoding": "binary",
            "content-type": content_type,
            "headers": {"lang": "py", "task": "spy", "id": "attack", "root_id": "attack"},
            "properties": {
                "correlation_id": "attack",
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": "predict"},
                "priority": 0,
                "body_encoding": coding,
                "delivery_tag": f"attack-{content_type}",
            },
        }
    )


def bodies(marker: Path) -> dict[str, tuple[bytes, str]]:
    path = f'!!python/object/apply:pathlib.Path ["{marker}"]'
    code = f"!!python/object/apply:pathlib.Path.touch [{path}]"
    shell = f"!!python/object/apply:os.system ['touch {marker}']"
    pickled = pickle.dumps(((), {"x": Attack(marker)}, {}))
    return {
        "pickle": (pickled, "application/x-python-serialize"),
        "pickle called json": (pickled, "application/json"),
        "pickle by its short name": (pickled, "pickle"),
        "yaml": (code.encode(), "application/x-yaml"),
        "yaml that calls a shell": (shell.encode(), "application/x-yaml"),
        "msgpack": (b"\x93\x90\x80\x80", "application/x-msgpack"),
        "nothing known": (b"\xff\xfe", "application/octet-stream"),
    }


@pytest.mark.parametrize("kind", bodies(Path("x")))
def test_message_that_is_not_json_is_dropped(
    site: tuple[Path, redis.Redis], tmp_path: Path, kind: str
) -> None:
    folder, broker = site
    marker, log = tmp_path / "ran", folder / "worker.log"
    before = len(log.read_text())
    broker.lpush("kiosk:v1:predict", message(*bodies(marker)[kind]))
    env = site_env(folder, f"redis://127.0.0.1:{broker.get_connection_kwargs()['port']}/0")
    assert client(env, folder=folder)["status"] == "done"
    wait_for(lambda: broker.hlen("kiosk:v1:unacked") == 0, what="nothing is held")
    assert not marker.exists()
    said = log.read_text()[before:]
    assert "Refusing to deserialize" in said or "decode" in said.lower(), said
    assert broker.llen("kiosk:v1:predict") == 0


def test_attack_would_have_worked(tmp_path: Path) -> None:
    """The message is what it claims to be: read, it makes the file."""
    marker = tmp_path / "ran"
    pickle.loads(bodies(marker)["pickle"][0])  # noqa: S301
    assert marker.exists()
