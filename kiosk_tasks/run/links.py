"""How a job's stages are cut into links: runs of neighbouring stages on one queue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Any, Literal

from kiosk_tasks.errors import InvalidParameter
from kiosk_tasks.job import JobType

__all__ = ["ADMIT", "CONTINUE", "Link", "lane_of", "plan_links", "queue_names", "queue_of"]

CONTINUE = 0
"""Priority of a link of a job that has begun; Redis brokers take the lowest number first."""
SEPARATOR = ":"
"""Between a queue's name and a priority in the names of the broker's lists."""
ADMIT = 6
"""Priority of a job that waits to begin."""


@dataclass(frozen=True)
class Link:
    """Neighbouring stages that run as one Celery task.

    start, stop: indices of the first stage and of the one after the last.
    """

    start: int
    stop: int
    queue: str

    @property
    def priority(self) -> int:
        """A job that has begun goes before one that waits."""
        return CONTINUE if self.start else ADMIT

    @property
    def lane(self) -> str:
        """The broker's list that the link's message goes to."""
        return lane_of(self.queue, self.priority)


def lane_of(queue: str, priority: int) -> str:
    """Return the name of the broker's list for that queue and priority."""
    return f"{queue}{SEPARATOR}{priority}" if priority else queue


def queue_of(lane: str) -> str:
    """Return the queue whose list that is."""
    queue, _, priority = lane.rpartition(SEPARATOR)
    return queue if priority.isdecimal() and queue else lane


def plan_links(
    job_type: JobType[Any],
    *,
    mode: Literal["queue", "stage"] = "queue",
    stage_queues: Mapping[str, str] | None = None,
) -> tuple[Link, ...]:
    """Cut a job type's stages into links.

    A stage that fans out ends its link, as nothing waits inside a task; one that seldom does, only
    when it has.
    mode: "queue" joins neighbours on one queue; "stage" makes each stage a link.
    stage_queues: queue of a stage by its name, or by "job.stage", over what the stage declares.
    """
    chosen = stage_queues or {}
    _check_names(job_type, chosen)
    queues = [
        chosen.get(f"{job_type.name}.{s.name}") or chosen.get(s.name) or s.queue or job_type.queue
        for s in job_type.steps
    ]
    if mode == "stage":
        return tuple(Link(i, i + 1, queue) for i, queue in enumerate(queues))
    links: list[Link] = []
    waits = list(accumulate((s.ends_link for s in job_type.steps[:-1]), initial=0))
    for (queue, _), run in groupby(zip(queues, waits, strict=True)):
        start = links[-1].stop if links else 0
        links.append(Link(start, start + len(list(run)), queue))
    return tuple(links)


def queue_names(
    job_types: Mapping[str, JobType[Any]], stage_queues: Mapping[str, str]
) -> tuple[str, ...]:
    """Return every queue that a job may be sent to, sorted.

    Raises InvalidParameter if `stage_queues` names a stage that no job type has.
    """
    known = {
        name
        for job, job_type in job_types.items()
        for s in job_type.steps
        for name in (s.name, f"{job}.{s.name}")
    }
    for key in stage_queues:
        if key not in known:
            raise InvalidParameter(
                f'KIOSK_STAGE_QUEUES names "{key}", which is no stage of any job type; '
                f"there are {', '.join(sorted(known))}."
            )
    links = (
        link
        for job_type in job_types.values()
        for link in plan_links(job_type, stage_queues=stage_queues)
    )
    return tuple(sorted({link.queue for link in links} | set(stage_queues.values())))


def _check_names(job_type: JobType[Any], chosen: Mapping[str, str]) -> None:
    names = {s.name for s in job_type.steps}
    for key in chosen:
        job, _, stage_name = key.rpartition(".")
        if job == job_type.name and stage_name not in names:
            raise InvalidParameter(
                f'KIOSK_STAGE_QUEUES names the stage "{key}"; '
                f'"{job}" has {", ".join(s.name for s in job_type.steps)}.'
            )
