"""Versions appear whole or not at all, and never change. The part with TensorFlow is stubbed."""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from kiosk_tasks.errors import (
    InternalError,
    InvalidParameter,
    ModelMismatch,
    StorageUnavailable,
    UnusableModel,
)
from kiosk_tasks.serving import deploying
from kiosk_tasks.serving.card import read_card
from kiosk_tasks.serving.deploying import Wish, export_to_bucket, export_to_folder
from kiosk_tasks.serving.export import REFUSED
from kiosk_tasks.storage.memory import MemoryStorage

SAVED = Path(str(files("kiosk_tasks.serving") / "models" / "NuclearSegmentation" / "1"))
Answer = tuple[int, dict[str, Any]]
GOOD: Answer = (0, {"inputs": {"image": [2, 256, 256, 1]}, "outputs": {}, "note": ""})


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> list[Answer]:
    """What the child process answers: the last of the list."""
    answers = [GOOD]

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        status, report = answers[-1]
        Path(command[command.index("--report") + 1]).write_text(json.dumps(report))
        return subprocess.CompletedProcess(command, status, "", "first\nKilled by a cat\n")

    monkeypatch.setattr(deploying.subprocess, "run", run)
    return answers


@pytest.mark.usefixtures("child")
def test_a_saved_model_is_copied_as_it_is(tmp_path: Path) -> None:
    made = export_to_folder(Wish(SAVED, "Mine", 3, mpp=0.5), tmp_path / "a" / "b")
    version = tmp_path / "a" / "b" / "Mine" / "3"
    assert made.place == str(version)
    assert sorted(made.signature.outputs) == ["foreground", "inner_distance", "outer_distance"]
    assert (version / "saved_model.pb").read_bytes() == (SAVED / "saved_model.pb").read_bytes()
    assert read_card(version).mpp == 0.5
    assert [path.name for path in version.parent.iterdir()] == ["3"]
    assert version.stat().st_mode & 0o055 == 0o055  # another user's server may read it
    again = export_to_folder(Wish(version, "Again", 1), tmp_path)
    assert again.card.mpp == 0.5  # the card of the source is kept


@pytest.mark.usefixtures("child")
def test_a_version_is_never_replaced(tmp_path: Path) -> None:
    export_to_folder(Wish(SAVED, "Mine", 1), tmp_path)
    with pytest.raises(InvalidParameter, match=r"is there already: .* take a higher --version"):
        export_to_folder(Wish(SAVED, "Mine", 1), tmp_path)


def test_of_two_at_once_one_is_told_so(
    tmp_path: Path, child: list[Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert child == [GOOD]
    check = deploying.check_fitness

    def meanwhile(signature: Any) -> Any:
        shutil.copytree(SAVED, tmp_path / "Mine" / "1", dirs_exist_ok=True)
        return check(signature)

    monkeypatch.setattr(deploying, "check_fitness", meanwhile)
    with pytest.raises(InvalidParameter, match="is there already"):
        export_to_folder(Wish(SAVED, "Mine", 1), tmp_path)
    assert [path.name for path in (tmp_path / "Mine").iterdir()] == ["1"]


def test_a_failure_leaves_nothing(tmp_path: Path, child: list[Answer]) -> None:
    child.append((REFUSED, {"error": "UnusableModel", "sentence": "it is bad."}))
    with pytest.raises(UnusableModel, match="it is bad"):
        export_to_folder(Wish(SAVED, "Mine", 1), tmp_path / "models")
    child.append((1, {}))
    with pytest.raises(InternalError, match="status 1: Killed by a cat"):
        export_to_folder(Wish(SAVED, "Mine", 1), tmp_path / "models")
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("name", ["", "1x", "a/b", "../a", "a b", "Ä", "x" * 101])
def test_names_that_no_server_would_find_are_refused(name: str) -> None:
    with pytest.raises(InvalidParameter, match="--name"):
        Wish(SAVED, name, 1)


def test_versions_are_whole_numbers_above_0() -> None:
    with pytest.raises(InvalidParameter, match="version 0"):
        Wish(SAVED, "Mine", 0)
    with pytest.raises(InvalidParameter, match=r"give 1 to 9223372036854775807\."):
        Wish(SAVED, "Mine", 2**63)


def test_a_damaged_model_is_named_as_the_person_knows_it(tmp_path: Path) -> None:
    source = tmp_path / "damaged"
    source.mkdir()
    (source / "saved_model.pb").write_bytes(b"junk")
    with pytest.raises(ModelMismatch, match=f"^{source}/saved_model.pb cannot be read"):
        export_to_folder(Wish(source, "Mine", 1), tmp_path / "models")


@pytest.mark.parametrize("mpp", [0, -1, float("inf"), float("nan")])
def test_a_pixel_size_is_a_number_above_0(mpp: float) -> None:
    with pytest.raises(InvalidParameter, match="no pixel size"):
        Wish(SAVED, "Mine", 1, mpp=mpp)


def test_a_model_that_cannot_be_copied(tmp_path: Path) -> None:
    shutil.copytree(SAVED, tmp_path / "source")
    (tmp_path / "source" / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UnusableModel, match=r"source/link cannot be copied: .*No such file"):
        export_to_folder(Wish(tmp_path / "source", "Mine", 1), tmp_path / "models")
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (SAVED.parent, "no saved_model.pb.* Did you mean .*NuclearSegmentation/1?"),
        (SAVED / "variables", "it is no SavedModel"),
        (SAVED / "saved_model.pb", "give a .keras or .h5 file"),
        (SAVED / "none.keras", "does not exist"),
    ],
)
def test_what_is_no_model_is_refused_at_once(tmp_path: Path, source: Path, words: str) -> None:
    with pytest.raises(UnusableModel, match=words):
        export_to_folder(Wish(source, "Mine", 1), tmp_path)


class Recording(MemoryStorage):
    """Remembers the order of its objects, and may fail at one."""

    def __init__(self, fails_at: str = "") -> None:
        super().__init__()
        self.order: list[str] = []
        self.fails_at = fails_at

    def upload_new(self, key: str, source: Path) -> bool:
        if self.fails_at and key.endswith(self.fails_at):
            raise StorageUnavailable("the line is cut.")
        self.order.append(key)
        return super().upload_new(key, source)


@pytest.mark.usefixtures("child")
def test_in_a_bucket_what_servers_look_for_comes_last(tmp_path: Path) -> None:
    bucket = Recording()
    made = export_to_bucket(Wish(SAVED, "Mine", 2), bucket, shown="s3://b/x", scratch_in=tmp_path)
    assert made.place == "s3://b/x/models/Mine/2/"
    assert bucket.order[-1] == "models/Mine/2/saved_model.pb"
    assert "models/Mine/2/variables/variables.index" in bucket.order
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InvalidParameter, match="is there already"):
        export_to_bucket(Wish(SAVED, "Mine", 2), bucket, shown="s3://b")


@pytest.mark.usefixtures("child")
def test_a_bucket_that_fails_is_left_as_it_was() -> None:
    bucket = Recording("saved_model.pb")
    with pytest.raises(StorageUnavailable):
        export_to_bucket(Wish(SAVED, "Mine", 2), bucket, shown="s3://b")
    assert list(bucket.list()) == []


def test_half_a_model_in_the_bucket_is_not_mixed_with_another() -> None:
    bucket = MemoryStorage()
    bucket.put("models/Mine/2/variables/variables.index", b"")
    with pytest.raises(InvalidParameter, match="another export is at work, or was cut short"):
        export_to_bucket(Wish(SAVED, "Mine", 2), bucket, shown="s3://b")
