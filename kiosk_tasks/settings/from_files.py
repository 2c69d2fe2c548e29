"""Settings that lie in files, as pydantic-settings reads them."""

from __future__ import annotations

import os
from collections.abc import Mapping

from pydantic_settings import EnvSettingsSource

from kiosk_tasks.setting_files import setting_files, text_of
from kiosk_tasks.settings.errors import InvalidSetting

__all__ = ["FromFiles"]


class FromFiles(EnvSettingsSource):
    """Reads `KIOSK_X` from the file that `KIOSK_X_FILE` names."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        """Return the settings that come from files, by their names in small letters.

        Raises InvalidSetting if a file cannot be read.
        """
        known = {
            str(name)
            for field in self.settings_cls.model_fields.values()
            for name in getattr(field.validation_alias, "choices", ())
        }
        found: dict[str, str | None] = {}
        for name, path in setting_files(os.environ):
            if name in known:
                try:
                    found[name.lower()] = text_of(path) or None
                except (OSError, UnicodeDecodeError) as exc:
                    why = exc.strerror if isinstance(exc, OSError) else "it is not text"
                    raise InvalidSetting(
                        f"{name}_FILE names {path}, which cannot be read: {why}."
                    ) from None
        return found
