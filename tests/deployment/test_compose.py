"""`docker-compose.yml`, read by the real docker-compose: what must hold; planted mistakes are seen.

There is no Docker engine: nothing here starts a container. `test_compose_run.py` runs the same
commands with the same environments as plain processes.
"""

from __future__ import annotations

import copy
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from kiosk_tasks import __version__
from kiosk_tasks.broker_users import BrokerKeys
from kiosk_tasks.deploy import deployed_queues, write_secrets
from kiosk_tasks.jobs import task_types
from kiosk_tasks.serving import protos as _protos  # lets tensorflow_serving be without TensorFlow
from tests.compose_file import COMPOSE, ROOT, config, problems, resolved
from tests.tools import tool

assert _protos
QUEUES = {queue.name for queue in deployed_queues(task_types(), {})}
OPTIONAL = {
    "legacy": {"bridge"},
    "monitoring": {"grafana", "prometheus", "redis-exporter"},
}


@pytest.fixture(scope="module")
def made_secrets(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    keys = BrokerKeys(records="kiosk:", messages="kiosk:v1:")
    files = write_secrets(tmp_path_factory.mktemp("secrets"), keys, broker="broker:6379")
    return {file.name for file in files}


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    return resolved()


def test_nothing_is_wrong_with_it(whole: dict[str, Any], made_secrets: set[str]) -> None:
    assert problems(whole, queues=QUEUES, secrets=made_secrets) == []


def test_profiles_add_what_they_say(whole: dict[str, Any], made_secrets: set[str]) -> None:
    plain = resolved(profiles=())
    assert problems(plain, queues=QUEUES, secrets=made_secrets) == []
    for profile, services in OPTIONAL.items():
        with_it = resolved(profiles=(profile,))
        assert with_it["services"].keys() - plain["services"].keys() == services
        assert problems(with_it, queues=QUEUES, secrets=made_secrets) == []
    assert whole["services"].keys() - plain["services"].keys() == set().union(*OPTIONAL.values())


def test_images_of_ours_are_of_this_release(whole: dict[str, Any]) -> None:
    ours = [s for s in whole["services"].values() if s["image"].startswith("kiosk-tasks/")]
    assert len(ours) >= len(QUEUES) + 5
    for service in ours:
        name, _, tag = service["image"].removeprefix("kiosk-tasks/").partition(":")
        assert (service["build"]["target"], tag) == (name, __version__)
        assert Path(service["build"]["context"]) == ROOT


def test_variables_change_what_they_say(made_secrets: set[str]) -> None:
    changed = resolved(
        env={
            "KIOSK_MAX_BATCH": "32",
            "WORKER_PROCESSES": "7",
            "WORKER_IMAGE": "lab/worker:1.2.3",
            "KIOSK_BUCKET": "gs://lab/kiosk",
            "BROKER_MEMORY": "2gb",
        }
    )
    services = changed["services"]
    assert problems(changed, queues=QUEUES, secrets=made_secrets) == []
    batches = {s["environment"]["KIOSK_MAX_BATCH"] for s in services.values() if "build" in s}
    assert batches == {services["model-server"]["environment"]["KIOSK_MAX_BATCH"]} == {"32"}
    assert services["worker-predict"]["command"][-1] == "7"
    assert services["worker-predict"]["image"] == "lab/worker:1.2.3"
    assert services["web"]["environment"]["KIOSK_BUCKET"] == "gs://lab/kiosk"
    assert services["broker"]["command"][-1] == "2gb"


def no_worker(services: dict[str, Any]) -> None:
    del services["worker-track"]


def worker_twice(services: dict[str, Any]) -> None:
    services["more"] = services["worker-track"]


def wrong_queue(services: dict[str, Any]) -> None:
    services["worker-track"]["command"][5] = "trakc"


def unknown_setting(services: dict[str, Any]) -> None:
    services["web"]["environment"]["KIOSK_WEB_ADRESS"] = "0.0.0.0"  # noqa: S104


def unknown_secret_setting(services: dict[str, Any]) -> None:
    services["web"]["environment"]["KIOSK_TOKENS_FILE"] = "/run/secrets/api-tokens"


def secret_that_is_not_mounted(services: dict[str, Any]) -> None:
    services["web"]["secrets"].pop()


def secret_in_the_environment(services: dict[str, Any]) -> None:
    services["flower"]["environment"]["KIOSK_FLOWER_AUTH"] = "lab:password"


def no_health_check(services: dict[str, Any]) -> None:
    del services["broker"]["healthcheck"]


def wait_for_no_end(services: dict[str, Any]) -> None:
    services["make-bucket"]["restart"] = "always"


def floating_tag(services: dict[str, Any]) -> None:
    services["bucket"]["image"] = "minio/minio:latest"


def may_write(services: dict[str, Any]) -> None:
    services["web"]["read_only"] = False


def roots_own(services: dict[str, Any]) -> None:
    services["worker-predict"]["tmpfs"] = ["/run/kiosk"]


def has_capabilities(services: dict[str, Any]) -> None:
    del services["broker"]["cap_drop"]


def no_limit(services: dict[str, Any]) -> None:
    del services["worker-spot"]["mem_limit"]


def broker_with_a_port(services: dict[str, Any]) -> None:
    services["broker"]["ports"] = [{"target": 6379, "host_ip": "127.0.0.1"}]
    services["broker"]["networks"] = {"inside": None, "outside": None}


def open_port(services: dict[str, Any]) -> None:
    services["web"]["ports"][0]["host_ip"] = "0.0.0.0"  # noqa: S104


def worker_with_a_way_out(services: dict[str, Any]) -> None:
    services["worker-track"]["networks"]["outside"] = None


def another_batch(services: dict[str, Any]) -> None:
    services["model-server"]["environment"]["KIOSK_MAX_BATCH"] = "4"


def missing_config(services: dict[str, Any]) -> None:
    services["broker"]["configs"][0]["source"] = "redis"


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        (no_worker, "nobody serves the queue track"),
        (worker_twice, "track is served twice"),
        (wrong_queue, "trakc is no queue"),
        (unknown_setting, "KIOSK_WEB_ADRESS is no setting"),
        (unknown_secret_setting, "KIOSK_TOKENS_FILE is no setting"),
        (secret_that_is_not_mounted, "names /run/secrets/link-secret, which is not mounted"),
        (secret_in_the_environment, "KIOSK_FLOWER_AUTH is a secret in the environment"),
        (no_health_check, "broker to be healthy, which has no health check"),
        (wait_for_no_end, "waits for make-bucket in the wrong way"),
        (floating_tag, "minio/minio:latest is not pinned"),
        (may_write, "web: read_only is not True"),
        (roots_own, "worker-predict: /run/kiosk belongs to root"),
        (has_capabilities, "broker: cap_drop is not"),
        (no_limit, "worker-spot: no mem_limit"),
        (broker_with_a_port, "broker has a port"),
        (open_port, "web: port 8000 is open to the network"),
        (worker_with_a_way_out, "worker-track is in the networks"),
        (another_batch, "the largest batch differs"),
        (missing_config, "broker: no config redis"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_mistake_is_seen(
    mistake: Callable[[dict[str, Any]], None],
    told: str,
    whole: dict[str, Any],
    made_secrets: set[str],
) -> None:
    changed = copy.deepcopy(whole)
    mistake(changed["services"])
    assert told in "\n".join(problems(changed, queues=QUEUES, secrets=made_secrets))


def test_mistakes_around_the_services_are_seen(whole: dict[str, Any]) -> None:
    changed = copy.deepcopy(whole)
    changed["networks"]["inside"]["internal"] = False
    changed["configs"]["valkey"]["file"] = "/nowhere/valkey.conf"
    changed["configs"]["rules"] = {"content": "groups: []"}
    changed["secrets"]["link-secret"]["file"] = "compose/secrets/lnik-secret"
    told = "\n".join(problems(changed, queues=QUEUES, secrets=set()))
    for text in ("inside is open", "valkey.conf, which is not there", "rules is not a file"):
        assert text in told
    assert "nothing makes lnik-secret" in told


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("    stop_grace_period: 30s", "    stop_grace: 30s", "stop_grace is not allowed"),
        ("depends_on: {bucket:", "depends_on: {buckte:", "undefined service"),
        ("secrets: [metrics-token]", "secrets: [metrics-tokens]", "undefined secret"),
        ("service: worker}", "service: worekr}", "worekr"),
        ("networks: [inside, outside]", "networks: [outsied]", "undefined network"),
    ],
)
def test_docker_compose_refuses(old: str, new: str, told: str, tmp_path: Path) -> None:
    text = COMPOSE.read_text("utf-8")
    assert old in text
    shutil.copytree(
        ROOT / "compose", tmp_path / "compose", ignore=shutil.ignore_patterns("secrets")
    )
    file = tmp_path / COMPOSE.name
    file.write_text(text, "utf-8")
    assert config(file, profiles=("*",)).returncode == 0
    file.write_text(text.replace(old, new), "utf-8")
    done = config(file, profiles=("*",))
    assert done.returncode != 0
    assert told in done.stderr


