"""Queues, chart values, Compose services and passwords follow from the job types alone."""

from __future__ import annotations

import json
import re
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from kiosk_tasks.broker_users import BrokerKeys
from kiosk_tasks.cli.main import build
from kiosk_tasks.deploy import (
    compose_file,
    compose_services,
    composed_workers,
    deployed_queues,
    helm_values,
    made_part,
    with_made_part,
    write_secrets,
)
from kiosk_tasks.errors import InvalidParameter, KioskError
from kiosk_tasks.job import JobType
from kiosk_tasks.jobs import job_types, task_types

ROOT = Path(__file__).parents[2]
VALUES, COMPOSE = ROOT / "helm/kiosk-tasks/values.yaml", ROOT / "docker-compose.yml"
FILES = [("values", VALUES), ("compose", COMPOSE)]


def deploy(*arguments: object) -> Result:
    return CliRunner().invoke(build(), ["deploy", *map(str, arguments)])


def renamed(**changes: Any) -> dict[str, JobType[Any]]:
    """The first job type, changed, alone."""
    one = replace(next(iter(job_types().values())), **changes)
    return {one.name: one}


def test_every_task_has_its_queue() -> None:
    queues = deployed_queues(task_types(), {})
    assert [queue.name for queue in queues] == sorted({one.queue for one in task_types().values()})
    by_name = {queue.name: queue for queue in queues}
    for name, job_type in task_types().items():
        assert (name in by_name[job_type.queue].job_types) is not job_type.internal
        assert by_name[job_type.queue].time_limit_s >= job_type.seconds


def test_stages_with_a_queue_of_their_own() -> None:
    queues = deployed_queues(task_types(), {"predict.postprocess": "cpu", "polaris.segment": "cpu"})
    cpu = next(queue for queue in queues if queue.name == "cpu")
    assert cpu.job_types == ("polaris", "predict")
    assert cpu.time_limit_s == max(task_types()[name].seconds for name in cpu.job_types)


@pytest.mark.parametrize("queue", ["CPU", "a.b", "a_", "x" * 33, "9"])
def test_queue_that_names_no_deployment(queue: str) -> None:
    with pytest.raises(InvalidParameter, match="at most 32"):
        deployed_queues(task_types(), {"predict.postprocess": queue})


def test_two_queues_with_workers_of_one_name() -> None:
    with pytest.raises(InvalidParameter, match=r'"a-b" and "a_b" would both have .* worker-a-b'):
        deployed_queues(task_types(), {"predict.postprocess": "a-b", "polaris.segment": "a_b"})


def test_values_are_sorted_and_the_same_each_time() -> None:
    queues = deployed_queues(task_types(), {})
    made = helm_values(queues)
    assert made == helm_values(reversed(queues))
    values = yaml.safe_load(made)["queues"]
    assert list(values) == sorted(values) == [queue.name for queue in queues]
    assert values["predict"]["jobTypes"] == ["predict", "predict-zip"]
    assert values["predict"]["timeLimitSeconds"] >= job_types()["predict"].seconds


def test_workers_of_each_queue() -> None:
    queues = deployed_queues(renamed(name="my_job", queue="my_queue"), {})
    (service,) = yaml.safe_load(compose_services(queues)).items()
    name, body = service
    assert name == "worker-my-queue"
    assert body["command"][body["command"].index("-Q") + 1] == "my_queue"
    assert yaml.safe_load(compose_file(queues)) == {"services": {name: body}}


PART = "a: 1\nb:\n  # begin queues, made by a command\n  old: 1\n  # end queues\nc: 2\n"


def test_only_the_part_between_the_marks_is_replaced() -> None:
    new = with_made_part(PART, "x:\n  y: 1\n\nz: 2\n", where="f")
    assert yaml.safe_load(new) == {"a": 1, "b": {"x": {"y": 1}, "z": 2}, "c": 2}
    assert made_part(new, where="f") == "x:\n  y: 1\n\nz: 2\n"
    assert with_made_part(new, "old: 1\n", where="f") == PART


@pytest.mark.parametrize("text", ["a: 1\n", PART + PART, PART.replace("# end", "# no")])
def test_a_file_without_the_marks_is_left_alone(text: str) -> None:
    for act in (
        lambda: made_part(text, where="my.yaml"),
        lambda: with_made_part(text, "", where="my.yaml"),
    ):
        with pytest.raises(InvalidParameter, match=r"my\.yaml has .* part\(s\)"):
            act()


@pytest.mark.parametrize(("what", "file"), FILES)
def test_what_is_in_the_repository_is_what_the_job_types_say(what: str, file: Path) -> None:
    result = deploy(what, "--check", file)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(("what", "file"), FILES)
