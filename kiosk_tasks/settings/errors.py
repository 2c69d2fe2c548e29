"""What can be wrong with the settings."""

from __future__ import annotations

from kiosk_tasks.errors import UserError

__all__ = ["InvalidSetting"]


class InvalidSetting(UserError):
    """A variable of the environment has no meaning; the message names it, never its value."""

    http_status = 500
