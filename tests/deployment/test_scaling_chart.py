"""The chart's scalers: one for each queue, with the bounds of the scaling law, or clear words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from kiosk_tasks.settings import Settings
from tests.custom_resources import promql_faults
from tests.rendered import (
    CHART,
    NAMESPACE,
    VARIANTS,
    Object,
    by_queue,
    helm,
    of_kind,
    render,
    rendered,
    settings_told,
)


def scaling_faults(objects: list[Object]) -> list[str]:
    """Return what is wrong between Deployments and scalers, one sentence each."""
    deployments = of_kind(objects, "Deployment")
    scalers = {
        found["spec"]["scaleTargetRef"]["name"]: found
        for kind in ("ScaledObject", "HorizontalPodAutoscaler")
        for found in of_kind(objects, kind).values()
    }
    said = [f"{name} is scaled and is not there" for name in scalers if name not in deployments]
    for name, found in deployments.items():
        queue = found["metadata"]["labels"].get("kiosk-tasks/queue")
        if name in scalers and "replicas" in found["spec"]:
            said.append(f"{name} says replicas, and a scaler owns them")
        if name not in scalers and "replicas" not in found["spec"]:
            said.append(f"{name} says no replicas, and nobody scales it")
        if queue and scalers and name not in scalers:
            said.append(f"nobody scales the queue {queue}")
        if (
            name in scalers
            and scalers[name]["metadata"]["labels"].get("kiosk-tasks/queue") != queue
        ):
            said.append(f"{name} is scaled by the wrong queue")
    return said


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_queue_is_scaled_and_no_number_has_two_owners(variant: str) -> None:
    objects = render(*VARIANTS[variant])
    assert scaling_faults(objects) == []
    workers = by_queue(objects, "Deployment")
    kind = {"hpa": "HorizontalPodAutoscaler"}.get(variant, "ScaledObject")
    assert set(by_queue(objects, kind)) == (set() if variant == "none" else set(workers))
    assert len(workers) == (10 if variant == "ten queues" else 5)


def test_what_is_wrong_between_scalers_and_deployments_is_found() -> None:
    objects = render()
    worker = next(iter(by_queue(objects, "Deployment").values()))
    name = worker["metadata"]["name"]
    scaler = next(
        found
        for found in of_kind(objects, "ScaledObject").values()
        if found["spec"]["scaleTargetRef"]["name"] == name
    )
    without = [found for found in objects if found is not worker]
    assert f"{name} is scaled and is not there" in scaling_faults(without)
    assert any(
        "nobody scales" in said for said in scaling_faults([o for o in objects if o is not scaler])
    )
    worker["spec"]["replicas"] = 1
    assert f"{name} says replicas, and a scaler owns them" in scaling_faults(objects)
    del worker["spec"]["replicas"]
    scaler["metadata"]["labels"]["kiosk-tasks/queue"] = "another"
    assert f"{name} is scaled by the wrong queue" in scaling_faults(objects)


def _bounds(scaler: Object) -> tuple[int, int]:
    spec = scaler["spec"]
    if scaler["kind"] == "ScaledObject":
        return spec["minReplicaCount"], spec["maxReplicaCount"]
    return spec["minReplicas"], spec["maxReplicas"]


OWN = (
    "scaling.targetDrainSeconds=45",
    "scaling.scaleDownWindowSeconds=240",
    "scaling.minReplicas=1",
    "scaling.maxReplicas=7",
    "queues.track.minReplicas=2",
    "queues.track.maxReplicas=3",
    "queues.track.targetDrainSeconds=300",
    "queues.track.concurrency=1",
    "worker.concurrency=3",
)


@pytest.mark.parametrize("more", [(), OWN, ("scaling.mode=hpa", *OWN)], ids=["keda", "own", "hpa"])
def test_the_law_and_the_scaler_have_the_same_bounds(
    more: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = render(*more)
    for name, value in settings_told(objects).items():
        monkeypatch.setenv(name, value)
    settings = Settings.load()
    scalers = by_queue(objects, "ScaledObject") or by_queue(objects, "HorizontalPodAutoscaler")
    for queue, scaler in scalers.items():
        policy = settings.policy(queue)
        assert (policy.least, policy.most) == _bounds(scaler)
        spec = scaler["spec"]
        down = spec.get("behavior") or spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        window = down["scaleDown"]["stabilizationWindowSeconds"]
        assert window == settings.scale_down_window_s == spec.get("cooldownPeriod", window)
        assert str(policy.slots) in concurrency_of(by_queue(objects, "Deployment")[queue])
    if more:
        assert settings.policy("track").target_drain_s == 300
        assert settings.policy("predict").target_drain_s == 45
        assert settings.policy("predict").slots == 3


def concurrency_of(worker: Object) -> str:
    """Return the part of a worker's command line or environment that says its processes."""
    container = worker["spec"]["template"]["spec"]["containers"][0]
    argv = [*container.get("command", []), *container.get("args", [])]
    said = [part for part in argv if part.startswith("--concurrency")]
    return said[0] if said else argv[argv.index("-c") + 1]


def test_the_target_is_said_once() -> None:
    """The scaling law is not repeated in the scalers: another target changes one setting."""
    before, after = (rendered(values) for values in ((), ("scaling.targetDrainSeconds=61",)))
    pairs = zip(before.splitlines(), after.splitlines(), strict=True)
    changed = [line.strip() for line, other in pairs if line != other and "checksum/" not in line]
    assert changed == ['KIOSK_TARGET_DRAIN: "10"']


