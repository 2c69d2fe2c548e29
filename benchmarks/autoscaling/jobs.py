"""What is submitted: immutable, so that every policy meets the same day."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["QUEUES", "Spec", "Trace"]

QUEUES = ("mesmer", "predict", "track")


@dataclass(frozen=True, slots=True)
class Spec:
    """One job, and those that it leads to.

    at_s: when it is submitted; of children without meaning, they come when their parent has run.
    queue: also its job type. megabytes: of its input. cpu_s, model_s: its true service time, on
    the worker and on a model server. children: sent when it has run. then: after the last child.
    """

    at_s: float
    queue: str
    megabytes: float
    cpu_s: float
    model_s: float
    children: tuple[Spec, ...] = ()
    then: Spec | None = None

    def all(self) -> Iterator[Spec]:
        """Yield this job and all that it leads to."""
        yield self
        for child in self.children:
            yield from child.all()
        if self.then is not None:
            yield from self.then.all()


@dataclass(frozen=True)
class Trace:
    """A day. roots: jobs that users submit, in any order."""

    name: str
    about: str
    roots: tuple[Spec, ...]

    def jobs(self) -> list[Spec]:
        """Return every job, children included."""
        return [job for root in self.roots for job in root.all()]
