"""The job types: one file each, found here and in installed packages, listed nowhere.

A module in this folder, or a module named by an entry point of the group `kiosk_tasks.job_types`,
declares `job_type = JobType(…)`. For each there is another, `<name>-zip`, that does archives.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Any

from kiosk_tasks.archive_jobs import ARCHIVE_END, archive_of, is_archive, many_of
from kiosk_tasks.errors import UnknownJobType
from kiosk_tasks.job import JobType

__all__ = ["ENTRY_POINTS", "declared", "find", "find_for", "job_types", "task_types"]

ENTRY_POINTS = "kiosk_tasks.job_types"
"""Entry-point group by which an installed package adds job types."""


def job_types() -> Mapping[str, JobType[Any]]:
    """Return every job type that people submit, by name; raises ValueError as `declared` does."""
    offered = (one for one in declared().values() if not one.internal)
    return MappingProxyType({one.name: one for one in offered})


@cache
def declared() -> Mapping[str, JobType[Any]]:
    """Return every declared job type by name, internal ones among them.

    Raises ValueError if two share a name or an alias.
    """
    found: dict[str, JobType[Any]] = {}
    origin: dict[str, str] = {}
    for module in (*_own_modules(), *_plugin_modules()):
        job_type = importlib.import_module(module).job_type
        for name in (job_type.name, *job_type.aliases):
            if name.endswith(ARCHIVE_END):
                raise ValueError(
                    f'job type "{name}" of {module} has the name of archives; leave out "-zip".'
                )
            if name in origin:
                raise ValueError(
                    f'job type "{name}" is declared in {origin[name]} and in {module}; rename one.'
                )
            origin[name] = module
        found[job_type.name] = job_type
    for job_type in [one for one in found.values() if one.many]:
        many = many_of(job_type)
        if many.name in origin:
            raise ValueError(f'the name "{many.name}" of {origin[many.name]} is taken; rename it.')
        found[many.name] = many
    return MappingProxyType(found)


def task_types() -> Mapping[str, JobType[Any]]:
    """Return every job type that workers run, by name: the declared ones, and their archives."""
    taken = (one for one in declared().values() if not (one.reads_archives or one.internal))
    archives = [archive_of(one) for one in taken]
    return MappingProxyType({**declared(), **{one.name: one for one in archives}})


def find_for(name: str, fields: Mapping[str, Any]) -> JobType[Any]:
    """Return the job type that does a submission: of an archive, the one that does archives.

    fields: source and parameters, as `new_job` takes them. Raises UnknownJobType.
    """
    job_type = find(name)
    if job_type.internal:
        raise _unknown(name)
    if job_type.name.endswith(ARCHIVE_END) or not is_archive(fields):
        return job_type
    return find(f"{job_type.name}{ARCHIVE_END}")


def find(name: str) -> JobType[Any]:
    """Return the job type of that name or alias; raises UnknownJobType.

    With `-zip` behind it, the one that does archives.
    """
    plain = name.removesuffix(ARCHIVE_END)
    for job_type in declared().values():
        if name == job_type.name or (not job_type.internal and _is_called(job_type, plain)):
            return job_type if plain == name or job_type.reads_archives else archive_of(job_type)
    raise _unknown(name)


def _unknown(name: str) -> UnknownJobType:
    known = ", ".join(sorted(job_types()))
    return UnknownJobType(f'there is no job type "{name}"; there are {known}.')


def _is_called(job_type: JobType[Any], name: str) -> bool:
    return name == job_type.name or name in job_type.aliases


def _own_modules() -> list[str]:
    return sorted(f"{__name__}.{m.name}" for m in pkgutil.iter_modules(__path__))


def _plugin_modules() -> list[str]:
    return sorted({point.value.partition(":")[0] for point in entry_points(group=ENTRY_POINTS)})