def test_one_wanted_is_one_worker() -> None:
    for variant in ("defaults", "prometheus"):
        for queue, found in by_queue(render(*VARIANTS[variant]), "ScaledObject").items():
            trigger = found["spec"]["triggers"][0]
            asked = trigger["metadata"]
            assert trigger["metricType"] == "AverageValue"
            assert asked.get("targetValue", asked.get("threshold")) == "1"
            assert queue in asked.get("valueLocation", asked.get("query"))
    for found in of_kind(render(*VARIANTS["hpa"]), "HorizontalPodAutoscaler").values():
        target = found["spec"]["metrics"][0]["external"]["target"]
        assert target == {"type": "AverageValue", "averageValue": "1"}


def test_no_answer_is_never_taken_for_nothing_to_do(tmp_path: Path) -> None:
    for found in of_kind(render(*VARIANTS["prometheus"]), "ScaledObject").values():
        asked = found["spec"]["triggers"][0]["metadata"]
        assert asked["ignoreNullValues"] == "false"
        assert "vector(0)" not in asked["query"]
        assert f'namespace="{NAMESPACE}"' in asked["query"]
        assert promql_faults([asked["query"]], tmp_path) == ""
    for variant in ("defaults", "prometheus", "flower", "models"):
        for found in of_kind(render(*VARIANTS[variant]), "ScaledObject").values():
            assert found["spec"]["fallback"]["replicas"] >= 1
            assert found["spec"]["fallback"]["behavior"] == "currentReplicasIfHigher"


def test_workers_may_go_only_when_the_law_says_none() -> None:
    told = json.loads(settings_told(render(*VARIANTS["idle"]))["KIOSK_SCALING"])
    assert {one["min"] for one in told.values()} == {0}
    for found in by_queue(render(*VARIANTS["idle"]), "ScaledObject").values():
        assert (found["spec"]["idleReplicaCount"], found["spec"]["minReplicaCount"]) == (0, 2)


def test_flower_does_not_see_running_jobs_so_workers_stay_for_the_time_limit() -> None:
    values = ("queues.track.timeLimitSeconds=7200", *VARIANTS["flower"])
    scalers = by_queue(render(*values), "ScaledObject")
    assert scalers["track"]["spec"]["cooldownPeriod"] == 7200
    for found in scalers.values():
        (entry,) = found["spec"]["triggers"]
        assert entry["authenticationRef"]["name"] in of_kind(
            render(*VARIANTS["flower"]), "TriggerAuthentication"
        )


@pytest.mark.parametrize("variant", ["models", "hpa"])
def test_model_servers_go_by_their_own_number_and_stay_long(variant: str) -> None:
    objects = render(*VARIANTS[variant])
    kind = "HorizontalPodAutoscaler" if variant == "hpa" else "ScaledObject"
    found = of_kind(objects, kind)["lab-model-server"]
    asked = json.dumps(found["spec"].get("triggers") or found["spec"]["metrics"])
    assert "model_servers_wanted" in asked
    assert "wanted_workers" not in asked
    assert settings_told(objects)["KIOSK_MAX_MODEL_SERVERS"] == str(_bounds(found)[1])
    assert found["spec"].get("cooldownPeriod", 900) >= 600


REFUSED = {
    ("scaling.mode=hpa", "scaling.minReplicas=0"): "cannot start from none",
    ("scaling.mode=hpa", "queues.track.minReplicas=0"): "the queue track",
    ("scaling.mode=hpa", "scaling.modelServer.enabled=true"): "modelServer.minReplicas is 0",
    ("scaling.mode=hpa", "scaling.source=flower"): "prometheus-adapter",
    ("scaling.minReplicas=4", "queues.track.maxReplicas=3"): "track is to have at least 4",
    ("scaling.source=prometheus",): "scaling.prometheus.address",
    ("scaling.source=flower",): "scaling.flower.existingSecret",
    (*VARIANTS["flower"], "scaling.modelServer.enabled=true"): "Flower does not know",
    ("scaling.idleReplicas=0",): "must be less than the 0 workers",
    ("scaling.modelServer.enabled=true", "scaling.modelServer.minReplicas=2"): "at most 1 servers",
    ("scaling.mode=kedda",): "mode",
    ("scaling.source=redis",): "source",
    ("scaling.targetDrainSecond=5",): "targetDrainSecond",
    ("scaling.maxReplicas=0",): "maxReplicas",
    ("monitoring.serviceMonitors.enabled=true",): "serviceMonitors",
}  # fmt: skip


@pytest.mark.parametrize("values", REFUSED, ids=" ".join)
def test_what_cannot_work_is_refused_in_words(values: tuple[str, ...]) -> None:
    said = helm(*values)
    assert said.returncode != 0
    assert REFUSED[values] in said.stderr


def test_hpa_keeps_one_where_nothing_is_said() -> None:
    scalers = by_queue(render("scaling.mode=hpa"), "HorizontalPodAutoscaler")
    assert {_bounds(found)[0] for found in scalers.values()} == {1}


def test_the_adapter_offers_what_an_hpa_asks_for(tmp_path: Path) -> None:
    (rule,) = yaml.safe_load((CHART / "files/prometheus-adapter.yaml").read_text())["rules"][
        "external"
    ]
    for found in of_kind(render(*VARIANTS["hpa"]), "HorizontalPodAutoscaler").values():
        metric = found["spec"]["metrics"][0]["external"]["metric"]
        assert metric["name"] in rule["seriesQuery"]
        labels = {"namespace": NAMESPACE, **metric.get("selector", {}).get("matchLabels", {})}
        matched = ",".join(f'{name}="{value}"' for name, value in labels.items())
        asked = rule["metricsQuery"].replace("<<.Series>>", metric["name"])
        query = asked.replace("<<.LabelMatchers>>", matched)
        assert "<<" not in query
        assert promql_faults([query], tmp_path) == ""
