"""Pictures for a browser: contrast, size, the code of labels."""

from __future__ import annotations

from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray

from kiosk_tasks.imaging import preview
from kiosk_tasks.imaging.preview import contrast_of, grey_png, labels_png, preview_scale


def decoded(png: bytes) -> NDArray[np.int64]:
    pixels: NDArray[np.int64] = imagecodecs.png_decode(png).astype(np.int64)
    return pixels


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "f4", "f8", "?"])
def test_every_type_of_pixel_is_stretched_to_black_and_white(dtype: str) -> None:
    plane = np.tile(np.arange(100), (100, 1)).astype(dtype)
    drawn = decoded(grey_png(plane, contrast_of([plane])))
    assert drawn.dtype == np.int64
    assert (drawn.min(), drawn.max()) == (0, 255)
    assert (np.diff(drawn, axis=1) >= 0).all()


def test_bands_make_one_picture(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    plane = rng.integers(0, 5000, (70, 40)).astype(np.uint16)
    whole = grey_png(plane, (100, 4000))
    monkeypatch.setattr(preview, "_BAND_PIXELS", 90)
    assert grey_png(plane, (100, 4000)) == whole


def test_contrast_is_that_of_all_planes_and_their_numbers() -> None:
    dark, bright = np.full((9, 9), 3.0), np.full((9, 9), 7.0)
    dark[0, 0] = np.nan
    bright[0, 0] = np.inf
    assert contrast_of([dark, bright]) == (3.0, 7.0)
    assert contrast_of([np.full((2, 2), np.nan)]) == (0.0, 1.0)
    drawn = decoded(grey_png(bright, (3.0, 7.0)))
    assert set(drawn.ravel().tolist()) == {255}
    assert set(decoded(grey_png(dark, (3.0, 7.0))).ravel().tolist()) == {0}


def test_a_constant_plane_is_black() -> None:
    plane = np.full((4, 5), 9, np.uint16)
    assert decoded(grey_png(plane, contrast_of([plane]))).max() == 0


def test_large_planes_are_averaged_and_labels_are_not() -> None:
    plane = np.zeros((16, 4096), np.uint8)
    plane[:, ::2] = 200
    drawn = decoded(grey_png(plane, (0, 255)))
    assert drawn.shape == (4, 1024)
    assert set(drawn.ravel().tolist()) == {100}
    labels = decoded(labels_png(np.where(plane > 0, 70_000, 5)))
    assert labels.shape == (4, 1024, 3)
    assert set((labels @ np.array((65536, 256, 1))).ravel().tolist()) <= {5, 70_000}
    assert preview_scale(plane.shape) == 0.25


def test_thin_images_keep_a_row() -> None:
    assert decoded(grey_png(np.zeros((1, 5000), np.uint8), (0, 1))).shape == (1, 1024)


@pytest.mark.parametrize("label", [1, 255, 256, 65_536, 2**24 - 1])
def test_labels_are_coded_in_colours(label: int) -> None:
    labels: NDArray[Any] = np.array([[0, label]], np.int32)
    ((nothing, code),) = decoded(labels_png(labels)).tolist()
    assert nothing == [0, 0, 0]
    assert code == [label >> 16, label >> 8 & 255, label & 255]
