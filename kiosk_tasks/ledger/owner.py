"""Who submits a job, and how many they may have open."""

from __future__ import annotations

from dataclasses import dataclass

from kiosk_tasks.errors import UserError

__all__ = ["NotEnded", "Owner", "TooManyJobs"]


class NotEnded(UserError):
    """Only a job that has ended can be done again."""

    http_status = 409


class TooManyJobs(UserError):
    """A user has as many open jobs as one may."""

    http_status = 429

    @classmethod
    def than(cls, most_open: int) -> TooManyJobs:
        """Return the error with its sentence."""
        return cls(
            f"{most_open} of your jobs have not ended, and no more are taken at a time. "
            "Send this one when some have."
        )


@dataclass(frozen=True)
class Owner:
    """A user of the web service.

    name: empty where nobody need say who they are.
    most_open: jobs that may not have ended; 0 is as many as they like.
    """

    name: str = ""
    most_open: int = 0
