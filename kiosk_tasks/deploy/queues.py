"""Each queue with what runs on it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kiosk_tasks.errors import InvalidParameter
from kiosk_tasks.job import JobType
from kiosk_tasks.run.links import plan_links, queue_names

__all__ = ["DeployedQueue", "deployed_queues"]

_NAME = re.compile(r"[a-z]([a-z0-9_-]{0,30}[a-z0-9])?")
"""Of a queue that may name a Deployment and a service: both are names in DNS."""


@dataclass(frozen=True)
class DeployedQueue:
    """One queue.

    job_types: that have a link on it; sorted. Internal ones are not among them.
    time_limit_s: longest that one of those links may take.
    """

    name: str
    job_types: tuple[str, ...]
    time_limit_s: int

    @property
    def worker(self) -> str:
        """Name of the workers that consume it."""
        return f"worker-{self.name.replace('_', '-')}"


def deployed_queues(
    job_types: Mapping[str, JobType[Any]], stage_queues: Mapping[str, str]
) -> tuple[DeployedQueue, ...]:
    """Return every queue that a job may be sent to, sorted by name.

    job_types: by name, those of archives included.
    stage_queues: the setting KIOSK_STAGE_QUEUES.
    Raises InvalidParameter for a queue whose workers could not be named after it.
    """
    users: dict[str, dict[str, int]] = {queue: {} for queue in queue_names(job_types, stage_queues)}
    for name, job_type in job_types.items():
        for link in plan_links(job_type, stage_queues=stage_queues):
            users[link.queue][name] = job_type.seconds
    queues = tuple(
        DeployedQueue(
            queue,
            tuple(sorted(name for name in by if not job_types[name].internal)),
            max(by.values(), default=_longest_s(job_types)),
        )
        for queue, by in users.items()
    )
    _check_names(queues)
    return queues


def _longest_s(job_types: Mapping[str, JobType[Any]]) -> int:
    return max((job_type.seconds for job_type in job_types.values()), default=0)


def _check_names(queues: tuple[DeployedQueue, ...]) -> None:
    named: dict[str, str] = {}
    for queue in queues:
        if not _NAME.fullmatch(queue.name):
            raise InvalidParameter(
                f'no Deployment can be named after the queue "{queue.name}": use at most 32 '
                "lower-case letters, digits, - and _, a letter first, no - or _ at the end."
            )
        if queue.worker in named:
            raise InvalidParameter(
                f'the queues "{named[queue.worker]}" and "{queue.name}" would both have the '
                f"workers {queue.worker}; rename one."
            )
        named[queue.worker] = queue.name