def test_a_file_of_ones_own_adds_and_changes(tmp_path: Path, made_secrets: set[str]) -> None:
    mine = tmp_path / "mine.yml"
    mine.write_text(
        "services:\n"
        "  worker-mine:\n"
        "    extends: {file: compose/kiosk.yaml, service: worker}\n"
        "    command: [celery, -A, kiosk_tasks, worker, -Q, mine]\n"
        "  model-server:\n"
        "    image: tensorflow/serving:2.19.1-gpu\n"
    )
    read = resolved(COMPOSE, mine)
    assert problems(read, queues={*QUEUES, "mine"}, secrets=made_secrets) == []
    assert read["services"]["model-server"]["image"].endswith("-gpu")
    assert "nobody serves the queue other" in problems(
        read, queues={*QUEUES, "mine", "other"}, secrets=made_secrets
    )


def test_the_examples_of_the_page(tmp_path: Path) -> None:
    page = (ROOT / "docs/compose.md").read_text("utf-8")
    gpu, cloud = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    mine = tmp_path / "mine.yml"
    mine.write_text(gpu)
    server = resolved(COMPOSE, mine)["services"]["model-server"]
    assert server["image"].endswith("-gpu")
    assert server["deploy"]["resources"]["reservations"]["devices"][0]["driver"] == "nvidia"
    mine.write_text(cloud)
    services = resolved(COMPOSE, mine, profiles=())["services"]
    assert "bucket" not in services
    assert services["make-bucket"]["entrypoint"] == ["true"]
    assert set(services["worker-predict"]["networks"]) == {"inside", "outside"}


