"""The Python client: `Client(url).segment("x.tif")`, over HTTP, with nothing of the server.

What is sent and what an answer means is decided in `_calls`, by generators that know no network;
`_transport` has the two ways to carry that out. `Client` and `AsyncClient` are thin over them.
"""

from kiosk_tasks.client.async_client import AsyncClient, AsyncJob, AsyncResult
from kiosk_tasks.client.batches import Mapped
from kiosk_tasks.client.client import Client
from kiosk_tasks.client.errors import (
    CannotSend,
    JobCancelled,
    JobFailed,
    KioskClientError,
    NotFound,
    NotInResult,
    Refused,
    ServerError,
    ServerUnavailable,
    TooManyJobs,
    Unauthorized,
    WaitedTooLong,
)
from kiosk_tasks.client.jobs import Job, Jobs
from kiosk_tasks.client.reading import Tracks
from kiosk_tasks.client.results import Result
from kiosk_tasks.client.state import State

__all__ = [
    "AsyncClient",
    "AsyncJob",
    "AsyncResult",
    "CannotSend",
    "Client",
    "Job",
    "JobCancelled",
    "JobFailed",
    "Jobs",
    "KioskClientError",
    "Mapped",
    "NotFound",
    "NotInResult",
    "Refused",
    "Result",
    "ServerError",
    "ServerUnavailable",
    "State",
    "TooManyJobs",
    "Tracks",
    "Unauthorized",
    "WaitedTooLong",
]
