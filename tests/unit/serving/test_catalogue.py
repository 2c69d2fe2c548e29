"""What lies in folders is told without TensorFlow, and what is damaged does not hide the rest."""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path

from kiosk_tasks.serving.card import CARD, ModelCard, write_card
from kiosk_tasks.serving.catalogue import from_bucket, from_folders, in_bucket, pixel_size
from kiosk_tasks.storage.memory import MemoryStorage

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


def test_a_bucket_tells_the_same(tmp_path: Path) -> None:
    bucket = MemoryStorage()
    saved = BUNDLED / "NuclearSegmentation" / "1" / "saved_model.pb"
    for version in (9, 10):
        bucket.upload(f"models/Mine/{version}/saved_model.pb", saved)
    bucket.put("models/Mine/11/variables/variables.index", b"")  # an export is at work
    bucket.put("models/README/saved_model.pb", b"")
    bucket.put(f"models/Mine/10/{CARD}", b'{"mpp": 0.25}')
    assert in_bucket(bucket) == {"Mine": (9, 10)}
    (mine,) = from_bucket(bucket, tmp_path)
    assert mine.signature is not None
    assert (mine.versions, mine.signature.version) == ((9, 10), 10)
    assert pixel_size("Mine", 10, [BUNDLED], bucket) == 0.25
    assert pixel_size("Mine", 9, [BUNDLED], bucket) is None
