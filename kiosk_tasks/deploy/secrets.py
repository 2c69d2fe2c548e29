"""Passwords of a deployment, and the files in which its containers find them.

A file that is there stays: only what is missing is made, so that running it again changes no
password. The broker's users are written anew each time, since new job types may need new rules.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from kiosk_tasks.broker_users import COMPONENTS, BrokerKeys, acl_file, broker_users, user_name
from kiosk_tasks.errors import InvalidParameter

__all__ = ["write_secrets"]

_USERS = "users.acl"


def write_secrets(folder: Path, keys: BrokerKeys, *, broker: str) -> list[Path]:
    """Make what is missing in the folder; return the files that were written.

    keys: names on the broker. broker: its host and port, as the containers reach it.
    The folder is its owner's only. The files in it can be read by everybody who gets there, since
    containers run as other users, and Compose mounts files with the rights that they have.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        written = [file for file, make in _files(folder, broker) if _write_new(file, make)]
        return [*written, _write(folder / _USERS, _acl(folder, keys))]
    except OSError as exc:
        raise InvalidParameter(f"{exc.filename or folder} cannot be made: {exc.strerror}.") from exc


def _files(folder: Path, broker: str) -> list[tuple[Path, Callable[[], str]]]:
    """Return each file with what makes it; some are made of those before them."""

    def url(component: str) -> Callable[[], str]:
        return lambda: f"redis://{user_name(component)}:{_password()}@{broker}/0"

    def tokens() -> str:
        # the web service's /metrics wants a token, too
        return f"me:{_password()},prometheus:{_read(folder / 'metrics-token')}"

    def credentials() -> str:
        user, password = (_read(folder / f"bucket-{part}") for part in ("user", "password"))
        return f"[default]\naws_access_key_id = {user}\naws_secret_access_key = {password}"

    def by_address() -> str:
        # redis_exporter looks for the address as it was given; later releases add the user
        password = _broker_password(folder, "exporter")
        users = ("", f"{user_name('exporter')}@")
        return json.dumps({f"redis://{user}{broker}": password for user in users})

    made: dict[str, Callable[[], str]] = {
        **{f"{component}-broker-url": url(component) for component in COMPONENTS},
        "metrics-token": _password,
        "api-tokens": tokens,
        "flower-auth": lambda: f"kiosk:{_password()}",
        "link-secret": _password,
        "bucket-user": lambda: "kiosk",
        "bucket-password": _password,
        "bucket-credentials": credentials,
        "grafana-password": _password,
        "redis-exporter-passwords": by_address,
    }
    return [(folder / name, make) for name, make in made.items()]


def _acl(folder: Path, keys: BrokerKeys) -> str:
    passwords = {component: _broker_password(folder, component) for component in COMPONENTS}
    return acl_file(broker_users(keys), passwords)


def _broker_password(folder: Path, component: str) -> str:
    file = folder / f"{component}-broker-url"
    password = urlsplit(_read(file)).password
    if not password:
        raise InvalidParameter(
            f"{file} must be like redis://{user_name(component)}:PASSWORD@HOST:6379/0. "
            "Mend it, or remove it and run this again."
        )
    return password


def _password() -> str:
    """Return a password that needs no escapes in a URL, in JSON, or in a list of users."""
    return secrets.token_hex(24)


def _read(file: Path) -> str:
    return file.read_text("utf-8").strip()


def _write_new(file: Path, make: Callable[[], str]) -> bool:
    if file.exists():
        return False
    _write(file, make())  # with no line's end: the Prometheus operator would send it, too
    return True


def _write(file: Path, text: str) -> Path:
    part = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    part.write_text(text, "utf-8")
    part.chmod(0o644)
    part.replace(file)
    return file
