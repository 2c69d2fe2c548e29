"""The four rules that are compared, each as a scaler per deployment.

All of them have the same worker pods, the same most replicas, and the same HPA beneath.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.autoscaling.conditions import MODELS, Scaler, View
from benchmarks.autoscaling.hpa import (
    Behaviour,
    Hpa,
    RatePolicy,
    Rules,
    by_average_value,
    by_use,
    by_value,
)
from benchmarks.autoscaling.jobs import QUEUES
from kiosk_tasks.queues import QueueState, model_servers_wanted
from kiosk_tasks.scaling import Policy, wanted_workers

__all__ = ["MOST", "cpu", "list_length", "ours", "ratio"]

MOST = 10
_GPU_COOLDOWN_S = 900.0


@dataclass
class Keda:
    """A ScaledObject with one external metric, shared by all replicas (`AverageValue`).

    KEDA itself looks every `poll_s`: it wakes the deployment when the metric is above zero, and
    puts it to rest when it has been zero for `cooldown_s`. Between one and `most` the HPA decides.
    """

    metric: Callable[[View], float]
    target: float
    hpa: Hpa
    cooldown_s: float = 300.0
    poll_s: float = 10.0
    least: int = 0
    stale: bool = False
    _active_s: float = float("-inf")

    def poll(self, view: View) -> int | None:
        """Wake or put to rest."""
        if self.metric(view) > 0:
            self._active_s = view.now_s
            return 1 if view.replicas == 0 else None
        if view.replicas > self.least and view.now_s - self._active_s > self.cooldown_s:
            return self.least
        return None

    def sync(self, view: View, _use: object) -> int | None:
        """The HPA's part; it rests while there is no replica."""
        if view.replicas == 0:
            return None
        wanted = by_average_value(view.replicas, self.metric(view), self.target)
        return self.hpa.settle(view.now_s, view.replicas, wanted)


@dataclass
class OldRatio:
    """The old Kiosk's rule: keys, also those at work, per replica, as an HPA's `Value`.

    gpu: for segmentation, the smaller of the GPU's idle part and a hundredth of the ratio.
    """

    target: float
    hpa: Hpa
    gpu: bool = False
    poll_s: float = 15.0
    least: int = 1
    stale: bool = True

    def poll(self, _view: View) -> int | None:
        """There is always one consumer; the HPA does the rest."""
        return None

    def sync(self, view: View, _use: object) -> int | None:
        """The HPA's part."""
        keys = (view.waiting + view.in_flight) / max(1, view.replicas)
        value = min(1 - view.gpu_use, keys / 100) if self.gpu else keys
        wanted = by_value(view.replicas, view.ready, value, self.target)
        return self.hpa.settle(view.now_s, view.replicas, wanted)


@dataclass
class Switch:
    """The old Kiosk's second autoscaler: one GPU as long as there is a key, none without."""

    poll_s: float = 5.0
    least: int = 0
    stale: bool = False

    def poll(self, view: View) -> int | None:
        """Turn on or off."""
        wanted = int(view.waiting + view.in_flight > 0)
        return wanted if wanted != view.replicas else None

    def sync(self, _view: View, _use: object) -> int | None:
        """It knows no HPA."""
        return None


@dataclass
class Cpu:
    """HPA on the use of the CPU that the pods request."""

    target: float
    hpa: Hpa
    poll_s: float = 15.0
    least: int = 1
    stale: bool = False

    def poll(self, _view: View) -> int | None:
        """There is always one worker: pods that do not exist use no CPU."""
        return None

    def sync(self, view: View, use: Callable[[], list[float | None]]) -> int | None:
        """The HPA's part."""
        starting = view.replicas - view.ready
        wanted = by_use(view.replicas, use(), self.target, starting=starting)
        return self.hpa.settle(view.now_s, view.replicas, wanted)


def list_length(
    length: float = 5, *, cooldown_s: float = 300.0, window_s: float = 300.0, poll_s: float = 5.0
) -> Mapping[str, Scaler | None]:
    """KEDA's Redis scaler: so many messages in the list per pod."""

    def keda(metric: Callable[[View], float], target: float, most: int, cool_s: float) -> Keda:
        return Keda(metric, target, _hpa(window_s, most), cooldown_s=cool_s, poll_s=poll_s)

    workers = {q: keda(lambda view: view.listed, length, MOST, cooldown_s) for q in QUEUES}
    return {**workers, MODELS: keda(lambda view: view.listed, 1e9, 1, _GPU_COOLDOWN_S)}


def ratio(factor: float = 1.0, *, window_s: float = 300.0) -> Mapping[str, Scaler | None]:
    """The old Kiosk's targets times a factor: .15 for segmentation, 1 for Mesmer, 2 for Caliban."""
    return {
        "predict": OldRatio(0.15 * factor, _hpa(window_s), gpu=True),
        "mesmer": OldRatio(1.0 * factor, _hpa(window_s)),
        "track": OldRatio(2.0 * factor, _hpa(window_s)),
        MODELS: Switch(),
    }


def cpu(target: float = 0.8, *, window_s: float = 300.0) -> Mapping[str, Scaler | None]:
    """HPA on CPU; it cannot start from nothing, so one worker of each queue and the GPU stay."""
    return {**{q: Cpu(target, _hpa(window_s)) for q in QUEUES}, MODELS: None}


def ours(
    policy: Policy | None = None,
    *,
    window_s: float = 120.0,
    cooldown_s: float = 120.0,
    poll_s: float = 5.0,
    gpu_cooldown_s: float = _GPU_COOLDOWN_S,
    stale: bool = False,
) -> Mapping[str, Scaler | None]:
    """`wanted_workers` as the metric of KEDA, one per pod."""
    law = policy or Policy(slots=2, most=MOST)

    def workers(view: View) -> float:
        return wanted_workers(
            law, outstanding_s=view.outstanding_s, waiting=view.waiting, in_flight=view.in_flight
        )

    def servers(view: View) -> float:
        state = QueueState(
            "all", view.waiting, view.in_flight, 0.0, view.outstanding_s, view.model_s, 0
        )
        return model_servers_wanted([state], target_drain_s=300.0, most=1)

    def keda(metric: Callable[[View], float], hpa: Hpa, cool_s: float, least: int) -> Keda:
        return Keda(metric, 1.0, hpa, cooldown_s=cool_s, poll_s=poll_s, least=least, stale=stale)

    scalers = {q: keda(workers, _chart_hpa(window_s), cooldown_s, law.least) for q in QUEUES}
    return {**scalers, MODELS: keda(servers, _hpa(window_s, 1), gpu_cooldown_s, 0)}


def _hpa(window_s: float, most: int = MOST) -> Hpa:
    return Hpa(1, most, Behaviour.with_window(window_s))


def _chart_hpa(window_s: float, most: int = MOST) -> Hpa:
    return Hpa(1, most, Behaviour(down=Rules(window_s, (RatePolicy("Percent", 50, 60.0),))))
