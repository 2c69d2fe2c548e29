"""What no policy can choose, and what it may know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

__all__ = ["MODELS", "Conditions", "Scaler", "View"]

MODELS = "model-server"


@dataclass(frozen=True)
class Conditions:
    """What no policy can choose.

    slots: jobs that a worker pod does at once. at_once: requests that a model server does.
    pod_start_s: scheduling and the worker's own start; slow_start_s more, for fetching the image,
    one time in ten. node_start_s: a cold GPU node. model_patience_s: `KIOSK_MODEL_WAIT`.
    grace_s: from SIGTERM until a worker puts back what it runs. back_s: until that is on the queue
    again. sync_s: of the HPA. scrape_s: of Prometheus.
    misprediction: the factor by which predicted seconds are wrong.
    learns_waits: the ledger takes waiting for a model server for work, as it does.
    gpu_stays: one model server is always there, whatever the policy says.
    """

    slots: int = 2
    at_once: int = 8
    pod_start_s: float = 6.0
    slow_start_s: float = 20.0
    node_start_s: float = 180.0
    model_patience_s: float = 120.0
    grace_s: float = 20.0
    back_s: float = 1.0
    sync_s: float = 15.0
    scrape_s: float = 15.0
    misprediction: float = 1.0
    learns_waits: bool = True
    gpu_stays: bool = False
    seed: int = 6


class View(NamedTuple):
    """What a scaler may know of a deployment. Of the model servers: the sums over all queues.

    listed: messages in the broker's list, LLEN. waiting, in_flight, outstanding_s, model_s: as the
    ledger counts and predicts. gpu_use: the last one that Prometheus has seen.
    """

    now_s: float
    listed: int
    waiting: int
    in_flight: int
    outstanding_s: float
    model_s: float
    replicas: int
    ready: int
    gpu_use: float


class Scaler(Protocol):
    """Sets the replicas of one deployment. stale: it sees what Prometheus saw last.

    least: replicas that it has from the start.
    """

    least: int

    poll_s: float
    stale: bool

    def poll(self, view: View) -> int | None:
        """KEDA's look, or that of the old Kiosk's switch: replicas to set, None leaves them."""

    def sync(self, view: View, use: Callable[[], list[float | None]]) -> int | None:
        """The HPA's look. use: asks for the pods' CPU."""
