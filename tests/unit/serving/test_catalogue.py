"""What lies in folders is told without TensorFlow, and what is damaged does not hide the rest."""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path

from kiosk_tasks.serving.card import ModelCard, write_card
from kiosk_tasks.serving.catalogue import from_folders, pixel_size

BUNDLED = Path(str(files("kiosk_tasks.serving") / "models"))


def test_folders_tell_versions_and_the_newest_signature(tmp_path: Path) -> None:
    for version in ("2", "10"):
        shutil.copytree(BUNDLED / "NuclearSegmentation" / "1", tmp_path / "Mine" / version)
    write_card(tmp_path / "Mine" / "10", ModelCard(mpp=0.3))
    (tmp_path / "Broken" / "1").mkdir(parents=True)
    (tmp_path / "Broken" / "1" / "saved_model.pb").write_bytes(b"\xff not a SavedModel")
    folders = [tmp_path, BUNDLED]
    found = {model.name: model for model in from_folders(folders)}

    assert found["Mine"].versions == (2, 10)
    signature = found["Mine"].signature
    assert signature is not None
    assert signature.version == 10
    assert signature.inputs["image"].shape == (-1, -1, -1, 1)
    assert found["Broken"].signature is None
    assert "cannot be read" in found["Broken"].problems[0]
    assert found["NuclearSegmentation"].versions == (1,)
    assert pixel_size("Mine", 10, folders) == 0.3
    assert pixel_size("Mine", 2, folders) is None
    assert pixel_size("None", 1, folders) is None
