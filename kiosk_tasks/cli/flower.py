"""`kiosk flower`: the dashboard on its own, where no stack of ours starts it."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from kiosk_tasks.errors import InvalidParameter
from kiosk_tasks.settings import Settings
from kiosk_tasks.stack.flower import check_flower, flower_argv, flower_env

__all__ = ["flower"]


def flower(port: Annotated[int, typer.Option(min=1, max=65535, help="Port.")] = 5555) -> None:
    """Run Flower at KIOSK_FLOWER_ADDRESS, behind the login in KIOSK_FLOWER_AUTH."""
    settings = Settings.load()
    login = settings.flower_auth.get_secret_value() if settings.flower_auth else None
    check_flower(settings.flower_address, login)
    if login is None:
        raise InvalidParameter("Flower needs a login. Set KIOSK_FLOWER_AUTH=user:password.")
    argv = flower_argv(settings.flower_address, port)
    os.execve(argv[0], argv, flower_env(os.environ, login))  # noqa: S606  # our own command line
