"""A model of Kubernetes' HorizontalPodAutoscaler (autoscaling/v2).

Follows "Horizontal Pod Autoscaling" in the Kubernetes documentation: the ratio and its tolerance,
pods without metrics, the stabilisation windows, the rate policies. The tests hold it to the worked
examples of that page. What is left out: several metrics at once, unready pods told from starting
ones by their age, errors of the metrics API.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Behaviour", "Hpa", "RatePolicy", "Rules", "by_average_value", "by_use", "by_value"]

TOLERANCE = 0.1


def by_average_value(
    replicas: int, total: float, target: float, *, tolerance: float = TOLERANCE
) -> int:
    """Replicas for an external metric with `AverageValue`: the total is shared by all replicas."""
    if abs(1 - total / (target * replicas)) <= tolerance:
        return replicas
    return _ceil(total / target)


def by_value(
    replicas: int, ready: int, value: float, target: float, *, tolerance: float = TOLERANCE
) -> int:
    """Replicas for an object or external metric with `Value`: the ratio times the ready pods."""
    ratio = value / target
    if abs(1 - ratio) <= tolerance:
        return replicas
    return _ceil(ratio * ready)


def by_use(
    replicas: int,
    uses: Sequence[float | None],
    target: float,
    *,
    starting: int = 0,
    tolerance: float = TOLERANCE,
) -> int:
    """Replicas for a resource's use, as a fraction of what the pods request.

    uses: of each ready pod; None if its metric is missing. starting: pods not ready yet, which
    count as idle when the others ask for more. Without any metric nothing changes.
    """
    known = [use for use in uses if use is not None]
    missing = len(uses) - len(known)
    if not known:
        return replicas
    ratio = sum(known) / len(known) / target
    up = ratio > 1
    if not missing and not (starting and up):
        return replicas if abs(1 - ratio) <= tolerance else _ceil(ratio * len(known))
    known += [0.0 if up else target] * missing
    known += [0.0] * (starting if up else 0)
    again = sum(known) / len(known) / target
    wanted = _ceil(again * len(known))
    turned = (again > 1) != up or (wanted < replicas if up else wanted > replicas)
    return replicas if turned or abs(1 - again) <= tolerance else wanted


@dataclass(frozen=True)
class RatePolicy:
    """At most `value` pods, or percent of them, in `period_s`."""

    kind: Literal["Pods", "Percent"]
    value: int
    period_s: float


@dataclass(frozen=True)
class Rules:
    """One direction of `behavior`. select: of the policies, which one counts."""

    window_s: float
    policies: tuple[RatePolicy, ...]
    select: Literal["Max", "Min", "Disabled"] = "Max"


@dataclass(frozen=True)
class Behaviour:
    """`behavior` of an HPA; what it says if nothing is set."""

    up: Rules = Rules(0.0, (RatePolicy("Percent", 100, 15.0), RatePolicy("Pods", 4, 15.0)))
    down: Rules = Rules(300.0, (RatePolicy("Percent", 100, 15.0),))

    @classmethod
    def with_window(cls, down_s: float) -> Behaviour:
        """The defaults with another stabilisation window for scaling down."""
        return cls(down=Rules(down_s, cls().down.policies))


@dataclass
class Hpa:
    """One autoscaler: remembers what it recommended and what it changed."""

    least: int = 1
    most: int = 10
    behaviour: Behaviour = Behaviour()
    _recommended: list[tuple[float, int]] = field(default_factory=list)
    _changes: list[tuple[float, int]] = field(default_factory=list)

    def settle(self, now_s: float, replicas: int, wanted: int) -> int:
        """Return the replicas to set, for what the metric asks: damped, rate-limited, bounded."""
        stable = self._stabilised(now_s, replicas, wanted)
        if stable > replicas:
            result = min(stable, self._up_limit(now_s, replicas))
        elif stable < replicas:
            result = max(stable, self._down_limit(now_s, replicas))
        else:
            result = replicas
        result = max(self.least, min(self.most, result))
        if result != replicas:
            self._changes.append((now_s, result - replicas))
        return result

    def _stabilised(self, now_s: float, replicas: int, wanted: int) -> int:
        rules = self.behaviour
        longest_s = max(rules.up.window_s, rules.down.window_s)
        self._recommended = [r for r in self._recommended if now_s - r[0] < longest_s]
        self._recommended.append((now_s, wanted))
        past = self._recommended
        floor = min(n for at, n in past if at >= now_s or now_s - at < rules.up.window_s)
        ceiling = max(n for at, n in past if at >= now_s or now_s - at < rules.down.window_s)
        return min(max(replicas, floor), ceiling)

    def _up_limit(self, now_s: float, replicas: int) -> int:
        rules = self.behaviour.up
        if rules.select == "Disabled":
            return replicas
        limits = []
        for policy in rules.policies:
            start = replicas - self._changed(now_s, policy.period_s, up=True)
            by_pods = start + policy.value
            by_percent = _ceil(start * (1 + policy.value / 100))
            limits.append(by_pods if policy.kind == "Pods" else by_percent)
        return max(limits) if rules.select == "Max" else min(limits)

    def _down_limit(self, now_s: float, replicas: int) -> int:
        rules = self.behaviour.down
        if rules.select == "Disabled":
            return replicas
        limits = []
        for policy in rules.policies:
            start = replicas + self._changed(now_s, policy.period_s, up=False)
            by_pods = start - policy.value
            by_percent = math.floor(start * (1 - policy.value / 100))
            limits.append(by_pods if policy.kind == "Pods" else by_percent)
        return min(limits) if rules.select == "Max" else max(limits)

    def _changed(self, now_s: float, period_s: float, *, up: bool) -> int:
        longest_s = max(
            p.period_s for r in (self.behaviour.up, self.behaviour.down) for p in r.policies
        )
        self._changes = [c for c in self._changes if now_s - c[0] < longest_s]
        recent = [n for at, n in self._changes if now_s - at < period_s]
        return sum(n for n in recent if n > 0) if up else -sum(n for n in recent if n < 0)


def _ceil(value: float) -> int:
    return math.ceil(value - 1e-9)
