"""The sample images are what their README says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kiosk_tasks.imaging.io import read
from kiosk_tasks.imaging.labels import LabelImage
from kiosk_tasks.imaging.measure import measure_cells
from tests.synthetic import draw_nuclei

SAMPLES = Path(__file__).parents[3] / "samples"


def test_every_image_is_described_and_read() -> None:
    text = (SAMPLES / "README.md").read_text()
    for path in SAMPLES.glob("*.tif"):
        assert f"`{path.name}`" in text
        assert read(path, name=path.name).axes == "YX"


def test_real_nuclei_lie_under_their_labels() -> None:
    image = read(SAMPLES / "nuclei_512.tif", name="nuclei_512.tif")
    truth = read(SAMPLES / "nuclei_512_truth.tif", name="nuclei_512_truth.tif")
    assert image.mpp is None
    table = measure_cells(LabelImage(truth.data), image.data)
    assert len(table) == 125
    background = image.data[truth.data == 0].mean()
    assert np.mean(table.mean_intensity > 1.4 * background) > 0.95


def test_synthetic_nuclei_are_drawn_by_the_script() -> None:
    name = "synthetic_nuclei_0.65um.ome.tif"
    image = read(SAMPLES / name, name=name)
    drawn, truth = draw_nuclei((256, 320), count=40, seed=11)
    assert image.mpp == pytest.approx(0.65)
    np.testing.assert_array_equal(image.data, drawn)
    stored = read(SAMPLES / "synthetic_nuclei_0.65um_truth.ome.tif", name=name)
    np.testing.assert_array_equal(stored.data, truth)
    assert stored.mpp == image.mpp
