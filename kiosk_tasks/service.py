"""What can be done with jobs: submit, look, wait, cancel, fetch. CLI, web and bridge call this."""

from __future__ import annotations

import shutil
import time
import zipfile
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

from kiosk_tasks.archive_jobs import ARCHIVE_END
from kiosk_tasks.errors import Cancelled, MissingObject
from kiosk_tasks.inputs import bytes_of, delete_input, has_input, put_input
from kiosk_tasks.job import Job, Status, new_job
from kiosk_tasks.jobs import find, find_for
from kiosk_tasks.ledger import LostJobs, NotEnded, Owner, Page, Record, listing
from kiosk_tasks.outputs import place_in, stem_of
from kiosk_tasks.run.ending import discard, end_badly
from kiosk_tasks.run.links import plan_links
from kiosk_tasks.run.liveness import sign
from kiosk_tasks.run.reaper import Reaped, make_reaper
from kiosk_tasks.settings import Settings
from kiosk_tasks.wiring import adapters

__all__ = [
    "again",
    "cancel",
    "check_open",
    "consumers",
    "fetch",
    "forget_files",
    "newest",
    "page",
    "reap",
    "seconds_since_reaping",
    "status",
    "submit",
    "submit_file",
    "submit_for",
    "unconsumed",
    "watch",
]

_POLL_S = 0.1


def submit(type_name: str, fields: Mapping[str, Any]) -> Job:
    """Submit a job on an input that is in the bucket already.

    Raises UnknownJobType and InvalidParameter before anything is written.
    """
    job = new_job(find_for(type_name, fields), fields)
    _chain().submit(job, ignore_result=True)  # nobody has it: the ledger is asked
    return job


def check_open(owner: Owner) -> None:
    """Raise TooManyJobs if a user's next job would be one too many: before a file is sent."""
    adapters().ledger.check_open(owner)


def submit_for(owner: Owner, job: Job) -> tuple[Record, bool]:
    """Submit a job of a user's; return its record, and whether it was new.

    One of the same id is the same job: it is not submitted twice, however many try at once.
    Raises TooManyJobs.
    """
    # Nobody waits for the result of Celery, and each that is awaited is a subscription.
    _chain().submit(job, owner=owner, ignore_result=True)
    record = status(job.id)
    # Of those who made a job of this id, one has written what it made.
    return record, record.fields["created_at"] == job.created_at


def again(owner: Owner, job_id: str, *, new_id: str | None = None) -> tuple[Record, bool]:
    """Submit a job that has ended once more: the same input, the same parameters, another id.

    Raises UnknownJob, NotEnded, MissingObject if the input is gone, and TooManyJobs.
    """
    record = status(job_id)
    if not record.status.terminal:
        raise NotEnded(f"job {job_id} is {record.status}; it can be done again once it has ended.")
    job = new_job(
        find(record.fields["job_type"]),
        record.payload,
        job_id=new_id,
        input_bytes=int(record.fields.get("input_bytes") or 0) or None,
    )
    if not has_input(adapters().storage, job.source.input_file_name):
        raise MissingObject(f"the input of job {job_id} is gone; send the file again.")
    return submit_for(owner, job)


def submit_file(
    type_name: str,
    path: Path,
    fields: Mapping[str, Any],
    *,
    name: str | None = None,
    job_id: str | None = None,
) -> Job:
    """Put a local file, or the folder of an OME-Zarr, into the bucket and submit a job on it.

    name: what results are named after; default: the file's name.
    job_id: the job's, for a caller who must know it before; default: a new one.
    """
    key = f"uploads/{uuid4().hex}/{path.name}"
    given = {**fields, "input_file_name": key, "original_name": name or path.name}
    size = bytes_of(path)
    job = new_job(find_for(type_name, given), given, job_id=job_id, input_bytes=size)
    put_input(adapters().storage, key, path)
    _chain().submit(job, ignore_result=True)
    return job


def status(job_id: str) -> Record:
    """Return a job's record; raises UnknownJob."""
    return adapters().ledger.record(job_id)


def newest(count: int) -> list[Record]:
    """Return the newest jobs' records, newest first."""
    return page(count).records


def page(count: int, *, before: str = "") -> Page:
    """Return the newest jobs of those submitted before a moment, or a page's `before`.

    Raises InvalidParameter.
    """
    return listing.newest(adapters().ledger, count, before=before)