def test_every_variable_is_on_the_page() -> None:
    text = COMPOSE.read_text("utf-8") + (ROOT / "compose/kiosk.yaml").read_text("utf-8")
    used = set(re.findall(r"\$\{([A-Z_]+):-", text))
    page = (ROOT / "docs/compose.md").read_text("utf-8")
    named = set(re.findall(r"`([A-Z_]+)`", page))
    rest = {"KIOSK_MAX_FILE_BYTES"}  # as everywhere: settings.md
    assert used - named == rest


def test_what_is_kept_out_of_the_repository() -> None:
    ignored = ["compose/secrets/users.acl", ".env"]
    done = subprocess.run(
        ["git", "check-ignore", *ignored], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ignored


def test_prometheus_takes_its_files(tmp_path: Path) -> None:
    """With the rules at the paths where they are mounted, below a folder."""
    (tmp_path / "rules").mkdir()
    for name in ("rules", "alerts"):
        shutil.copy(ROOT / f"helm/kiosk-tasks/files/{name}.yaml", tmp_path / "rules")
    (tmp_path / "metrics-token").write_text("token")
    text = (ROOT / "compose/prometheus.yml").read_text("utf-8")
    here = text.replace("/etc/prometheus", str(tmp_path)).replace("/run/secrets", str(tmp_path))

    def check(content: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "prometheus.yml").write_text(content)
        return subprocess.run(
            [str(tool("promtool")), "check", "config", str(tmp_path / "prometheus.yml")],
            capture_output=True,
            text=True,
            check=False,
        )

    good = check(here)
    assert good.returncode == 0, good.stdout + good.stderr
    assert len(re.findall(r"SUCCESS: \d+ rules found", good.stdout)) == 2
    assert check(here.replace("static_configs", "static_config", 1)).returncode != 0


def test_prometheus_asks_services_that_there_are(whole: dict[str, Any]) -> None:
    scraped = yaml.safe_load((ROOT / "compose/prometheus.yml").read_text("utf-8"))
    for job in scraped["scrape_configs"]:
        ((target,),) = ([*one["targets"]] for one in job["static_configs"])
        assert target.partition(":")[0] in whole["services"]


def test_grafana_shows_the_dashboards(whole: dict[str, Any]) -> None:
    grafana = whole["services"]["grafana"]
    shown = {v["target"]: v["source"] for v in grafana["volumes"] if v["type"] == "bind"}
    providers = yaml.safe_load((ROOT / "compose/grafana/dashboards.yaml").read_text("utf-8"))
    (provider,) = providers["providers"]
    assert list(Path(shown[provider["options"]["path"]]).glob("*.json"))
    sources = yaml.safe_load((ROOT / "compose/grafana/datasources.yaml").read_text("utf-8"))
    assert sources["datasources"][0]["url"] == "http://prometheus:9090"


def test_model_server_serves_the_models_that_come_along() -> None:
    served = import_module("tensorflow_serving.config.model_server_config_pb2").ModelServerConfig()
    text = (ROOT / "compose/models.config").read_text("utf-8")
    text_format.Parse(text, served)
    models = served.model_config_list.config
    folder = ROOT / "kiosk_tasks/serving/models"
    assert {one.name for one in models} == {path.name for path in folder.iterdir()}
    assert {one.base_path for one in models} == {f"/models/{one.name}" for one in models}
    with pytest.raises(text_format.ParseError):
        text_format.Parse(text.replace("base_path", "basepath"), served)


def batching_parameters() -> Any:
    """TensorFlow Serving's message of this name; its Python package leaves it out."""
    file = descriptor_pb2.FileDescriptorProto(name="batching.proto", syntax="proto3")
    value = file.message_type.add(name="Value")
    kinds = descriptor_pb2.FieldDescriptorProto
    once, many = kinds.LABEL_OPTIONAL, kinds.LABEL_REPEATED
    value.field.add(name="value", number=1, type=kinds.TYPE_INT64, label=once)
    message = file.message_type.add(name="BatchingParameters")
    names = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads")
    for number, name in enumerate(names, 1):
        message.field.add(
            name=name, number=number, type=kinds.TYPE_MESSAGE, type_name="Value", label=once
        )
    message.field.add(name="allowed_batch_sizes", number=6, type=kinds.TYPE_INT64, label=many)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("BatchingParameters"))()


