"""`kiosk evaluate`: from images and truths to a table, files and a picture."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from PIL import Image as Pillow

from tests.acceptance.conftest import SAMPLES, Shell


def test_images_with_truths_beside_them_are_run_and_scored(up: Shell, tmp_path: Path) -> None:
    out = tmp_path / "scores"
    done = up.run("evaluate", "predict", SAMPLES, SAMPLES, "-o", out)
    assert done.returncode == 0, done.stderr
    scores = json.loads((out / "scores.json").read_text())
    assert set(scores["images"]) == {"nuclei_512", "synthetic_nuclei_0.65um"}
    assert scores["images"]["nuclei_512"]["truth"] == 125
    assert scores["images"]["nuclei_512"]["f1_50"] > 0.85
    assert scores["images"]["synthetic_nuclei_0.65um"]["panoptic_quality"] > 0.9
    assert "all" in done.stdout
    assert f"{scores['pooled']['all']['mean_f1']:.3f}" in done.stdout
    with Pillow.open(out / "scores.png") as picture:
        assert picture.size == (960, 720)

    again = up.run(
        *("evaluate", "predict", SAMPLES, SAMPLES, "--results", out / "results"),
        *("-o", tmp_path / "again", "--json"),
    )
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout) == scores


def test_an_image_that_fails_is_named_and_the_rest_is_scored(up: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("nuclei_512.tif", "nuclei_512_truth.tif"):
        shutil.copy(SAMPLES / name, folder)
    (folder / "broken.tif").write_bytes((SAMPLES / "nuclei_512.tif").read_bytes()[:5000])
    shutil.copy(SAMPLES / "nuclei_512_truth.tif", folder / "broken_truth.tif")
    results = tmp_path / "scores" / "results"
    results.mkdir(parents=True)
    shutil.copy(SAMPLES / "nuclei_512_truth.tif", results / "broken_labels.ome.tif")  # of yore
    done = up.run("evaluate", "predict", folder, folder, "-o", tmp_path / "scores")
    assert done.returncode == 1
    assert "broken: its job was not done" in done.stderr
    scores = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert list(scores["images"]) == ["nuclei_512"]
    assert "Traceback" not in done.stderr


def test_a_truth_that_is_not_there_is_said_before_anything_runs(
    shell: Shell, tmp_path: Path
) -> None:
    done = shell.run("evaluate", "predict", SAMPLES / "nuclei_512.tif", tmp_path / "nowhere")
    assert done.returncode == 2
    (sentence,) = done.stderr.strip().splitlines()
    assert sentence.startswith("kiosk: ")
    assert not (shell.home / "runs").exists()
