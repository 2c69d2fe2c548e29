"""One scenario: jobs, faults, and the invariants that must hold when it is over.

I1 every job ends in exactly one terminal state · I2 which it never leaves · I3 one output per done
job, none for others, its bytes as expected · I4 the broker holds no message · I5 no file is left
behind · I6 no more attempts than allowed · I7 the ledger's counters are back at 0.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection
from typing import Any

from kiosk_tasks.job import Status
from tests.conftest import wait_for
from tests.faults.client import Client
from tests.faults.counters import drift
from tests.faults.site import INPUT, Site
from tests.faults.table import ROWS, Row
from tests.faults.watcher import Watcher

__all__ = ["Scenario"]

MAX_ATTEMPTS = 4
_SETTLE_LIMIT_S = 20.0


class Scenario:
    """Submits jobs, counts faults, and draws up the row."""

    def __init__(self, fault: str, what: str, client: Client) -> None:
        """fault: its number in the list. what: in words, for the table."""
        self.site: Site = client.site
        self.client = client
        self.jobs: dict[str, dict[str, Any]] = {}
        self.faults = 0
        self.sound = False  #: finished, and nothing was wrong
        self.watcher = Watcher(client.new_ledger())
        self._name, self._what = fault, what
        self._last_fault = time.monotonic()

    def submit(
        self, count: int = 1, *, job_type: str = "fault", job_id: str | None = None, **params: Any
    ) -> list[str]:
        """Submit jobs, each with a number of its own."""
        made = []
        for _ in range(count):
            given = {"number": len(self.jobs), **params}
            made.append(self.client.submit(job_type, job_id=job_id, **given))
            self.accept(made[-1], job_type=job_type, **given)
        return made

    def accept(self, job_id: str, *, job_type: str = "fault", **params: Any) -> None:
        """Count a job as one of ours, whoever submitted it."""
        self.jobs[job_id] = {"job_type": job_type, **params}
        self.watcher.add([job_id])

    def fault(self, count: int = 1) -> None:
        """Note that so many faults have just been injected."""
        self.faults += count
        self._last_fault = time.monotonic()

    def ended(self) -> int:
        return len(self.watcher.ends)

    def started(self, job_id: str) -> int:
        """Return how often a job was run."""
        return self.site.count_runs()[0][job_id]

    def wait(self, question: Callable[[], Any], limit_s: float = 30.0, what: str = "") -> Any:
        return wait_for(question, limit_s=limit_s, what=what)

    def wait_running(self, jobs: Collection[str], count: int) -> None:
        """Wait until so many runs of these jobs have begun."""
        self.wait(lambda: sum(map(self.started, jobs)) >= count, what=f"{count} are run")

    def wait_more(self, count: int) -> None:
        """Wait until so many more jobs have ended."""
        wanted = self.ended() + count
        self.wait(lambda: self.ended() >= wanted, limit_s=60, what=f"{wanted} have ended")

    def wait_ended(self, limit_s: float) -> bool:
        """Wait until every job has ended; False if one has not within the limit."""
        end = time.monotonic() + limit_s
        while self.watcher.open_count() and time.monotonic() < end:
            time.sleep(0.05)
        return not self.watcher.open_count()

    def finish(
        self,
        *,
        limit_s: float = 60.0,
        failed: Collection[str] = (),
        cancelled: Collection[str] = (),
        max_reruns: int | None = None,
        max_recovery_s: float | None = None,
    ) -> Row:
        """Wait for the jobs, hold the scenario to the invariants, add its row to the table.

        failed, cancelled: the jobs that must end so; all others must be done.
        """
        self.wait_ended(limit_s)
        left, files = self._settle()
        self.watcher.stop()
        wrong = self._wrong_ends({**dict.fromkeys(cancelled, Status.CANCELLED)}, set(failed))
        outputs, twice = self._outputs()
        row = self._row(len(twice | self.watcher.moved.keys()))
        wrong += [f"I2 {job} {what}" for job, what in self.watcher.moved.items()]
        wrong += outputs
        wrong += [f"I4 {key} holds {count} messages" for key, count in left.items()]
        wrong += [f"I5 {path} is left behind" for path in files]
        wrong += [
            f"I6 {job} has {end.attempts} attempts"
            for job, end in self.watcher.ends.items()
            if end.attempts > MAX_ATTEMPTS
        ]
        wrong += drift(self.client.ledger)
        if max_reruns is not None and row.reruns > max_reruns:
            wrong.append(f"{row.reruns} re-runs, at most {max_reruns} expected")
        if max_recovery_s is not None and row.recovered_s > max_recovery_s:
            wrong.append(f"recovered in {row.recovered_s:.1f} s, not in {max_recovery_s:g} s")
        ROWS.append(row)
        assert not wrong, f"{row}\n" + "\n".join(wrong[:40])
        self.sound = True
        return row

    def abandon(self) -> None:
        """Stop watching; nothing happens if the scenario is finished."""
        self.watcher.stop()

    def _settle(self) -> tuple[dict[str, int], list[str]]:
        """Wait until neither messages nor files are left; return what there is still.

        The reaper removes what runs have left once all of them must be dead.
        """
        end = time.monotonic() + _SETTLE_LIMIT_S
        while True:
            held = self.site.messages()
            files = self.site.leftovers()
            if not (held or files) or time.monotonic() > end:
                return held, files
            time.sleep(0.1)

    def _wrong_ends(self, wanted: dict[str, Status], failed: Collection[str]) -> list[str]:
        wrong = [f"I1 {job} is {self._status(job)}" for job in self.watcher.open_jobs()]
        for job, end in self.watcher.ends.items():
            want = wanted.get(job, Status.FAILED if job in failed else Status.DONE)
            if end.status is not want:
                reason = self.client.ledger.record(job).fields.get("reason", "")
                wrong.append(f"I1 {job} is {end.status}, not {want}: {reason}")
        return wrong

    def _status(self, job_id: str) -> str:
        records = self.client.ledger.records([job_id])
        return f"still {records[0].status}: {dict(records[0].fields)}" if records else "gone"

    def _outputs(self) -> tuple[list[str], set[str]]:
        """Return what is wrong with the outputs, and the jobs that have more than one."""
        wrong: list[str] = []
        twice: set[str] = set()
        bucket = self.site.bucket
        found: dict[str, list[str]] = {}
        for key in bucket.list("output/"):
            found.setdefault(key.split("/")[1], []).append(key)
        for job, end in self.watcher.ends.items():
            keys = found.get(job, [])
            if len(keys) > 1:
                twice.add(job)
            if end.status is not Status.DONE:
                wrong += [f"I3 {job} is {end.status} but left {key}" for key in keys]
            elif keys != [end.output]:
                wrong.append(f"I3 {job} has the outputs {keys}, its record says {end.output!r}")
            elif bucket.get(end.output) != self._golden(job):
                wrong.append(f"I3 the output of {job} is wrong")
        return wrong, twice

    def _golden(self, job_id: str) -> bytes:
        job = self.jobs[job_id]
        if job["job_type"] == "movie":
            return self._golden_movie(job)
        if job["job_type"] == "fault_model":
            text = f"{2 * job['number'] * 32 * 32:.1f} {job['number']}"
        else:
            text = f"{self._checksum(job.get('input_file_name', INPUT))} {job['number']}"
        return hashlib.sha256(text.encode()).digest() * (64 * int(job.get("repeat", 1)))

    def _golden_movie(self, job: dict[str, Any]) -> bytes:
        whole = hashlib.sha256()
        for number in range(job["frames"]):
            whole.update(hashlib.sha256(f"{self._checksum()} {number}".encode()).digest() * 64)
        text = f"{whole.hexdigest()} {job['number']}"
        return hashlib.sha256(text.encode()).digest() * 64

    def _checksum(self, key: str = INPUT) -> str:
        return hashlib.sha256(self.site.bucket.get(key)).hexdigest()

    def _row(self, twice: int) -> Row:
        ends = [end.status for end in self.watcher.ends.values()]
        started, _ = self.site.count_runs()
        runs = sum(started[job] for job in self.jobs)
        begun = sum(started[job] > 0 for job in self.jobs)
        return Row(
            fault=self._name,
            what=self._what,
            jobs=len(self.jobs),
            faults=self.faults,
            done=ends.count(Status.DONE),
            failed=ends.count(Status.FAILED),
            lost=self.watcher.open_count(),
            twice=twice,
            reruns=runs - begun,
            recovered_s=max(self.watcher.last_end - self._last_fault, 0.0),
        )
