"""The Helm chart, as real helm renders it: taken by Kubernetes, safe, and wired rightly."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from google.protobuf import text_format

import kiosk_tasks
from kiosk_tasks.cli import doctor
from kiosk_tasks.cli.main import build
from tests.chart.checks import Object, containers, faults, pods, schema_faults
from tests.chart.trial_users import FILE as TRIAL_USERS
from tests.chart.trial_users import trial_users
from tests.rendered import CHART, by_queue
from tests.tools import tool

CASES = {
    path.stem: path
    for folder in (CHART / "examples", Path(__file__).parents[1] / "chart" / "cases")
    for path in sorted(folder.glob("*.yaml"))
}
WANTED = {"defaults", "hpa", "s3-tls", "gcs", "scale-to-zero", "ten-queues"}
VERSIONS = ("1.27", "1.32", "1.37")
"""The oldest that the chart admits, one between, and the newest of which there are schemas."""


def helm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [str(tool("helm")), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@cache
def text(case: str, *values: str, chart: Path = CHART) -> str:
    """Return what helm prints for one of the cases."""
    more = [part for value in values for part in ("--set", value)]
    done = helm("template", "lab", chart, "--namespace", "bio", "-f", CASES[case], *more)
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects_in(rendered: str) -> list[Object]:
    return [one for one in yaml.load_all(rendered, yaml.CSafeLoader) if one]


def render(case: str, *values: str) -> list[Object]:
    return objects_in(text(case, *values))


def refusal(*values: str) -> str:
    """Return what helm says against these values."""
    more = [part for value in values for part in ("--set", value)]
    done = helm("template", "lab", CHART, *more)
    assert done.returncode != 0, "helm takes them"
    return done.stderr


# ---- every case --------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_helm_lint_finds_nothing(case: str) -> None:
    done = helm("lint", "--strict", CHART, "-f", CASES[case])
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("case", CASES)
def test_kubernetes_takes_every_object_and_knows_every_field(case: str) -> None:
    objects = render(case)
    assert [said for version in VERSIONS for said in schema_faults(objects, version)] == []


@pytest.mark.parametrize("case", CASES)
def test_every_object_is_safe_and_wired_rightly(case: str) -> None:
    assert faults(render(case)) == []


def test_no_case_that_matters_is_missing() -> None:
    assert CASES.keys() >= WANTED


def test_every_queue_of_ten_is_consumed_as_it_asks_for() -> None:
    workers = by_queue(render("ten-queues"), "Deployment")
    assert len(workers) >= 10
    pod = workers["cpu"]["spec"]["template"]
    container = pod["spec"]["containers"][0]
    assert container["command"][container["command"].index("-c") + 1] == "8"
    assert container["resources"] == {"requests": {"cpu": "4"}, "limits": {"memory": "16Gi"}}
    assert pod["spec"]["nodeSelector"] == {"pool": "cpu"}
    assert pod["spec"]["priorityClassName"] == "low"
    assert pod["metadata"]["labels"].items() >= {"team": "imaging", "cost-centre": "42"}.items()
    assert {"name": "OMP_NUM_THREADS", "value": "1"} in container["env"]
    assert workers["lab_1"]["metadata"]["name"].endswith("-worker-lab-1")
    other = workers["predict"]["spec"]["template"]["spec"]
    assert "nodeSelector" not in other, "one queue's choice is another's"


def test_a_gpu_is_asked_for_where_the_models_are() -> None:
    server = pods(render("gcs"))["lab-model-server"]["spec"]
    assert server["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert server["containers"][0]["image"].endswith("-gpu")
    assert any(one["key"] == "nvidia.com/gpu" for one in server["tolerations"])
    assert "nvidia" not in yaml.safe_dump(pods(render("defaults")))


def test_the_largest_batch_is_said_once() -> None:
    maps = [one["data"] for one in render("defaults", "modelServer.maxBatch=48") if "data" in one]
    assert [one["KIOSK_MAX_BATCH"] for one in maps if "KIOSK_MAX_BATCH" in one] == ["48"]
    (batching,) = (one["batching.config"] for one in maps if "batching.config" in one)
    assert "max_batch_size { value: 48 }" in batching


def test_tensorflow_serving_can_read_which_models_it_serves() -> None:
    config_pb2 = import_module("tensorflow_serving.config.model_server_config_pb2")
    (text_of_it,) = (
        one["data"]["models.config"]
        for one in render("defaults", "modelServer.models.names={A.1,B-2}")
        if "models.config" in one.get("data", {})
    )
    config = text_format.Parse(text_of_it, config_pb2.ModelServerConfig())
    models = [(one.name, one.base_path) for one in config.model_config_list.config]
    assert models == [("A.1", "/models/A.1"), ("B-2", "/models/B-2")]


def test_models_are_fetched_from_a_folder_by_whom_it_belongs_to(tmp_path: Path) -> None:
    values = ("modelServer.models.from=bucket",)
    assert faults(render("defaults", *values)) == []
    shutil.copytree(CHART, tmp_path / "chart")
    template = tmp_path / "chart" / "templates" / "model-server.yaml"
    template.write_text(template.read_text().replace('(dict "as" .Values.pod.user)', "$of", 1))
    (said,) = faults(objects_in(text("defaults", *values, chart=tmp_path / "chart")))
    assert "the volume lab-bucket has several owners" in said


def test_a_model_server_that_starts_slowly_is_no_failed_rollout() -> None:
    for case in CASES:
        for one in render(case):
            if one["kind"] == "Deployment":
                container = one["spec"]["template"]["spec"]["containers"][0]
                start = container["startupProbe"]
                start_s = start["periodSeconds"] * start["failureThreshold"]
                assert one["spec"].get("progressDeadlineSeconds", 600) > start_s, case


def test_workers_learn_of_other_model_servers() -> None:
    server = containers(pods(render("defaults"))["lab-model-server"])[-1]
    (told,) = (word for word in server["command"] if word.startswith("--grpc_channel_arguments="))
    name, _, age_ms = told.partition("=")[2].partition("=")
    grace_s = pods(render("defaults"))["lab-model-server"]["spec"]["terminationGracePeriodSeconds"]
    assert name == "grpc.max_connection_age_ms"
    # a client asks for names once in 30 s: by then it must have left a server that is to go
    assert int(age_ms) / 1000 + 30 < grace_s


def test_what_pods_read_at_their_start_starts_them_anew() -> None:
    def checksums(*values: str) -> dict[str, str]:
        return {
            name: str(pod["metadata"].get("annotations"))
            for name, pod in pods(render("defaults", *values)).items()
        }

    def changed(*values: str) -> set[str]:
        now = checksums(*values)
        return {name for name, before in checksums().items() if now[name] != before}

    ours = {"lab-web", "lab-reaper", "lab-exporter", "lab-flower"}
    workers = {name for name in checksums() if "-worker-" in name}
    assert changed("settings.KIOSK_MAX_PIXELS=7") == ours | workers
    assert changed("scaling.maxReplicas=7") == {"lab-web", "lab-exporter"}
    assert changed("broker.maxMemory=2gb") == {"lab-broker"}
    assert changed("modelServer.batching.threads=7") == {"lab-model-server"}
    assert "lab-broker" in changed("secrets.trial=true"), "it reads its users at its start"


def test_an_upgrade_finds_the_same_selectors() -> None:
    def selectors(objects: list[Object]) -> dict[str, Any]:
        return {
            one["metadata"]["name"]: one["spec"]["selector"]
            for one in objects
            if one["kind"] in ("Deployment", "StatefulSet")
        }

    now = render("defaults", "image.tag=9.9.9", "pod.labels.team=imaging")
    assert selectors(now) == selectors(render("defaults"))


def test_the_chart_is_of_this_release() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == chart["version"] == kiosk_tasks.__version__


def test_every_value_is_described_and_stands_in_the_values() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    def missing(part: dict[str, Any], there: Any, path: str) -> Iterator[str]:
        for name, one in part.get("properties", {}).items():
            if not one.get("description"):
                yield f"{path}{name} is not described"
            if name not in there:
                yield f"{path}{name} is in no values"
            elif isinstance(there[name], dict):
                yield from missing(one, there[name], f"{path}{name}.")

    assert list(missing(schema, {"global": None} | values, "")) == []


# ---- commands, secrets -------------------------------------------------------------------------


def test_every_command_is_one_that_the_command_line_takes() -> None:
    group: Any = typer.main.get_command(build())
    seen = set()
    for case in CASES:
        for pod in pods(render(case)).values():
            for container in containers(pod):
                program, *words = container.get("command", [""])
                if program == "kiosk":
                    command = group.commands[words[0]]
                    command.make_context(words[0], words[1:]).close()
                    seen.add(words[0])
    assert seen == {*("web", "reap", "bridge", "exporter", "flower", "doctor", "fetch-models")}


def test_what_the_chart_admits_is_what_the_doctor_says() -> None:
    said = Path(doctor.__file__).read_text()

    def admitted(case: str) -> list[str]:
        command = containers(pods(render(case))["lab-doctor"])[0]["command"]
        return [word.partition("=")[2] for word in command if word.startswith("--admit=")]

    assert admitted("trial") == ["without TLS"]
    assert admitted("s3-tls") == ["no worker consumes"]
    assert admitted("scale-to-zero") == ["without TLS", "no worker consumes", "model server"]
    assert all(words in said for words in admitted("scale-to-zero"))


def _keys(objects: Iterable[Object]) -> set[str]:
    return {
        item["key"]
        for pod in pods(list(objects)).values()
        for volume in pod["spec"].get("volumes", [])
        for source in (volume, *volume.get("projected", {}).get("sources", []))
        for item in source.get("secret", {}).get("items", [])
    }


def test_the_secret_that_is_made_has_every_key_that_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "kiosk-secrets"
    argv = ["deploy", "secrets", str(folder), "--broker", "lab-broker:6379"]
    assert typer.main.get_command(build()).main(argv, standalone_mode=False) is None
    create = ["create", "secret", "generic", "kiosk-secrets", f"--from-file={folder}"]
    command = [str(tool("kubectl")), *create, "--dry-run=client", "-o", "yaml"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    made = yaml.safe_load(done.stdout)["data"].keys()
    for case in CASES.keys() - {"sentinel"}:
        assert _keys(render(case)) <= made, case
    assert _keys(render("sentinel")) - made == {"broker-url", "sentinel-password"}


def test_a_trial_makes_what_it_reads_and_nothing_else_does() -> None:
    objects = render("trial")
    (secret,) = (one for one in objects if one["kind"] == "Secret")
    assert _keys(objects) <= secret["stringData"].keys()
    assert "{" not in secret["stringData"]["users.acl"], "a user has no password"
    passwords = re.findall(r":(\w{40})@", yaml.safe_dump(secret["stringData"]))
    assert len(passwords) == len(set(passwords)) == 7


def test_the_users_of_a_trial_are_those_of_kiosk_acl() -> None:
    assert TRIAL_USERS.read_text() == trial_users(), "run python -m tests.chart.trial_users"


# ---- mistakes of whoever installs --------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["worker.concurency=4"], "/worker': additional properties 'concurency' not allowed"),
        (["queues.predict.replicas=two"], "/queues/predict/replicas': got string, want integer"),
        (["scaling.mode=auto"], "/scaling/mode': value must be one of"),
        (["modelServer.maxBatch=0"], "/modelServer/maxBatch': minimum: got 0, want 1"),
        (["bucket.url=results"], "/bucket/url': 'results' does not match pattern"),
        (["queues.Big.jobTypes={x}"], "invalid propertyName 'Big'"),
        (["worker.gracePeriodSeconds=25"], "Set worker.gracePeriodSeconds to 35 or more"),
        (["secrets.existingSecret="], "name a Secret in secrets.existingSecret"),
        (["settings.KIOSK_MAX_BATCH=4"], "Use modelServer.maxBatch."),
        (["web.ingress.enabled=true"], "say under which name in web.ingress.host"),
        (["modelServer.enabled=false"], "say in modelServer.address where models are served"),
        (["modelServer.models.from=volume"], "in modelServer.models.existingClaim"),
        (["secrets.trial=true", "broker.bundled=false"], "for the bundled broker only"),
        (["fullnameOverride=" + 40 * "x", f"queues.{20 * 'y'}.jobTypes={{x}}"], "longer than 63"),
    ],
)  # fmt: skip
def test_a_typical_mistake_is_refused_with_its_place_and_the_way_out(
    values: list[str], said: str
) -> None:
    told = refusal(*values)
    assert said in told
    assert len(told) < 700, told


# ---- mistakes of whoever changes the chart -----------------------------------------------------

PLANTED = yaml.safe_load((Path(__file__).parents[1] / "chart" / "planted.yaml").read_text())


@pytest.mark.parametrize(("file", "old", "new", "said"), PLANTED, ids=[one[2] for one in PLANTED])
def test_a_mistake_in_the_chart_is_noticed(
    file: str, old: str, new: str, said: str, tmp_path: Path
) -> None:
    shutil.copytree(CHART, tmp_path / "chart")
    template = tmp_path / "chart" / "templates" / file
    before = template.read_text()
    assert old in before, "the mistake has no place any more"
    template.write_text(before.replace(old, new, 1))
    done = helm("template", "lab", tmp_path / "chart")
    found = [done.stderr]
    if done.returncode == 0:
        objects = objects_in(done.stdout)
        found += [*schema_faults(objects, VERSIONS[-1]), *faults(objects)]
    assert said in "\n".join(found)
