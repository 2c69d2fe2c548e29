"""`kiosk run mesmer`: tissue through the bundled model, the queue and the model server."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from kiosk_tasks.imaging import io
from models.multiplex.tissue import draw_tissue
from models.nuclear.scoring import Counts, count_matches
from tests.acceptance.conftest import SAMPLES, Shell
from tests.conftest import wait_for
from tests.tissue_model import tissue_model

SEEDS = (771_000_001, 771_000_002)  # no other part of the project draws them
LEAST_F1 = 0.85


def stored(image: NDArray[np.uint16], path: Path) -> Path:
    """Write (Y, X, nuclear and membrane channel) as OME-TIFF, membranes first."""
    tifffile.imwrite(
        path,
        np.moveaxis(image[..., ::-1], -1, 0),
        metadata={
            "axes": "CYX",
            "PhysicalSizeX": 0.5,
            "PhysicalSizeXUnit": "µm",
            "PhysicalSizeY": 0.5,
            "PhysicalSizeYUnit": "µm",
        },
        photometric="minisblack",
        ome=True,
    )
    return path


def test_whole_cells_and_nuclei_of_simulated_tissue(up: Shell, tmp_path: Path) -> None:
    fields = {f"tissue_{seed}": draw_tissue(np.random.default_rng(seed)) for seed in SEEDS}
    files = [stored(field.image, tmp_path / f"{name}.ome.tif") for name, field in fields.items()]
    out = tmp_path / "out"
    options = ("--channels", "1,0", "--compartment", "both", "-o", out)
    code, images = up.outcomes("mesmer", *files, *options)
    assert code == 0, images

    cells, nuclei = Counts(), Counts()
    for name, field in fields.items():
        found = {
            part: io.read(out / f"{name}_{part}_labels.ome.tif", name=part)
            for part in ("whole-cell", "nuclear")
        }
        cells += count_matches(field.whole_cell, found["whole-cell"].data)
        nuclei += count_matches(field.nuclear, found["nuclear"].data)
        assert found["nuclear"].mpp == pytest.approx(0.5)
        record = json.loads((out / f"{name}_job.json").read_text())
        assert record["model"] == {"name": "MultiplexSegmentation", "version": 1}
        assert record["cells"] == found["whole-cell"].data.max()
        assert record["nuclei"] == found["nuclear"].data.max()
        table = (out / f"{name}_nuclei_in_cells.csv").read_text().splitlines()
        assert len(list(csv.DictReader(table))) == record["nuclei"]
    assert cells.f1[0] >= LEAST_F1
    assert nuclei.f1[0] >= LEAST_F1


def test_an_image_of_one_channel_is_told_which_are_expected(up: Shell, tmp_path: Path) -> None:
    code, (image,) = up.outcomes("mesmer", SAMPLES / "nuclei_512.tif", "-o", tmp_path)
    assert code == 1
    assert "nuclei in channel 0 and the membranes in channel 1" in image["reason"]
    assert "\n" not in image["reason"]


def test_a_model_with_the_published_signature_runs_unchanged(up: Shell, tmp_path: Path) -> None:
    made = tissue_model(tmp_path / "made")
    folder = Path(up.extra["KIOSK_MODELS_DIR"]) / "LabTissue"
    folder.mkdir()
    made.rename(folder / "4")
    wait_for(lambda: "LabTissue" in up.run("models").stdout, limit_s=30, what="it is served")
    rows, columns = np.mgrid[:300, :400]
    away = np.hypot(rows % 50 - 25, columns % 50 - 25)
    channels = np.stack([np.where(away < 7, 3000, 100), np.where(away < 18, 2000, 50)], axis=-1)
    file = stored(channels.astype(np.uint16), tmp_path / "grid.ome.tif")

    options = ("--channels", "1,0", "--compartment", "both", "--model-name", "LabTissue")
    code, images = up.outcomes("mesmer", file, *options, "-o", tmp_path)
    assert code == 0, images
    record = json.loads((tmp_path / "grid_job.json").read_text())
    assert record["model"] == {"name": "LabTissue", "version": 4}
    assert (record["cells"], record["nuclei"]) == (48, 48)
    table = (tmp_path / "grid_nuclei_in_cells.csv").read_text().splitlines()
    assert sorted(int(row["cell"]) for row in csv.DictReader(table)) == list(range(1, 49))
    for part, radius in (("whole-cell", 18), ("nuclear", 7)):
        found = io.read(tmp_path / f"grid_{part}_labels.ome.tif", name=part).data > 0
        truth = away < radius
        assert (found & truth).sum() / (found | truth).sum() > 0.7
