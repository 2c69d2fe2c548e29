"""`Job`: a job on the server, as the blocking client shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

from kiosk_tasks.client.calls import Calls, require_done
from kiosk_tasks.client.contents import Contents
from kiosk_tasks.client.display import say, showing
from kiosk_tasks.client.html import job_html
from kiosk_tasks.client.results import Result
from kiosk_tasks.client.state import State
from kiosk_tasks.client.transport import Transport
from kiosk_tasks.client.watching import Watching

__all__ = ["Job", "JobFacts", "Jobs"]


class JobFacts:
    """What is known of a job; as of the last time the server was asked."""

    def __init__(self, calls: Calls, state: State) -> None:
        """Made by a client."""
        self._calls = calls
        self.state = state

    @property
    def id(self) -> str:
        """Its id."""
        return self.state.id

    @property
    def type(self) -> str:
        """Its job type."""
        return self.state.type

    @property
    def name(self) -> str:
        """What the input is called."""
        return self.state.name

    @property
    def status(self) -> str:
        """`new`, …, `done`, `failed` or `cancelled`."""
        return self.state.status

    @property
    def progress(self) -> int:
        """0 to 100."""
        return self.state.progress

    @property
    def reason(self) -> str | None:
        """Why it failed."""
        return self.state.reason

    @property
    def ended(self) -> bool:
        """Whether it is over, well or not."""
        return self.state.ended

    @property
    def done(self) -> bool:
        """Whether it has ended well."""
        return self.state.done

    def __repr__(self) -> str:
        so_far = "" if self.ended else f", {self.progress} %"
        return (
            f"{type(self).__name__}({self.id}, {self.type} of {self.name!r}: {self.status}{so_far})"
        )

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        return job_html(self.state)


class Job(JobFacts):
    """A job on the server. What it tells is as of the last call of `refresh` or `wait`."""

    def __init__(self, transport: Transport, calls: Calls, state: State) -> None:
        """Made by `Client`."""
        super().__init__(calls, state)
        self._transport = transport
        self._result: Result | None = None

    def refresh(self) -> Job:
        """Ask the server how it stands; return this job."""
        self.state = self._transport.run(self._calls.job(self.id))
        return self

    def watch(self, timeout: float | None = None) -> Iterator[State]:
        """Yield the job's state each time it has changed, up to its end.

        Raises WaitedTooLong after `timeout` seconds.
        """
        watching = Watching(self._calls, self.id, timeout=timeout)
        try:
            while (state := self._transport.run(watching.next())) is not None:
                self.state = state
                yield state
        finally:
            self._transport.run(watching.stop())

    def wait(
        self, timeout: float | None = None, progress: bool | Callable[[State], None] = True
    ) -> Job:
        """Wait until the job has ended, well or not; return it.

        progress: show a bar, in a terminal or a notebook; or a function to call with each state.
        An interrupt (Ctrl-C, or the notebook's stop button) ends the waiting, not the job.
        """
        try:
            with (
                showing(progress, self.name or self.id) as show,
                closing(self.watch(timeout)) as states,  # type: ignore[type-var]  # a generator
            ):
                for state in states:
                    show(state)
        except KeyboardInterrupt:
            say(
                f"Job {self.id} goes on. Wait for it again with client.job({self.id!r}).wait(), "
                "or end it with .cancel()."
            )
            raise
        return self

    def cancel(self) -> bool:
        """End the job; False if it had ended otherwise."""
        self.state = self._transport.run(self._calls.cancel(self.id))
        return self.status == "cancelled"

    def retry(self) -> Job:
        """Submit the same input with the same parameters again; return the new job."""
        return Job(self._transport, self._calls, self._transport.run(self._calls.retry(self.id)))

    def result(self, timeout: float | None = None) -> Result:
        """Return the result, once the job is done; it is waited for.

        Raises JobFailed with the reason, JobCancelled, WaitedTooLong.
        """
        if not self.ended:
            self.wait(timeout, progress=False)
        require_done(self.state)
        if self._result is None:
            self._result = Result(self._transport, Contents(self._calls, self.state))
        return self._result

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the facts, and the overlay of a job that is done."""
        return job_html(self.state, self.result().picture() if self.done else None)


class Jobs(list[Job]):
    """Several jobs, in the order in which their images were given."""

    def wait(self, timeout: float | None = None, progress: bool = True) -> Jobs:
        """Wait for each, one after the other; the timeout is for each."""
        for job in self:
            if not job.ended:
                job.wait(timeout, progress)
        return self

    def results(self) -> list[Result]:
        """Return all results; raises JobFailed at the first job that has failed."""
        return [job.result() for job in self]

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the facts of each."""
        return "".join(f"<div>{job_html(job.state)}</div>" for job in self)
