"""`kiosk export-model` and `kiosk models`: from Keras files to answers over gRPC."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kiosk_tasks.errors import ModelServerUnavailable, UnknownModel
from kiosk_tasks.serving.client import TensorFlowServing
from kiosk_tasks.serving.deployed import deployed
from kiosk_tasks.serving.signatures import read_signature
from tests.acceptance.conftest import Shell
from tests.conftest import wait_for
from tests.keras_models import FROM_KERAS, keras_models


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What tests/keras_models.py makes."""
    return keras_models(tmp_path_factory.mktemp("keras"))


@pytest.fixture(scope="module")
def outcomes(made: Path) -> dict[str, Any]:
    """The error of each export, and the notes of those that went well."""
    found: dict[str, Any] = json.loads((made / "outcomes.json").read_text())
    return found


@pytest.fixture
def server(up: Shell) -> Iterator[TensorFlowServing]:
    """A client of the stack's model server."""
    lines = (up.home / "stack.env").read_text().splitlines()
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    client = TensorFlowServing(values["KIOSK_MODEL_SERVER"].strip("'\""), wait_s=10)
    yield client
    client.close()


def test_a_keras_file_is_served_and_answers_as_keras_does(
    up: Shell, made: Path, server: TensorFlowServing
) -> None:
    folder = Path(up.extra["KIOSK_MODELS_DIR"])
    options = ("--version", "1", "--name", "FromTheShell", "--mpp", "0.5")
    done = up.run("export-model", made / "plain.keras", folder, *options, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["mpp"] == 0.5
    assert {t["tensor"]: t["tried"] for t in said["tensors"]} == {
        "image": [2, 256, 256, 1],
        "inner_distance": [2, 256, 256, 3],
        "area": [2, 256, 256, 1],
    }
    for name in FROM_KERAS:
        shutil.copytree(made / "served" / name / "1", folder / name / "1")
    image = np.load(made / "image.npy")
    for name in ("FromTheShell", *FROM_KERAS):
        signature = wait_for(lambda name=name: served(server, name), what=f"{name} is served")
        (given,) = signature.inputs
        (answer,) = server.predict(signature, [{given: image}])
        expected = [np.load(made / f"{head}.npy") for head in ("inner_distance", "area")]
        for plane in expected:
            (got,) = (a for a in answer.values() if a.shape == plane.shape)
            np.testing.assert_allclose(got, plane, atol=1e-5)
        if name != "Folder":  # Keras' own export names things by itself
            assert (given, sorted(answer)) == ("image", ["area", "inner_distance"])
    check_listing(up)


def served(server: TensorFlowServing, name: str) -> Any:
    """Return the signature once the model is served."""
    try:
        return server.signature(name)
    except (UnknownModel, ModelServerUnavailable):
        return None


def check_listing(up: Shell) -> None:
    """`kiosk models` says what the server serves, and what lies beside it."""
    listed = json.loads(up.run("models", "--json").stdout)
    assert listed["asked"].startswith("model server")
    rows = {row["name"]: row for row in listed["models"]}
    assert rows["FromTheShell"]["mpp"] == 0.5
    assert rows["FromTheShell"]["versions"] == [1]
    assert sorted(rows["FromTheShell"]["heads"]) == ["area", "inner_distance"]
    nuclear = rows["NuclearSegmentation"]
    assert nuclear["mpp"] == 0.65
    assert "predict" in nuclear["used_by"]
    assert nuclear["inputs"] == {"image": {"dtype": "float32", "shape": [-1, -1, -1, 1]}}


def test_names_come_from_the_model(made: Path) -> None:
    half = read_signature(made / "served" / "Half" / "1", "Half", 1)
    assert sorted(half.inputs) == ["membrane", "nuclei"]
    assert {name: spec.dtype.name for name, spec in half.outputs.items()} == {
        "a": "float32",  # computed in float16
        "b": "float32",
    }
    sequence = read_signature(made / "served" / "Sequence" / "1", "Sequence", 1)
    assert sequence.inputs["image"].shape == (-1, 32, 32, 2)
    assert sequence.outputs["cells"].shape == (-1, 32, 32, 1)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Custom", "custom.keras uses Mine, which is no part of Keras"),
        ("OldCustom", "custom.h5 uses Mine, which is no part of Keras"),
        ("Code", "has a Lambda layer"),
        ("OldCode", "has a Lambda layer"),
        ("Weights", "holds weights only"),
        ("Unbuilt", "does not say what its inputs are"),
        ("Text", "damaged, or no .keras file"),
        ("OldText", "is no Keras model that can be loaded"),
        ("NotFinite", "NaN or infinity in image"),
        ("NoWeights", "its folder variables/ is damaged, or not all there"),
        ("LostBatch", "answers a batch of 2 with mean of shape (256, 256, 1)"),
    ],
)
def test_what_cannot_be_served_is_refused_with_a_sentence(
    made: Path, outcomes: dict[str, Any], name: str, words: str
) -> None:
    said = outcomes["errors"][name]
    assert words in said
    assert "\n" not in said
    assert name not in deployed([made / "served"])


def test_several_inputs_are_let_pass_with_notes(outcomes: dict[str, Any]) -> None:
    first, second = outcomes["notes"]["TwoInputs"]
    assert "takes 2 inputs (image, size)" in first
    assert "cannot predict noise" in second
    assert "Incompatible shapes" in second


def test_the_shell_says_what_is_wrong_in_one_sentence(shell: Shell, tmp_path: Path) -> None:
    done = shell.run("export-model", tmp_path / "no.keras", tmp_path, "--version", "1")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no.keras does not exist." in done.stderr
