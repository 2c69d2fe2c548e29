"""The simulated tissue on which `mesmer` is scored: its truth is what its image shows."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from models.multiplex.dataset import pixel_classes
from models.multiplex.tissue import Tissue, draw_tissue

SEEDS = range(60, 66)


@pytest.fixture(scope="module")
def fields() -> list[Tissue]:
    return [draw_tissue(np.random.default_rng(seed), size=192) for seed in SEEDS]


def test_the_same_seed_draws_the_same_field(fields: list[Tissue]) -> None:
    again = draw_tissue(np.random.default_rng(SEEDS[0]), size=192)
    np.testing.assert_array_equal(again.image, fields[0].image)
    np.testing.assert_array_equal(again.whole_cell, fields[0].whole_cell)


def test_each_object_is_one_piece_and_numbers_have_no_gaps(fields: list[Tissue]) -> None:
    for field in fields:
        for labels in (field.whole_cell, field.nuclear):
            assert labels.dtype == np.int32
            count = labels.max()
            assert count > 5
            for label, window in enumerate(ndimage.find_objects(labels), start=1):
                assert window is not None
                assert ndimage.label(labels[window] == label)[1] == 1


def test_cells_are_of_the_promised_size(fields: list[Tissue]) -> None:
    for field in fields:
        areas = np.bincount(field.whole_cell.ravel())[1:]
        median_um = 0.5 * 2 * np.sqrt(np.median(areas) / np.pi)
        assert 6 <= median_um <= 26


def test_each_channel_shows_what_it_is_named_for(fields: list[Tissue]) -> None:
    nuclei, borders = [], []
    for field in fields:
        nuclear, membrane = (field.image[..., i].astype(float) for i in (0, 1))
        inside = field.nuclear > 0
        nuclei.append(nuclear[inside].mean() / nuclear[~inside].mean())
        classes = pixel_classes(field.whole_cell)
        borders.append(membrane[classes == 2].mean() / membrane[classes == 1].mean())
    assert min(nuclei) > 1.1
    assert np.mean(borders) > 1.1


def test_some_cells_lack_a_nucleus_and_none_shares_one(fields: list[Tissue]) -> None:
    bare = 0
    for field in fields:
        inside = field.nuclear > 0
        pairs = np.unique(np.stack([field.nuclear[inside], field.whole_cell[inside]]), axis=1)
        assert len(pairs[0]) == len(np.unique(pairs[0]))  # each nucleus lies in one cell at most
        bare += len(np.setdiff1d(field.whole_cell, pairs[1]))
    assert bare > 0


def test_classes_by_hand() -> None:
    labels = np.zeros((5, 7), np.int32)
    labels[1:4, 0:4] = 1
    labels[1:4, 4:6] = 2
    expected: NDArray[np.int_] = np.array(
        [
            [0, 0, 0, 0, 0, 0, 0],
            [2, 2, 2, 2, 2, 2, 0],
            [1, 1, 1, 2, 2, 2, 0],
            [2, 2, 2, 2, 2, 2, 0],
            [0, 0, 0, 0, 0, 0, 0],
        ]
    )
    np.testing.assert_array_equal(pixel_classes(labels), expected)
