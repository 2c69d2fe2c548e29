"""The Helm chart as real helm renders it, and what tests ask of the objects."""

from __future__ import annotations

import copy
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.tools import tool

__all__ = [
    "CHART", "MONITORED", "NAMESPACE", "RELEASE", "VARIANTS", "Object", "by_queue", "helm",
    "of_kind", "render", "rendered", "settings_told",
]  # fmt: skip

CHART = Path(__file__).parents[1] / "helm" / "kiosk-tasks"
NAMESPACE, RELEASE = "bio", "lab"
MONITORED = (
    "monitoring.serviceMonitor.enabled=true",
    "monitoring.prometheusRule.enabled=true",
    "monitoring.dashboards.enabled=true",
)
_MODELS = (
    "scaling.modelServer.enabled=true",
    "scaling.modelServer.minReplicas=1",
    "scaling.modelServer.maxReplicas=2",
)
VARIANTS = {
    "defaults": (),
    "monitored": MONITORED,
    "prometheus": ("scaling.source=prometheus", "scaling.prometheus.address=http://p.monitoring:9090"),
    "flower": ("scaling.source=flower", "scaling.flower.existingSecret=flower-login"),
    "idle": ("scaling.minReplicas=2", "scaling.idleReplicas=0"),
    "models": ("scaling.modelServer.enabled=true", "scaling.modelServer.maxReplicas=2"),
    "hpa": ("scaling.mode=hpa", "scaling.minReplicas=1", *_MODELS),
    "none": ("scaling.mode=none",),
    "ten queues": tuple(f"queues.more_{n}.jobTypes[0]=own" for n in range(5)),
    "token": (*MONITORED, "monitoring.serviceMonitor.webToken.secret=web-token"),
}  # fmt: skip
Object = dict[str, Any]


def helm(*values: str, file: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Render the chart with values as `--set` takes them, and those of a file."""
    argv = [str(tool("helm")), "template", RELEASE, str(CHART), "--namespace", NAMESPACE]
    argv += ["--values", str(file)] if file else []
    argv += [part for value in values for part in ("--set", value)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


@cache
def rendered(values: tuple[str, ...]) -> str:
    """Return what helm prints with these values."""
    said = helm(*values)
    assert said.returncode == 0, said.stderr
    return said.stdout


def render(*values: str) -> list[Object]:
    """Return the objects with these values; they may be changed."""
    return copy.deepcopy(_objects(values))


@cache
def _objects(values: tuple[str, ...]) -> list[Object]:
    return [found for found in yaml.load_all(rendered(values), yaml.CSafeLoader) if found]


def of_kind(objects: list[Object], kind: str) -> dict[str, Object]:
    """Return the objects of one kind, by name."""
    return {found["metadata"]["name"]: found for found in objects if found["kind"] == kind}


def by_queue(objects: list[Object], kind: str) -> dict[str, Object]:
    """Return the objects of one kind that belong to a queue, by its name."""
    labelled = {
        found["metadata"].get("labels", {}).get("kiosk-tasks/queue"): found
        for found in objects
        if found["kind"] == kind
    }
    return {queue: found for queue, found in labelled.items() if queue}


def settings_told(objects: list[Object]) -> dict[str, str]:
    """Return the data of the ConfigMap that the exporter's settings are in."""
    (found,) = [
        each["data"]
        for each in of_kind(objects, "ConfigMap").values()
        if "KIOSK_SCALING" in each["data"]
    ]
    return dict(found)
