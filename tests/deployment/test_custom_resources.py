"""Every custom resource of the chart has known fields only; each planted mistake is found."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import kubernetes_validate
import pytest

from tests.custom_resources import KINDS, faults
from tests.rendered import VARIANTS, Object, of_kind, render

KUBERNETES = "1.35"


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_unknown_field(variant: str) -> None:
    objects = render(*VARIANTS[variant])
    custom = [found for found in objects if found["kind"] in KINDS]
    scalers = list(of_kind(objects, "HorizontalPodAutoscaler").values())
    assert custom or scalers or variant == "none"
    assert [fault for found in custom for fault in faults(found)] == []
    for found in scalers:
        kubernetes_validate.validate(found, KUBERNETES, strict=True)


def test_every_custom_resource_has_a_schema() -> None:
    for variant in VARIANTS.values():
        for found in render(*variant):
            ours = any(part in found["apiVersion"] for part in ("keda.sh", "coreos.com"))
            assert not ours or found["kind"] in KINDS


def _set(*path: Any, to: Any) -> Callable[[Object], None]:
    def change(found: Object) -> None:
        place: Any = found
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = to

    return change


def _rename(*path: Any, to: str) -> Callable[[Object], None]:
    def change(found: Object) -> None:
        place: Any = found
        for step in path[:-1]:
            place = place[step]
        place[to] = place.pop(path[-1])

    return change


_META = ("spec", "triggers", 0, "metadata")
_END = ("spec", "endpoints", 0)
_RULE = ("spec", "groups", 0, "rules", 0)
_DOWN = ("spec", "advanced", "horizontalPodAutoscalerConfig", "behavior", "scaleDown")
MISTAKES: dict[tuple[str, str], dict[str, Callable[[Object], None]]] = {
    ("defaults", "ScaledObject"): {
        "slip in a field": _rename("spec", "maxReplicaCount", to="maxReplicas"),
        "text for a number": _set("spec", "maxReplicaCount", to="10"),
        "number for a text": _set(*_META, "targetValue", to=1),
        "less than none": _set("spec", "minReplicaCount", to=-1),
        "no target": _set("spec", "scaleTargetRef", to={}),
        "fallback without replicas": _rename("spec", "fallback", "replicas", to="replica"),
        "unknown fallback": _set("spec", "fallback", "behavior", to="highest"),
        "window of more than an hour": _set(*_DOWN, "stabilizationWindowSeconds", to=3601),
        "unknown kind of policy": _set(*_DOWN, "policies", 0, "type", to="Share"),
        "behaviour in the wrong place": _rename(
            "spec", "advanced", "horizontalPodAutoscalerConfig", to="behavior"
        ),
        "unknown trigger": _set("spec", "triggers", 0, "type", to="metric-api"),
        "key of another trigger": _rename(*_META, "targetValue", to="threshold"),
        "slip in metrics-api": _rename(*_META, "activationTargetValue", to="activationValue"),
        "address without http": _set(*_META, "url", to="lab-exporter:9540"),
    },
    ("idle", "ScaledObject"): {
        "idle count that KEDA cannot do": _set("spec", "idleReplicaCount", to=1),
    },
    ("prometheus", "ScaledObject"): {
        "slip in prometheus": _rename(*_META, "ignoreNullValues", to="ignoreNull"),
        "yes for true": _set(*_META, "ignoreNullValues", to="no"),
    },
    ("flower", "ScaledObject"): {
        "unknown way to log in": _set(*_META, "authMode", to="basicAuth"),
        "authentication in the wrong place": _rename(
            "spec", "triggers", 0, "authenticationRef", to="authentication"
        ),
    },
    ("flower", "TriggerAuthentication"): {
        "no such parameter": _set("spec", "secretTargetRef", 0, "parameter", to="user"),
        "secret without key": _rename("spec", "secretTargetRef", 0, "key", to="keys"),
    },
    ("monitored", "ServiceMonitor"): {
        "number for a port's name": _set(*_END, "port", to=8000),
        "slip in an endpoint": _rename(*_END, "interval", to="scrapeInterval"),
        "no duration": _set(*_END, "interval", to="15"),
        "selector of a Service": _set("spec", "selector", to={"app": "web"}),
    },
    ("monitored", "PrometheusRule"): {
        "alert and record": _set(*_RULE, "alert", to="Both"),
        "slip in a rule": _rename(*_RULE, "expr", to="expression"),
    },
}
"""Variant of the chart and kind of object -> what goes wrong -> how."""


@pytest.mark.parametrize(
    ("variant", "kind", "mistake"),
    [(*where, mistake) for where, mistakes in MISTAKES.items() for mistake in mistakes],
)
def test_planted_mistake_is_found(variant: str, kind: str, mistake: str) -> None:
    (found, *_) = of_kind(render(*VARIANTS[variant]), kind).values()
    wrong = copy.deepcopy(found)
    MISTAKES[variant, kind][mistake](wrong)
    assert faults(found) == []
    assert faults(wrong) != []


def test_mistake_in_an_hpa_is_found() -> None:
    (found, *_) = of_kind(render(*VARIANTS["hpa"]), "HorizontalPodAutoscaler").values()
    found["spec"]["minReplica"] = found["spec"].pop("minReplicas")
    with pytest.raises(kubernetes_validate.ValidationError, match="minReplica"):
        kubernetes_validate.validate(found, KUBERNETES, strict=True)
