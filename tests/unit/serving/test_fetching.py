"""Models to a folder: whole, once, and only those that are there."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from kiosk_tasks.cli.main import build
from kiosk_tasks.errors import StorageUnavailable, UnknownModel
from kiosk_tasks.serving.deployed import deployed
from kiosk_tasks.serving.fetching import fetch_from_bucket, fetch_own
from kiosk_tasks.storage.local import LocalStorage


def files_in(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


@pytest.fixture
def bucket(tmp_path: Path) -> LocalStorage:
    storage = LocalStorage(tmp_path / "bucket")
    for version in (1, 2, 10):
        storage.put(f"models/Mine/{version}/variables/variables.index", b"index")
        storage.put(f"models/Mine/{version}/saved_model.pb", b"graph %d" % version)
    storage.put("models/Mine/11/variables/variables.index", b"half an upload")
    storage.put("models/Mine/old/saved_model.pb", b"no version")
    storage.put("models/Minerva/1/saved_model.pb", b"another model")
    return storage


def test_the_models_that_come_along_are_copied_once(tmp_path: Path) -> None:
    fetched = fetch_own(tmp_path)
    assert {path.parent.name for path in fetched} >= {"NuclearSegmentation"}
    assert deployed([tmp_path]).keys() >= {"NuclearSegmentation", "MultiplexSegmentation"}
    assert (fetched[0].stat().st_mode & 0o777) == 0o755
    assert fetch_own(tmp_path) == []


def test_every_whole_version_of_a_model_comes_from_the_bucket(
    bucket: LocalStorage, tmp_path: Path
) -> None:
    folder = tmp_path / "models"
    fetch_from_bucket(bucket, ["Mine"], folder)
    assert deployed([folder]) == {"Mine": (1, 2, 10)}
    assert (folder / "Mine/10/saved_model.pb").read_bytes() == b"graph 10"
    assert len(files_in(folder)) == 6
    assert fetch_from_bucket(bucket, ["Mine"], folder) == []


def test_a_model_that_is_not_there_is_named(bucket: LocalStorage, tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match=r"no model Min \(models/Min/.*export-model"):
        fetch_from_bucket(bucket, ["Min"], tmp_path / "models")


def test_a_model_that_only_comes_along_is_taken_from_there(
    bucket: LocalStorage, tmp_path: Path
) -> None:
    fetched = fetch_from_bucket(bucket, ["NuclearSegmentation", "Minerva"], tmp_path / "models")
    assert [path.parent.name for path in fetched] == ["NuclearSegmentation", "Minerva"]
    bucket.put("models/NuclearSegmentation/7/saved_model.pb", b"newer")
    fetch_from_bucket(bucket, ["NuclearSegmentation"], tmp_path / "again")
    assert deployed([tmp_path / "again"]) == {"NuclearSegmentation": (7,)}


def test_half_a_model_is_never_seen(
    bucket: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(key: str, target: Path) -> None:
        target.write_bytes(b"")
        if key.endswith(".index"):
            raise StorageUnavailable("the bucket went away.")

    monkeypatch.setattr(bucket, "download", download)
    with pytest.raises(StorageUnavailable):
        fetch_from_bucket(bucket, ["Mine"], tmp_path / "models")
    assert files_in(tmp_path / "models") == []


@pytest.mark.usefixtures("bucket")
def test_the_command_says_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIOSK_BUCKET", (tmp_path / "bucket").as_uri())
    argv = ["fetch-models", str(tmp_path / "models"), "--from-bucket", "Mine, Minerva"]
    done = CliRunner().invoke(build(), argv)
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1].endswith("models/Minerva/1")
    done = CliRunner().invoke(build(), ["fetch-models", str(tmp_path / "own")])
    assert "NuclearSegmentation/1" in done.output
