"""A zip archive of inputs, for any job type: child jobs for its files, one archive of results.

A file gets a job of its own; small ones, where they are many, one together (`JobType.many`).

`archive_of(job_type)` makes the job type `<name>-zip` out of a declared one: same queue, same
parameters. It is derived for every job type, and declared by none.

unpacking.py   the files of an archive, as children
packing.py     the children's results, as one archive
small.py       which files are small
many.py        the job that does many small ones, image by image in turns
turns.py       functions that work one at a time, and wait for one another's company
sharing.py     a model server that all of them ask together
batches.py     the files that such a job reads and writes
facts.py       what it tells of each
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial
from typing import Any

from kiosk_tasks.archive_jobs.facts import COUNTS
from kiosk_tasks.archive_jobs.many import many_name, many_of
from kiosk_tasks.archive_jobs.packing import pack_results
from kiosk_tasks.archive_jobs.unpacking import unpack
from kiosk_tasks.imaging.zarr_names import is_ome_zarr
from kiosk_tasks.job import JobType, Stage, Status
from kiosk_tasks.stages import check_job

__all__ = ["ARCHIVE_END", "COUNTS", "archive_of", "is_archive", "many_of"]

ARCHIVE_END = "-zip"
"""What the name of an archive's job type ends with; the old Kiosk's queues are called so, too."""

_SECONDS = 4 * 3600
"""Limit of unpacking, and of packing, each: 10,000 files through a bucket at a second each."""


def is_archive(fields: Mapping[str, Any]) -> bool:
    """Tell whether a submission's input is a zip archive, by either of its names.

    A zipped OME-Zarr is one image.
    """
    key, name = (str(fields.get(one) or "") for one in ("input_file_name", "original_name"))
    if is_ome_zarr(key) or is_ome_zarr(name):
        return False
    return key.lower().endswith(".zip") or name.lower().endswith(".zip")


@cache
def archive_of(job_type: JobType[Any]) -> JobType[Any]:
    """Return the job type that does archives of what another does."""
    unpacking = Stage(
        "unpack",
        partial(unpack, type_name=job_type.name, many=many_name(job_type)),
        Status.STARTED,
        check=partial(check_job, job_type.steps),
        fans_out=True,
    )
    return replace(
        job_type,
        name=f"{job_type.name}{ARCHIVE_END}",
        title=f"{job_type.title}, for each file of a zip archive",
        stages=(unpacking, Stage("pack_results", pack_results, Status.SAVING)),
        aliases=tuple(f"{alias}{ARCHIVE_END}" for alias in job_type.aliases),
        many=False,
        seconds=max(job_type.seconds, _SECONDS),
    )
