"""Every setting, read once from the environment: `KIOSK_*`, and the old Kiosk's names as aliases.

Order of precedence: environment, then the files that `KIOSK_…_FILE` name, then the `stack.env` that
a running embedded stack leaves in `KIOSK_HOME`, then the default. Only `wiring`, `celeryconfig` and
the command line read this class.
"""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from kiosk_tasks.setting_files import setting_files
from kiosk_tasks.settings.choices import Choices
from kiosk_tasks.settings.delivery import Delivery
from kiosk_tasks.settings.errors import InvalidSetting
from kiosk_tasks.settings.from_files import FromFiles
from kiosk_tasks.settings.limits import Limits
from kiosk_tasks.settings.names import PROTOCOL, STACK_ENV, default_home
from kiosk_tasks.settings.scaling import Scaling
from kiosk_tasks.settings.security import Security
from kiosk_tasks.settings.urls import (
    database_of,
    host_of,
    is_loopback,
    through_sentinels,
    urls_of,
)
from kiosk_tasks.settings.watching import Watching
from kiosk_tasks.settings.web import Web

__all__ = [
    "PROTOCOL",
    "STACK_ENV",
    "InvalidSetting",
    "Settings",
    "database_of",
    "default_home",
    "host_of",
    "is_loopback",
    "through_sentinels",
    "urls_of",
]


class Settings(Choices, Watching, Scaling, Delivery, Limits, Web, Security, BaseSettings):
    """Settings of one process; frozen. The group that is named last comes first in the docs."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        env_ignore_empty=True,
        hide_input_in_errors=True,  # it may be a password
    )

    @classmethod
    def load(cls) -> Settings:
        """Read the environment and, below it, the files it names and the running stack's.

        As long as none changes it is the same object: reading takes two milliseconds.
        Raises InvalidSetting, which names the variable and not its value.
        """
        file = default_home() / STACK_ENV
        given = [path for _, path in setting_files(os.environ)]
        read = (tuple(os.environ.items()), *map(_stamp, (file, *given)))
        if _read.get("last", (None,))[0] == read:
            return _read["last"][1]
        try:
            settings = cls(_env_file=file, _env_file_encoding="utf-8")
        except ValidationError as exc:
            raise InvalidSetting(" ".join(map(_sentence, exc.errors()))) from None
        except SettingsError as exc:
            raise InvalidSetting(f"{exc}; see docs/settings.md.") from None
        _read["last"] = (read, settings)
        return settings

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # pydantic's signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources, the first before the others."""
        return init_settings, env_settings, FromFiles(settings_cls), dotenv_settings


_read: dict[str, tuple[object, Settings]] = {}
"""What was read last, and the settings made of it."""


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _sentence(error: ErrorDetails) -> str:
    where, what = ".".join(map(str, error["loc"][:1])), error["msg"]
    return f"{where}: {what}." if where else f"{what}."
