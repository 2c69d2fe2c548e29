"""What the client does, as plans: requests, retries, and what the answers mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from kiosk_tasks.client.effects import NetworkDown, Pause, Plan, Send
from kiosk_tasks.client.errors import JobCancelled, JobFailed, Refused, ServerUnavailable
from kiosk_tasks.client.state import ResultFile, State
from kiosk_tasks.client.wire import (
    Reply,
    Request,
    Upload,
    error_of,
    pause_s,
    worth_repeating,
)

__all__ = ["Calls", "job_path", "require_done"]

_STORED_S = 300.0
"""A server may take so long to put a large file into its bucket, once all of it was sent."""
_ANY_JOBS = 200
"""The server lists no more at once."""


@dataclass(frozen=True)
class Calls:
    """The requests to one server.

    url: as messages name it, without a secret. retries: after the first attempt.
    patient: whether to come back to a server that has too much to do with this user (429).
    """

    url: str
    retries: int = 4
    patient: bool = True

    def call(self, request: Request, *, into: Path | None = None) -> Plan[Reply]:
        """Send a request, again where that may help; raise the error that the answer stands for."""
        attempt = 0
        while True:
            attempt += 1
            last = attempt > self.retries
            try:
                reply: Reply = yield Send(request, into)
            except NetworkDown as down:
                if last or (down.sent and not request.safe):
                    raise self.unreachable(down) from down
                yield Pause(pause_s(attempt))
                continue
            if reply.ok:
                return reply
            wait = worth_repeating(reply, request) and (self.patient or reply.status != 429)
            if last or not wait:
                raise error_of(reply, self.url)
            yield Pause(pause_s(attempt, reply))

    def unreachable(self, down: NetworkDown) -> ServerUnavailable:
        """Return the error for a server that cannot be reached."""
        return ServerUnavailable(
            f"no Kiosk answers at {self.url} ({down}); is it running, and is the address right?"
        )

    def submit(
        self,
        type_name: str,
        what: Upload | str,
        params: Mapping[str, Any],
        *,
        name: str | None = None,
        key: str | None = None,
    ) -> Plan[State]:
        """Submit a job; however often the request is sent, it is one.

        what: a file to send, or the key of one that is in the bucket already.
        key: the idempotency key, for a caller who may come back with it; default: a new one.
        """
        request = Request(
            "POST",
            f"jobs/{quote(type_name, safe='')}",
            headers={"Idempotency-Key": key or uuid4().hex},
            read_s=_STORED_S,
        )
        if isinstance(what, str):
            named = {} if name is None else {"original_name": name}
            request = replace(request, json={"input_file_name": what, **named, **params})
        else:
            fields = {k: _field(v) for k, v in params.items() if v is not None}
            request = replace(request, upload=what, fields=fields)
        reply = yield from self.call(request)
        return State.parse(reply.json())

    def job(self, job_id: str) -> Plan[State]:
        """Ask for a job."""
        reply = yield from self.call(Request("GET", job_path(job_id)))
        return State.parse(reply.json())

    def jobs(self, limit: int) -> Plan[list[State]]:
        """Ask for the newest jobs, newest first, page by page."""
        found: list[State] = []
        before: dict[str, Any] = {}
        while len(found) < limit:
            query = {"limit": min(limit - len(found), _ANY_JOBS), **before}
            told = (yield from self.call(Request("GET", "jobs", query))).json()
            found += [State.parse(one) for one in told["jobs"]]
            if not told.get("next") or not told["jobs"]:
                break
            before = {"before": told["next"]}
        return found

    def cancel(self, job_id: str) -> Plan[State]:
        """Cancel a job and return what became of it, which may be another end."""
        try:
            reply = yield from self.call(Request("DELETE", job_path(job_id)))
        except Refused as exc:
            if exc.status != 409:  # it had ended
                raise
            return (yield from self.job(job_id))
        return State.parse(reply.json())

    def retry(self, job_id: str) -> Plan[State]:
        """Submit the job's input and parameters once more."""
        again = Request(
            "POST",
            f"{job_path(job_id)}/retry",
            headers={"Idempotency-Key": uuid4().hex},
            safe=False,
        )
        return State.parse((yield from self.call(again)).json())

    def job_types(self) -> Plan[dict[str, dict[str, Any]]]:
        """Ask which job types there are, and for the schema of their parameters."""
        told = (yield from self.call(Request("GET", "job-types"))).json()
        return {one["name"]: one for one in told["job_types"]}

    def models(self) -> Plan[dict[str, list[str]]]:
        """Ask which versions of which models are served."""
        return dict((yield from self.call(Request("GET", "models"))).json()["models"])

    def files(self, job_id: str) -> Plan[list[ResultFile]]:
        """Ask for the files of a result."""
        reply = yield from self.call(Request("GET", f"{job_path(job_id)}/files"))
        return [ResultFile.parse(one) for one in reply.json()["files"]]

    def file(self, job_id: str, name: str) -> Plan[bytes]:
        """Fetch a file of a result."""
        request = Request("GET", f"{job_path(job_id)}/files/{quote(name)}")
        return (yield from self.call(request)).body

    def overlay(self, job_id: str) -> Plan[bytes]:
        """Fetch the picture of a result."""
        return (yield from self.call(Request("GET", f"{job_path(job_id)}/overlay.png"))).body

    def whole(self, job_id: str, into: Path) -> Plan[Reply]:
        """Write the whole result to a file."""
        return (yield from self.call(Request("GET", f"{job_path(job_id)}/result"), into=into))


def require_done(state: State) -> None:
    """Raise JobFailed, with the server's reason, for a job that has not ended well."""
    if state.done:
        return
    kind = JobCancelled if state.status == "cancelled" else JobFailed
    reason = state.reason or f"job {state.id} is {state.status}."
    raise kind(reason, job_id=state.id)


def job_path(job_id: str) -> str:
    """Return the path of a job, below the URL of the server."""
    return f"jobs/{quote(job_id, safe='')}"


def _field(value: Any) -> str:
    """Return a parameter as a field of a form."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ",".join(_field(one) for one in value)
    return str(value)
