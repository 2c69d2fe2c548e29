"""The job types: one file each, found here and in installed packages, listed nowhere.

A module in this folder, or a module named by an entry point of the group `kiosk_tasks.job_types`,
declares `job_type = JobType(…)`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Any

from kiosk_tasks.errors import UnknownJobType
from kiosk_tasks.job import JobType

__all__ = ["ENTRY_POINTS", "find", "job_types"]

ENTRY_POINTS = "kiosk_tasks.job_types"
"""Entry-point group by which an installed package adds job types."""


@cache
def job_types() -> Mapping[str, JobType[Any]]:
    """Return every job type by name; raises ValueError if two share a name or an alias."""
    found: dict[str, JobType[Any]] = {}
    origin: dict[str, str] = {}
    for module in (*_own_modules(), *_plugin_modules()):
        job_type = importlib.import_module(module).job_type
        for name in (job_type.name, *job_type.aliases):
            if name in origin:
                raise ValueError(
                    f'job type "{name}" is declared in {origin[name]} and in {module}; rename one.'
                )
            origin[name] = module
        found[job_type.name] = job_type
    return MappingProxyType(found)


def find(name: str) -> JobType[Any]:
    """Return the job type of that name or alias; raises UnknownJobType."""
    for job_type in job_types().values():
        if name == job_type.name or name in job_type.aliases:
            return job_type
    known = ", ".join(sorted(job_types()))
    raise UnknownJobType(f'there is no job type "{name}"; there are {known}.')


def _own_modules() -> list[str]:
    return sorted(f"{__name__}.{m.name}" for m in pkgutil.iter_modules(__path__))


def _plugin_modules() -> list[str]:
    return sorted({point.value.partition(":")[0] for point in entry_points(group=ENTRY_POINTS)})