def test_a_drift_is_shown_and_mended(what: str, file: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    text = file.read_text("utf-8")
    mine.write_text(re.sub(r"track-zip", "truck-zip", text), "utf-8")
    result = deploy(what, "--check", mine)
    assert result.exit_code == 1
    assert "truck-zip" in result.output
    assert f"kiosk deploy {what} --write {mine}" in result.output
    assert deploy(what, "--write", mine).exit_code == 0
    assert mine.read_text("utf-8") == text


@pytest.mark.parametrize("what", ["values", "compose"])
def test_a_file_of_its_own(what: str, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    assert deploy(what, "--write", mine).exit_code == 0
    assert mine.read_text("utf-8") == deploy(what).output
    assert deploy(what, "--check", mine).exit_code == 0
    mine.write_text(mine.read_text("utf-8") + "more: 1\n")
    assert deploy(what, "--check", mine).exit_code == 1
    assert deploy(what, "--write", mine).exit_code == 0
    assert deploy(what, "--check", mine).exit_code == 0


def test_only_the_workers_that_another_file_lacks(tmp_path: Path) -> None:
    """Compose would add the lists of a service that stands in two files."""
    assert deploy("compose", "--beside", COMPOSE).output.endswith("services:\n  {}\n")
    other, more = tmp_path / "other.yml", compose_file(deployed_queues(renamed(queue="mine"), {}))
    other.write_text(f"# Made by `kiosk deploy compose`\n{more}")
    assert composed_workers(other.read_text(), where="other.yml") == {"worker-mine"}
    assert deploy("compose", "--beside", other).output == deploy("compose").output
    with pytest.raises(InvalidParameter, match=r"values\.yaml has no part"):
        composed_workers("a: 1", where="values.yaml")


def test_check_and_write_at_once(tmp_path: Path) -> None:
    result = deploy("values", "--check", tmp_path / "a", "--write", tmp_path / "a")
    assert isinstance(result.exception, InvalidParameter)
    assert isinstance(deploy("values", "--check", tmp_path / "a").exception, InvalidParameter)


KEYS = BrokerKeys(records="kiosk:", messages="kiosk:v1:", old_queues=["predict"])


def test_secrets_are_made_once(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "secrets"
    written = write_secrets(folder, KEYS, broker="broker:6379")
    before = {file.name: file.read_text() for file in folder.iterdir()}
    assert {file.name for file in written} == set(before)
    assert [file.name for file in write_secrets(folder, KEYS, broker="x:1")] == ["users.acl"]
    assert {file.name: file.read_text() for file in folder.iterdir()} == before
    (folder / "worker-broker-url").unlink()
    write_secrets(folder, KEYS, broker="broker:6379")
    after = (folder / "worker-broker-url").read_text()
    assert after != before["worker-broker-url"]
    assert (folder / "users.acl").read_text() != before["users.acl"]


def test_secrets_fit_each_other_and_only_their_owner_gets_there(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir(mode=0o755)
    write_secrets(folder, KEYS, broker="broker:6379")
    text = {file.name: file.read_text() for file in folder.iterdir()}
    assert not [name for name, value in text.items() if value[-1:] == "\n" and name != "users.acl"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o644}
    assert text["metrics-token"] in text["api-tokens"]
    assert text["bucket-password"] in text["bucket-credentials"]
    (exporter,) = set(json.loads(text["redis-exporter-passwords"]).values())
    assert exporter in text["exporter-broker-url"]
    passwords = re.findall(r"\b[0-9a-f]{48}\b", "\n".join(text.values()))
    assert len(set(passwords)) == 13
    assert not any(password in text["users.acl"] for password in passwords)


def test_secrets_for_a_broker_behind_sentinels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sentinels = "sentinel://kiosk-client:word@a:26379/3;sentinel://b:26379"
    monkeypatch.setenv("KIOSK_BROKER_URL", sentinels)
    monkeypatch.setenv("KIOSK_SENTINEL_MASTER", "kiosk")
    done = deploy("secrets", tmp_path / "secrets")
    assert done.exit_code == 0, done.output
    assert "/3.celery.pidbox" in (tmp_path / "secrets" / "users.acl").read_text()


def test_a_url_without_a_password_is_named(tmp_path: Path) -> None:
    (tmp_path / "worker-broker-url").write_text("redis://broker:6379/0\n")
    with pytest.raises(InvalidParameter, match="worker-broker-url must be like"):
        write_secrets(tmp_path, KEYS, broker="broker:6379")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidParameter, match="cannot be made"):
        write_secrets(tmp_path / "file" / "secrets", KEYS, broker="broker:6379")


def test_a_bucket_is_made_at_s3_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIOSK_BUCKET", "file:///somewhere")
    error = deploy("bucket").exception
    assert isinstance(error, KioskError)
    assert "not at file://" in str(error)
