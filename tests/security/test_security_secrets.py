"""Passwords are planted everywhere, then looked for wherever people and programs look."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from tests.security_site import client, connect, kiosk, python, server, site_env, worker

BROKER, LEDGER, BUCKET = "br0ker-planted", "l3dger-planted", "buck3t-planted"
FLOWER, TOKEN, WRONG = "fl0wer-planted", "t0ken-planted", "wr0ng-planted"


REPRESENT = """
from kiosk_tasks import app
from kiosk_tasks.settings import Settings
from kiosk_tasks.wiring import adapters
print(repr(Settings.load()), repr(app), app.backend, adapters())
print(repr(app.connection()), app.conf.humanize(), repr(app.conf.broker_url))
"""


@dataclass
class Found:
    """Every text that was seen, by where it was seen."""

    texts: dict[str, str] = field(default_factory=dict)

    def leaks(self) -> list[tuple[str, str]]:
        return [(w, text) for w, text in self.texts.items() if "planted" in text]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Found]:
    """What an installation with a worker at DEBUG shows of itself."""
    folder, found = tmp_path_factory.mktemp("secrets"), Found()
    users = [f"user default on >{BROKER} ~* &* +@all", f"user ledger on >{LEDGER} ~* &* +@all"]
    with server(folder, *users) as port:
        env = site_env(
            folder,
            f"redis://:{BROKER}@127.0.0.1:{port}/0",
            KIOSK_LEDGER_URL=f"redis://ledger:{LEDGER}@127.0.0.1:{port}/1",
            KIOSK_BUCKET=f"memory://key-id:{BUCKET}@bucket",
            KIOSK_FLOWER_AUTH=f"lab:{FLOWER}",
            KIOSK_MODEL_WAIT="0",
            PLANTED_API_TOKEN=TOKEN,
        )
        with worker(folder, env, level="DEBUG") as process:
            found.texts["record"] = json.dumps(client(env, folder=folder))
            found.texts["record of a bug"] = json.dumps(client(env, folder=folder, act="bug"))
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(True)]
            found.texts["ps"] = "\n".join(" ".join(member.cmdline()) for member in family)
            _ask(found, folder, env)
            with connect(port, password=BROKER) as broker:
                found.texts["everything on the broker"] = _dump(broker)
            with connect(port, username="ledger", password=LEDGER, db=1) as ledger:
                found.texts["everything in the ledger"] = _dump(ledger)
        _ask_in_vain(found, folder, env, port)
        found.texts["worker log"] = (folder / "worker.log").read_text()
        yield found


def _ask(found: Found, folder: Path, env: dict[str, str]) -> None:
    celery = ("-m", "celery", "-A", "kiosk_tasks")
    commands = {
        **{f"kiosk {word}": ("-m", "kiosk_tasks", word) for word in ("jobs", "doctor")},
        "celery report": (*celery, "report"),
        "celery conf": (*celery, "inspect", "conf", "--json"),
        "celery stats": (*celery, "inspect", "stats", "--json"),
        "repr": ("-c", REPRESENT),
    }
    for name, command in commands.items():
        done = python(env, *command, folder=folder)
        found.texts[name] = done.stdout + done.stderr


def _ask_in_vain(found: Found, folder: Path, env: dict[str, str], port: int) -> None:
    wrong = {
        "wrong password": {"KIOSK_LEDGER_URL": f"redis://:{WRONG}@127.0.0.1:{port}/0"},
        "nobody there": {"KIOSK_LEDGER_URL": f"redis://:{WRONG}@127.0.0.1:1/0"},
        "no such scheme": {"KIOSK_BUCKET": f"gopher://key:{WRONG}@bucket"},
        "no such broker": {"KIOSK_LEDGER_URL": f"mysql://key:{WRONG}@bucket"},
        "wrong setting": {"KIOSK_MAX_PIXELS": WRONG},
        "wrong password of the broker": {
            "KIOSK_BROKER_URL": f"redis://:{WRONG}@127.0.0.1:{port}/0"
        },
        "no TLS": {"KIOSK_BROKER_URL": f"rediss://:{WRONG}@127.0.0.1:1/0"},
    }
    for name, change in wrong.items():
        word = "doctor" if "KIOSK_BROKER_URL" in change else "jobs"
        done = kiosk({**env, **change}, word, folder=folder)
        found.texts[f"kiosk {word}, {name}"] = done.stdout + done.stderr
        assert done.returncode != 0, name
    bad = {**env, "KIOSK_BROKER_URL": f"redis://:{WRONG}@127.0.0.1:{port}/0"}
    done = python(
        bad, "-m", "celery", "-A", "kiosk_tasks", "inspect", "ping", "-t", "1", folder=folder
    )
    found.texts["celery, wrong password"] = done.stdout + done.stderr


def _dump(broker: redis.Redis) -> str:
    def value(key: str) -> Any:
        kind: Any = broker.type(key)
        return {
            "hash": broker.hgetall,
            "string": broker.get,
            "list": lambda k: broker.lrange(k, 0, -1),
            "set": broker.smembers,
            "zset": lambda k: broker.zrange(k, 0, -1),
        }[kind](key)

    return "\n".join(f"{key}: {value(key)}" for key in broker.scan_iter())


def test_secrets_are_nowhere(seen: Found) -> None:
    assert seen.leaks() == []


def test_places_that_were_searched_hold_something(seen: Found) -> None:
    empty = [name for name, text in seen.texts.items() if len(text) < 20]
    assert empty == []
    assert "celery@" in seen.texts["worker log"]
    assert "RuntimeError: cannot open redis://:***@" in seen.texts["worker log"]
    assert "an unforeseen error (RuntimeError" in seen.texts["record of a bug"]
    assert "celery-task-meta" in seen.texts["everything on the broker"]
    assert "job:" in seen.texts["everything in the ledger"]
    assert "broker_url" in seen.texts["celery conf"]


def test_errors_are_sentences(seen: Found) -> None:
    traced = [name for name, text in seen.texts.items() if "Traceback" in text and "kiosk" in name]
    assert traced == []