def cancel(job_id: str) -> bool:
    """End a job that has not ended; False if it had. A running one stops at its next tile.

    Raises UnknownJob.
    """
    outside = adapters()
    outside.ledger.record(job_id)
    reason = Cancelled(f"job {job_id} was cancelled.")
    if not end_badly(_chain().app, outside.ledger, job_id, reason):
        return False
    discard(outside, job_id, output=False)  # a run that is not over removes what it writes itself
    return True


def reap(*, every_s: float | None = None) -> Reaped:
    """Look for lost jobs and send them again, once; with `every_s`, until the process ends.

    Raises BrokerUnavailable and StorageUnavailable when looking once.
    """
    reaper = make_reaper(_chain().app)
    if every_s is None:
        reaper.tidy()
        return reaper.look()
    reaper.run(every_s, sign=partial(sign, Settings.load().alive_file))
    return Reaped()


def seconds_since_reaping() -> float | None:
    """Return how long ago lost jobs were last looked for, seconds; None if they never were."""
    return LostJobs(adapters().ledger).seconds_since_look()


def consumers() -> dict[str, int]:
    """Return how many workers consume each queue, of those that answer within a second."""
    answers = _chain().app.control.inspect(timeout=1.0).active_queues() or {}
    names = [queue["name"] for queues in answers.values() for queue in queues]
    return {name: names.count(name) for name in sorted(set(names))}


def unconsumed(type_name: str) -> list[str]:
    """Return the queues that a job of this type passes through and no worker consumes."""
    settings = Settings.load()
    links = plan_links(find(type_name), mode=settings.links, stage_queues=settings.stage_queues)
    return sorted({link.queue for link in links} - consumers().keys())


def watch(job_ids: Collection[str]) -> Iterator[Record | None]:
    """Yield each job's record whenever it has changed, until all have ended; None between looks.

    The None lets a caller do something else, such as checking that the stack is alive.
    job_ids: the caller may add some, and remove those that have ended, on the way.
    """
    seen: dict[str, tuple[Status, int]] = {}
    ended: set[str] = set()
    while waiting := [job_id for job_id in job_ids if job_id not in ended]:
        records = adapters().ledger.records(waiting)
        ended.update(waiting)  # one that is gone, too
        ended.difference_update(record.id for record in records if not record.status.terminal)
        for record in records:
            state = (record.status, record.progress)
            if seen.get(record.id) != state:
                seen[record.id] = state
                yield record
        yield None
        if not ended.issuperset(job_ids):
            time.sleep(_POLL_S * max(1.0, len(waiting) / 100))


def fetch(record: Record, folder: Path) -> list[Path]:
    """Unpack a finished job's result into a folder; return the files written, by name.

    What became of an archive goes into a folder of its own there, named after it. Memory stays
    bounded. Raises MissingObject, UnreadableArchive, StorageFull and OSError.
    """
    if record.fields.get("job_type", "").endswith(ARCHIVE_END):
        folder = folder / stem_of(record.fields["original_name"])
    folder.mkdir(parents=True, exist_ok=True)
    packed = folder / f".{record.id}.zip.part"  # where its files need the space anyway
    try:
        adapters().storage.download(record.fields["output_file_name"], packed)
        if not zipfile.is_zipfile(packed):  # a job type's own kind of result
            name = record.fields["output_file_name"].rpartition("/")[2]
            return [packed.replace(folder / name)]
        with zipfile.ZipFile(packed) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            places = [place_in(folder, member.filename) for member in members]
            return sorted(map(partial(_extract, archive), members, places))
    finally:
        packed.unlink(missing_ok=True)


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> Path:
    """Write one file, whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    with archive.open(member) as source, part.open("wb") as copy:
        shutil.copyfileobj(source, copy, 2**20)
    return part.replace(target)


def forget_files(record: Record, *, output: bool = True) -> None:
    """Delete a job's input and, if `output`, its result from the bucket, once it is fetched."""
    if record.fields.get("input_file_name"):
        delete_input(adapters().storage, record.fields["input_file_name"])
    if output and record.fields.get("output_file_name"):
        adapters().storage.delete(record.fields["output_file_name"])


def _chain() -> Any:
    """Return the module of the Celery application.

    Celery fixes its settings when the application is loaded: not before a job is sent, so that a
    command line may start the stack first.
    """
    return import_module("kiosk_tasks.run.chain")
