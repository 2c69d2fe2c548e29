"""Makes the process one of the release before: its messages are of another protocol."""

from kiosk_tasks import settings

settings.PROTOCOL = 0
