"""`kiosk run spot` and `kiosk run polaris`: through the broker, workers and the model server."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from scipy import ndimage

from kiosk_tasks.imaging import io
from kiosk_tasks.scoring.spots import score_spots
from tests.acceptance.conftest import Shell
from tests.simulated_spots import Culture, Scene, draw_culture, draw_spots

BORDER = 2.0  # px; nearer to a cell's true edge, a spot may be on either side


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def places(rows: list[dict[str, str]]) -> NDArray[np.float64]:
    return np.array([[float(row["y"]), float(row["x"])] for row in rows]).reshape(-1, 2)


def share_of_wrong_cells(
    rows: list[dict[str, str]], labels: NDArray[np.int32], field: Culture
) -> float:
    """Return the share of spots, away from true edges, that are in another cell than in truth."""
    true_at = np.rint(places(rows)).astype(int).clip(0, np.array(field.cells.shape) - 1)
    truth = field.cells[tuple(true_at.T)]
    found = np.array([int(row["cellID0"]) for row in rows])
    partner = np.zeros(int(labels.max()) + 1, np.int64)  # of a found cell: the true one it covers
    for label in range(1, len(partner)):
        partner[label] = np.bincount(field.cells[labels == label], minlength=1).argmax()
    edges = ndimage.distance_transform_edt(field.cells > 0) + ndimage.distance_transform_edt(
        field.cells == 0
    )
    far = edges[tuple(true_at.T)] > BORDER
    assert far.sum() > 100
    return float((partner[found[far]] != truth[far]).mean())


def test_spots_of_two_images(up: Shell, tmp_path: Path) -> None:
    truths = {}
    for seed in (1, 2):
        pixels, truths[f"s{seed}"] = draw_spots(Scene(snr=10), seed=seed, shape=(200, 240))
        tifffile.imwrite(tmp_path / f"s{seed}.tif", pixels)
    images = [tmp_path / f"{name}.tif" for name in truths]
    code, outcomes = up.outcomes("spot", *images, "-o", tmp_path / "out", "--mpp", "0.1")
    assert code == 0, outcomes
    for name, truth in truths.items():
        rows = rows_of(tmp_path / "out" / f"{name}_spots.csv")
        assert score_spots(truth, places(rows)).f1 > 0.95
        assert (tmp_path / "out" / f"{name}_overlay.png").stat().st_size > 10_000


@pytest.mark.parametrize("cells", [True, False])
def test_spots_in_cells(up: Shell, tmp_path: Path, cells: bool) -> None:
    field = draw_culture(seed=31, shape=(256, 256), nuclei=16, spots=900)
    tifffile.imwrite(tmp_path / "field.tif", field.image, photometric="minisblack")
    options = ["--nuclear-channel", "1"] if cells else ["--segmentation-type", "none"]
    out = tmp_path / "out"
    code, outcomes = up.outcomes(
        "polaris", tmp_path / "field.tif", "--axes", "YXC", *options, "-o", out
    )
    assert code == 0, outcomes
    rows = rows_of(out / "field_spots.csv")
    assert score_spots(field.spots, places(rows)).f1 > 0.9
    assert ("cellID0" in rows[0]) == cells
    if cells:
        labels = io.read(out / "field_nuclear_labels.ome.tif", name="labels").data
        assert share_of_wrong_cells(rows, labels, field) <= 0.02
        counts = rows_of(out / "field_nuclear_counts.csv")
        assert sum(int(row["spots"]) for row in counts) == sum(r["cellID0"] != "0" for r in rows)


def test_cells_that_cannot_be_found_fail_the_job_with_the_reason(up: Shell, tmp_path: Path) -> None:
    field = draw_culture(seed=5, shape=(64, 64), nuclei=2)
    tifffile.imwrite(tmp_path / "field.tif", field.image, photometric="minisblack")
    code, outcomes = up.outcomes(
        "polaris", tmp_path / "field.tif", "--axes", "YXC", "--membrane-channel", "2"
    )
    assert code != 0
    assert "the cells could not be found" in json.dumps(outcomes)
