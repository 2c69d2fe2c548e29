"""Settings come from the environment, then from the running stack, then from the defaults."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from kiosk_tasks.settings import STACK_ENV, InvalidSetting, Settings, default_home


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KIOSK_HOME", str(tmp_path))
    return tmp_path


def test_defaults(home: Path) -> None:
    settings = Settings.load()
    assert settings.home == home
    assert settings.bucket_url == (home / "bucket").as_uri()
    assert settings.workspace_url == f"{settings.bucket_url}/workspace"
    assert (settings.links, settings.stage_queues, settings.models_dir) == ("queue", {}, None)


def test_environment_then_stack_then_default(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "KIOSK_BROKER_URL=redis://stack:1/0\nKIOSK_MODEL_SERVER=stack:2\nKIOSK_STACK_PID=1\n"
    (home / STACK_ENV).write_text(lines)
    monkeypatch.setenv("KIOSK_MODEL_SERVER", "environment:3")
    settings = Settings.load()
    assert settings.broker_url == "redis://stack:1/0"
    assert settings.model_server == "environment:3"
    assert settings.key_prefix == "kiosk:"


def test_stack_of_another_home_is_not_read(home: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / STACK_ENV).write_text("KIOSK_MODEL_SERVER=other:1\n")
    assert Settings.load().model_server == "127.0.0.1:8500"
    assert home.is_dir()


def test_names_of_the_old_kiosk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_BUCKET", "memory://old")
    monkeypatch.setenv("TF_MAX_BATCH_SIZE", "3")
    monkeypatch.setenv("GRPC_TIMEOUT", "7.5")
    settings = Settings.load()
    assert (settings.bucket_url, settings.max_batch) == ("memory://old", 3)
    assert settings.grpc_timeout_s == 7.5
    monkeypatch.setenv("KIOSK_MAX_BATCH", "4")
    assert Settings.load().max_batch == 4


def test_queues_of_stages_are_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIOSK_STAGE_QUEUES", '{"postprocess": "cpu"}')
    monkeypatch.setenv("KIOSK_LINKS", "stage")
    settings = Settings.load()
    assert (settings.stage_queues, settings.links) == ({"postprocess": "cpu"}, "stage")


def test_workspace_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIOSK_WORKSPACE", "memory://scratch")
    assert Settings.load().workspace_url == "memory://scratch"


@pytest.mark.parametrize(
    ("bucket", "workspace"),
    [
        ("s3://results/", "s3://results/workspace"),
        ("s3://results/a?region=eu-west-1", "s3://results/a/workspace?region=eu-west-1"),
        ("file:///shared/bucket/", "file:///shared/bucket/workspace"),
        ("memory://here", "memory://here/workspace"),
    ],
)
def test_workspace_in_the_bucket(
    monkeypatch: pytest.MonkeyPatch, bucket: str, workspace: str
) -> None:
    monkeypatch.setenv("KIOSK_BUCKET", bucket)
    assert Settings.load().workspace_url == workspace


def test_empty_variable_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KIOSK_MAX_PIXELS", "KIOSK_READY_FILE", "KIOSK_MODELS_DIR", "KIOSK_STAGE_QUEUES"):
        monkeypatch.setenv(name, "")
    settings = Settings.load()
    assert settings.max_pixels == 2**26
    assert (settings.ready_file, settings.models_dir) == (None, None)


def test_wrong_value_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIOSK_LINKS", "job")
    with pytest.raises(InvalidSetting, match="KIOSK_LINKS"):
        Settings.load()


def test_a_file_gives_what_the_environment_does_not(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, queues = tmp_path / "url", tmp_path / "queues"
    url.write_text("redis://file:1/0\n")
    queues.write_text('{"postprocess": "cpu"}')
    (home / STACK_ENV).write_text("KIOSK_BROKER_URL=redis://stack:1/0\n")
    monkeypatch.setenv("KIOSK_BROKER_URL_FILE", str(url))
    monkeypatch.setenv("KIOSK_STAGE_QUEUES_FILE", str(queues))
    monkeypatch.setenv("KIOSK_READY_FILE", str(tmp_path / "ready"))  # a setting of that name
    monkeypatch.setenv("KIOSK_NO_SETTING_FILE", str(tmp_path / "missing"))
    settings = Settings.load()
    assert settings.broker_url == "redis://file:1/0"
    assert settings.stage_queues == {"postprocess": "cpu"}
    assert settings.ready_file == tmp_path / "ready"
    url.write_text("redis://another-file:1/0\n")
    assert Settings.load().broker_url == "redis://another-file:1/0"
    monkeypatch.setenv("KIOSK_BROKER_URL", "redis://environment:1/0")
    assert Settings.load().broker_url == "redis://environment:1/0"


def test_an_empty_file_gives_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").write_text("\n")
    monkeypatch.setenv("KIOSK_MAX_PIXELS_FILE", str(tmp_path / "empty"))
    assert Settings.load().max_pixels == 2**26


@pytest.mark.parametrize("broken", ["missing", "folder", "binary"])
def test_a_file_that_cannot_be_read_is_named(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "binary").write_bytes(b"s3cr3t\xff")
    monkeypatch.setenv("KIOSK_LINK_SECRET_FILE", str(tmp_path / broken))
    with pytest.raises(InvalidSetting, match=f"KIOSK_LINK_SECRET_FILE names .*{broken}") as caught:
        Settings.load()
    assert "s3cr3t" not in str(caught.value)


def test_a_wrong_value_of_a_file_is_refused_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "auth").write_text("s3cr3t")
    monkeypatch.setenv("KIOSK_FLOWER_AUTH_FILE", str(tmp_path / "auth"))
    with pytest.raises(InvalidSetting, match="KIOSK_FLOWER_AUTH") as caught:
        Settings.load()
    assert "s3cr3t" not in str(caught.value)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings.load().links = "stage"  # type: ignore[misc]


def test_relative_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KIOSK_HOME", "state")
    settings = Settings.load()
    assert settings.home == tmp_path / "state"
    assert settings.bucket_url == (tmp_path / "state" / "bucket").as_uri()


def test_home_of_each_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KIOSK_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert default_home() == tmp_path / "data" / "kiosk-tasks"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert default_home() == tmp_path / ".local" / "share" / "kiosk-tasks"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert default_home() == tmp_path / "Library" / "Application Support" / "kiosk-tasks"


def test_hosts_of_the_old_kiosk(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "REDIS_HOST": "redis-master",
        "REDIS_PORT": "tcp://10.0.0.7:6380",
        "TF_HOST": "tf-serving",
        "MAX_RETRY": "7",
        "METADATA_EXPIRE_TIME": "5",
    }.items():
        monkeypatch.setenv(name, value)
    settings = Settings.load()
    assert settings.broker_url == "redis://redis-master:6380/0"
    assert settings.model_server == "tf-serving:8500"
    assert settings.max_retries == 7
    assert settings.metadata_ttl_s == 5