def test_model_server_starts_with_the_workers_largest_batch(
    tmp_path: Path, whole: dict[str, Any]
) -> None:
    """Its script is run, with a program in the server's place that tells how it was called."""
    server = tmp_path / "tensorflow_model_server"
    server.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    server.chmod(0o755)
    service = whole["services"]["model-server"]
    sources = {one["target"]: one["source"] for one in service["configs"]}
    shell, script = service["entrypoint"]
    file = whole["configs"][sources[script]]["file"]
    text = Path(file).read_text("utf-8").replace("/tmp/", f"{tmp_path}/")  # noqa: S108
    done = subprocess.run(
        [shell, "-c", text],
        env={"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", **service["environment"]},
        capture_output=True,
        text=True,
        check=True,
    )
    options = dict(line.removeprefix("--").partition("=")[::2] for line in done.stdout.split())
    assert options["model_config_file"] in sources
    assert whole["services"]["web"]["environment"]["KIOSK_MODEL_SERVER"].endswith(options["port"])
    batching = text_format.Parse(
        Path(options["batching_parameters_file"]).read_text(), batching_parameters()
    )
    assert str(batching.max_batch_size.value) == service["environment"]["KIOSK_MAX_BATCH"]
    assert batching.num_batch_threads.value > 0
    scraped = yaml.safe_load((ROOT / "compose/prometheus.yml").read_text("utf-8"))
    (job,) = (one for one in scraped["scrape_configs"] if one["job_name"] == "model-server")
    told = Path(options["monitoring_config_file"]).read_text()
    assert told == f'prometheus_config {{ enable: true, path: "{job["metrics_path"]}" }}\n'
