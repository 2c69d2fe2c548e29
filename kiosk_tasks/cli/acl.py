"""`kiosk acl`: the broker's users as an ACL file."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Annotated

import typer

from kiosk_tasks.bridge.events import queue_names
from kiosk_tasks.broker_users import COMPONENTS, BrokerKeys, acl_file, broker_users, user_name
from kiosk_tasks.errors import InvalidParameter
from kiosk_tasks.settings import Settings, database_of

__all__ = ["acl", "broker_keys"]

PasswordFile = Annotated[
    Path | None,
    typer.Option(
        "--passwords", help="File of passwords; those that are missing are made and written there."
    ),
]


def acl(passwords: PasswordFile = None) -> None:
    """Print the ACL file of the broker: one user per component, with hashed passwords.

    A component's password is the variable KIOSK_<COMPONENT>_PASSWORD, else it comes from the file.
    """
    users = broker_users(broker_keys(Settings.load()))
    typer.echo(acl_file(users, _passwords(passwords)), nl=False)


def broker_keys(settings: Settings) -> BrokerKeys:
    """Return what the settings call things on the broker."""
    return BrokerKeys(
        records=settings.key_prefix,
        messages=settings.broker_prefix,
        database=database_of(settings.broker_url),
        old_queues=queue_names(),
    )


def _variable(component: str) -> str:
    return f"KIOSK_{component.upper()}_PASSWORD"


def _passwords(path: Path | None) -> dict[str, str]:
    given = _read(path) if path else {}
    found = {c: os.environ.get(_variable(c)) or given.get(_variable(c), "") for c in COMPONENTS}
    missing = [component for component, password in found.items() if not password]
    if missing and path is None:
        raise InvalidParameter(
            f"there is no password for {', '.join(map(user_name, missing))}. "
            f"Set {_variable(missing[0])} and so on, or name a file with --passwords."
        )
    found |= {component: secrets.token_urlsafe(32) for component in missing}
    if missing and path:
        _write(path, {**given, **{_variable(c): found[c] for c in missing}})
    return found


def _read(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    lines = (line.partition("=") for line in path.read_text("utf-8").splitlines())
    return {name.strip(): value.strip() for name, equals, value in lines if equals}


def _write(path: Path, values: dict[str, str]) -> None:
    """Write the file anew, for its owner only from the first byte on."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.writelines(f"{name}={value}\n" for name, value in values.items())
    part.replace(path)
