"""What can go wrong for a caller of the client; `str(error)` is a sentence, mostly the server's.

KioskClientError
├── CannotSend           what was given is no image that could be sent
├── ServerUnavailable    nobody answers, or not in time; trying again later may do
├── ServerError          the server failed over this request
├── Unauthorized         no token, a wrong one, or one that may not do this
├── Refused              the server does not take the request: a parameter, a file, its size
│   └── NotFound         no such job, job type, model or file
├── TooManyJobs          too many requests or open jobs; later, some will have ended
├── JobFailed            the job has failed; `reason` says why
│   └── JobCancelled
├── NotInResult          the result has no such thing, such as labels of a search for spots
└── WaitedTooLong        the job has not ended within the timeout; it goes on
"""

from __future__ import annotations

from typing import ClassVar

from kiosk_tasks.errors import KioskError

__all__ = [
    "CannotSend",
    "JobCancelled",
    "JobFailed",
    "KioskClientError",
    "NotFound",
    "NotInResult",
    "Refused",
    "ServerError",
    "ServerUnavailable",
    "TooManyJobs",
    "Unauthorized",
    "WaitedTooLong",
]


class KioskClientError(KioskError):
    """Root of the client's errors.

    status: of the HTTP answer, if there was one. error: the server's name of the error.
    """

    def __init__(self, sentence: str, *, status: int | None = None, error: str = "") -> None:
        """Take the sentence, and what the answer said besides it."""
        super().__init__(sentence)
        self.status = status
        self.error = error


class CannotSend(KioskClientError, ValueError):
    """What was given is no image that could be sent."""

    http_status: ClassVar[int] = 400


class ServerUnavailable(KioskClientError):
    """Nobody answers at the address, or not in time."""

    retry: ClassVar[bool] = True
    http_status: ClassVar[int] = 503


class ServerError(KioskClientError):
    """The server failed over this request."""


class Unauthorized(KioskClientError):
    """No token, a wrong one, or one that may not do this."""

    http_status: ClassVar[int] = 401


class Refused(KioskClientError):
    """The server does not take the request."""

    http_status: ClassVar[int] = 400


class NotFound(Refused):
    """The server has no such job, job type, model or file."""

    http_status: ClassVar[int] = 404


class TooManyJobs(KioskClientError):
    """Too many requests or open jobs of this user."""

    retry: ClassVar[bool] = True
    http_status: ClassVar[int] = 429


class JobFailed(KioskClientError):
    """The job has failed."""

    def __init__(self, reason: str, *, job_id: str = "") -> None:
        """Take why, and which job."""
        super().__init__(reason)
        self.job_id = job_id
        self.reason = reason


class JobCancelled(JobFailed):
    """The job was cancelled."""

    http_status: ClassVar[int] = 409


class NotInResult(KioskClientError, LookupError):
    """The result has no such thing."""

    http_status: ClassVar[int] = 404


class WaitedTooLong(KioskClientError, TimeoutError):
    """The job has not ended within the caller's timeout; it goes on."""

    http_status: ClassVar[int] = 504
