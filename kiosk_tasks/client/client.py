"""`Client`: the blocking client, for scripts and notebooks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from kiosk_tasks.client.address import find_address
from kiosk_tasks.client.batches import Batch, Mapped
from kiosk_tasks.client.calls import Calls
from kiosk_tasks.client.images import as_upload, each, many
from kiosk_tasks.client.jobs import Job, Jobs
from kiosk_tasks.client.options import http_options
from kiosk_tasks.client.transport import Transport

__all__ = ["Client"]


class Client:
    """A Kiosk, over HTTP.

    `image` below is the path of a file (also a zip archive of images), or a NumPy array; or a
    folder or a list of these, and then `Jobs` are returned, one for each.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        user: str | None = None,
        *,
        timeout: float = 30.0,
        retries: int = 4,
        **http: Any,
    ) -> None:
        """Connect to nothing yet.

        url: default: KIOSK_URL, else that of `kiosk up` on this machine. token: default:
        KIOSK_TOKEN. user: whose token it is, where the server asks for both.
        timeout: seconds to wait for an answer, not for a job. retries: of a request that nobody
        answered, or that the server is too busy for. http: more options of `httpx.Client`, such
        as `verify` and `proxy`.
        """
        address = find_address(url, token, user)
        self.url = address.url
        self._transport = Transport(httpx.Client(**http_options(address, timeout, http)))
        self._calls = Calls(address.url, retries)

    def submit(
        self,
        type_name: str,
        image: Any = None,
        *,
        name: str | None = None,
        key: str | None = None,
        **params: Any,
    ) -> Any:
        """Submit a job; return a `Job`, or `Jobs` of a folder or a list.

        name: what results are named after; default: the file's name.
        key: of an input that is in the bucket already, in place of an image.
        params: see `job_types()`; `axes` says what the dimensions of an array are.
        Raises CannotSend, Refused, Unauthorized, TooManyJobs, ServerUnavailable.
        """
        if image is not None and many(image):
            return Jobs(self.submit(type_name, one, **params) for one in each(image))
        if key is not None:
            plan = self._calls.submit(type_name, key, params, name=name)
        else:
            upload, given = as_upload(image, params, name=name, type_name=type_name)
            plan = self._calls.submit(type_name, upload, given)
        return Job(self._transport, self._calls, self._transport.run(plan))

    def segment(self, image: Any, **params: Any) -> Any:
        """Find nuclei and cells (job type `predict`)."""
        return self.submit("predict", image, **params)

    def track(self, image: Any, **params: Any) -> Any:
        """Follow the cells of a movie; an array's axes are taken for T, Y, X."""
        return self.submit("track", image, **params)

    def spots(self, image: Any, **params: Any) -> Any:
        """Find bright spots (job type `spot`)."""
        return self.submit("spot", image, **params)

    def mesmer(self, image: Any, **params: Any) -> Any:
        """Find whole cells and nuclei of tissue."""
        return self.submit("mesmer", image, **params)

    def polaris(self, image: Any, **params: Any) -> Any:
        """Find spots, and in which cell each lies."""
        return self.submit("polaris", image, **params)

    def map(
        self,
        images: Any,
        type_name: str = "predict",
        *,
        out: str | Path,
        open_jobs: int = 16,
        **params: Any,
    ) -> Iterator[Mapped]:
        """Run a job for each image, and yield what became of each as they end.

        images: a folder, or a list of files or arrays. out: the folder for results, written as
        they come. open_jobs: how many jobs are open at a time; where the server allows fewer,
        fewer. The same call again leaves out what is there, and takes up jobs that still run.
        """
        batch = Batch(self._calls, type_name, images, Path(out), params).at_most(open_jobs)
        while (ended := self._transport.run(batch.next())) is not None:
            yield ended

    def job(self, job_id: str) -> Job:
        """Return the job of that id; raises NotFound."""
        state = self._transport.run(self._calls.job(job_id))
        return Job(self._transport, self._calls, state)

    def jobs(self, limit: int = 50) -> Jobs:
        """Return the newest jobs, newest first."""
        states = self._transport.run(self._calls.jobs(limit))
        return Jobs(Job(self._transport, self._calls, state) for state in states)

    def job_types(self) -> dict[str, dict[str, Any]]:
        """Return the job types by name: title, accepted files, JSON Schema of the parameters."""
        return self._transport.run(self._calls.job_types())

    def models(self) -> dict[str, list[str]]:
        """Return the versions of each model that is served."""
        return self._transport.run(self._calls.models())

    def close(self) -> None:
        """Close connections; jobs go on."""
        self._transport.http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.url!r})"
