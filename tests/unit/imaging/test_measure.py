from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from scipy import ndimage

from kiosk_tasks.errors import InvalidAxes
from kiosk_tasks.imaging.labels import LabelImage
from kiosk_tasks.imaging.measure import COLUMNS, measure_cells, to_csv
from tests.synthetic import draw_discs, draw_nuclei


def test_centroids_are_where_the_discs_were_drawn() -> None:
    discs = draw_discs()
    table = measure_cells(LabelImage(discs.labels, 0.5), np.ones(discs.labels.shape))
    assert len(table) == len(discs.radii)
    np.testing.assert_allclose(np.stack([table.y, table.x], 1), discs.centres, atol=0.25)
    np.testing.assert_allclose(table.area_px, np.pi * discs.radii**2, rtol=0.08)
    assert table.area_um2 is not None
    np.testing.assert_allclose(table.area_um2, table.area_px / 4)
    assert not table.touches_border.any()


def test_equals_scipy() -> None:
    image, truth = draw_nuclei()
    truth = np.where(truth == 3, 0, truth)[4:, 7:]
    image = image[4:, 7:]
    table = measure_cells(LabelImage(truth), image)
    label = table.label
    assert 3 not in label
    np.testing.assert_allclose(table.mean_intensity, ndimage.mean(image, truth, label))
    np.testing.assert_allclose(
        np.stack([table.y, table.x], 1), ndimage.center_of_mass(truth > 0, truth, label)
    )
    edge = {*truth[0], *truth[-1], *truth[:, 0], *truth[:, -1]}
    assert table.touches_border.tolist() == [n in edge for n in label.tolist()]


def test_csv_is_the_same_every_time_and_readable() -> None:
    image, truth = draw_nuclei()
    content = to_csv(measure_cells(LabelImage(truth, 0.65), image))
    assert content == to_csv(measure_cells(LabelImage(truth, 0.65), image))
    assert b"\r" not in content
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    assert tuple(rows[0]) == COLUMNS
    assert [int(row["label"]) for row in rows] == list(range(1, truth.max() + 1))
    area = int(rows[0]["area_px"])
    assert float(rows[0]["area_um2"]) == pytest.approx(area * 0.65**2, rel=1e-5)


def test_unknown_area_is_an_empty_field() -> None:
    labels = np.zeros((4, 5), np.int32)
    labels[0, 1:3] = 7
    content = to_csv(measure_cells(LabelImage(labels), np.full((4, 5), 10, np.uint8)))
    assert content.decode().splitlines()[1] == "7,0.00,1.50,2,,10,1"


def test_no_cells() -> None:
    table = measure_cells(LabelImage(np.zeros((4, 5), np.int32)), np.zeros((4, 5)))
    assert len(table) == 0
    assert to_csv(table).decode() == ",".join(COLUMNS) + "\n"


def test_shapes_have_to_fit() -> None:
    with pytest.raises(InvalidAxes, match="do not fit"):
        measure_cells(LabelImage(np.zeros((4, 5), np.int32)), np.zeros((5, 4)))
