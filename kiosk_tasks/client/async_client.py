"""`AsyncClient`: the same client on an event loop. What it does is in the same plans."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import httpx

from kiosk_tasks.client.address import find_address
from kiosk_tasks.client.batches import Batch, Mapped
from kiosk_tasks.client.calls import Calls, require_done
from kiosk_tasks.client.contents import Contents
from kiosk_tasks.client.images import as_upload
from kiosk_tasks.client.jobs import JobFacts
from kiosk_tasks.client.options import http_options
from kiosk_tasks.client.reading import Row, Tracks
from kiosk_tasks.client.state import ResultFile, State
from kiosk_tasks.client.transport import AsyncTransport
from kiosk_tasks.client.watching import Watching

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["AsyncClient", "AsyncJob", "AsyncResult"]


class AsyncClient:
    """A Kiosk, over HTTP; see `Client` for what each method takes."""

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
        """Connect to nothing yet; `http` are options of `httpx.AsyncClient`."""
        address = find_address(url, token, user)
        self.url = address.url
        self._transport = AsyncTransport(httpx.AsyncClient(**http_options(address, timeout, http)))
        self._calls = Calls(address.url, retries)

    async def submit(
        self,
        type_name: str,
        image: Any = None,
        *,
        name: str | None = None,
        key: str | None = None,
        **params: Any,
    ) -> AsyncJob:
        """Submit a job on one image; for many, use `map` or `asyncio.gather`."""
        if key is not None:
            plan = self._calls.submit(type_name, key, params, name=name)
        else:
            upload, given = await asyncio.to_thread(
                as_upload, image, params, name=name, type_name=type_name
            )
            plan = self._calls.submit(type_name, upload, given)
        return AsyncJob(self._transport, self._calls, await self._transport.run(plan))

    async def segment(self, image: Any, **params: Any) -> AsyncJob:
        """Find nuclei and cells (job type `predict`)."""
        return await self.submit("predict", image, **params)

    async def track(self, image: Any, **params: Any) -> AsyncJob:
        """Follow the cells of a movie."""
        return await self.submit("track", image, **params)

    async def spots(self, image: Any, **params: Any) -> AsyncJob:
        """Find bright spots (job type `spot`)."""
        return await self.submit("spot", image, **params)

    async def mesmer(self, image: Any, **params: Any) -> AsyncJob:
        """Find whole cells and nuclei of tissue."""
        return await self.submit("mesmer", image, **params)

    async def polaris(self, image: Any, **params: Any) -> AsyncJob:
        """Find spots, and in which cell each lies."""
        return await self.submit("polaris", image, **params)

    async def map(
        self,
        images: Any,
        type_name: str = "predict",
        *,
        out: str | Path,
        open_jobs: int = 16,
        **params: Any,
    ) -> AsyncIterator[Mapped]:
        """Run a job for each image, and yield what became of each as they end."""
        batch = Batch(self._calls, type_name, images, Path(out), params).at_most(open_jobs)
        while (ended := await self._transport.run(batch.next())) is not None:
            yield ended

    async def job(self, job_id: str) -> AsyncJob:
        """Return the job of that id; raises NotFound."""
        state = await self._transport.run(self._calls.job(job_id))
        return AsyncJob(self._transport, self._calls, state)

    async def jobs(self, limit: int = 50) -> list[AsyncJob]:
        """Return the newest jobs, newest first."""
        states = await self._transport.run(self._calls.jobs(limit))
        return [AsyncJob(self._transport, self._calls, state) for state in states]

    async def job_types(self) -> dict[str, dict[str, Any]]:
        """Return the job types by name."""
        return await self._transport.run(self._calls.job_types())

    async def models(self) -> dict[str, list[str]]:
        """Return the versions of each model that is served."""
        return await self._transport.run(self._calls.models())

    async def close(self) -> None:
        """Close connections; jobs go on."""
        await self._transport.http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncClient({self.url!r})"


class AsyncJob(JobFacts):
    """A job on the server; see `Job`."""

    def __init__(self, transport: AsyncTransport, calls: Calls, state: State) -> None:
        """Made by `AsyncClient`."""
        super().__init__(calls, state)
        self._transport = transport

    async def refresh(self) -> AsyncJob:
        """Ask the server how it stands; return this job."""
        self.state = await self._transport.run(self._calls.job(self.id))
        return self

    async def watch(self, timeout: float | None = None) -> AsyncIterator[State]:
        """Yield the job's state each time it has changed, up to its end."""
        watching = Watching(self._calls, self.id, timeout=timeout)
        try:
            while (state := await self._transport.run(watching.next())) is not None:
                self.state = state
                yield state
        finally:
            await self._transport.run(watching.stop())

    async def wait(self, timeout: float | None = None) -> AsyncJob:
        """Wait until the job has ended, well or not; return it. Cancelling this ends no job."""
        async for _state in self.watch(timeout):
            pass
        return self

    async def cancel(self) -> bool:
        """End the job; False if it had ended otherwise."""
        self.state = await self._transport.run(self._calls.cancel(self.id))
        return self.status == "cancelled"

    async def retry(self) -> AsyncJob:
        """Submit the same input with the same parameters again; return the new job."""
        state = await self._transport.run(self._calls.retry(self.id))
        return AsyncJob(self._transport, self._calls, state)

    async def result(self, timeout: float | None = None) -> AsyncResult:
        """Return the result, once the job is done; it is waited for."""
        if not self.ended:
            await self.wait(timeout)
        require_done(self.state)
        return AsyncResult(self._transport, Contents(self._calls, self.state))


class AsyncResult:
    """What a finished job leaves: the properties of `Result`, as methods to be awaited."""

    def __init__(self, transport: AsyncTransport, contents: Contents) -> None:
        """Made by `AsyncJob.result()`."""
        self._run = transport.run
        self._contents = contents

    async def files(self) -> list[ResultFile]:
        """Return the files, with their sizes."""
        return await self._run(self._contents.files())

    async def labels(self) -> NDArray[np.int32]:
        """Return the label image."""
        return await self._run(self._contents.labels())

    async def parts(self) -> dict[str, NDArray[np.int32]]:
        """Return all label images by name."""
        return await self._run(self._contents.parts())

    async def tracks(self) -> Tracks:
        """Return the tracks of a movie."""
        return await self._run(self._contents.tracks())

    async def spots(self) -> NDArray[np.float64]:
        """Return the places of spots."""
        return await self._run(self._contents.spots())

    async def cells(self) -> list[Row]:
        """Return the table of cells."""
        return await self._run(self._contents.cells())

    async def overlay(self) -> bytes:
        """Return the image with outlines of what was found, PNG."""
        return await self._run(self._contents.overlay())

    async def table(self, ending: str) -> list[Row]:
        """Return the rows of a table by the end of its name."""
        return await self._run(self._contents.table(ending))

    async def read(self, name: str) -> bytes:
        """Return one file by its name."""
        return await self._run(self._contents.read(name))

    async def save(self, folder: str | Path) -> list[Path]:
        """Write all files into a folder; return their paths."""
        return await self._run(self._contents.save(Path(folder)))
