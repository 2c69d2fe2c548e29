"""Pictures against plain ways of drawing the same."""

from __future__ import annotations

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from PIL import Image as Pillow
from scipy import ndimage

from kiosk_tasks.imaging import enlarge, intensity, picture
from kiosk_tasks.imaging.borders import borders_of, neighbours
from kiosk_tasks.imaging.labels import Labels, resize_labels
from tests.synthetic import draw_nuclei

PLANES = array_shapes(min_dims=2, max_dims=2, max_side=12)
LABELS = arrays(np.int32, PLANES, elements=st.integers(0, 5))
PIXELS = arrays(np.uint8, PLANES, elements=st.integers(0, 255))


@settings(max_examples=100, deadline=None)
@given(plane=PIXELS, times=st.integers(1, 20), at_once=st.sampled_from([1, 50, 2**15]))
def test_pillow_enlarges_to_the_same_pixels(
    plane: NDArray[np.uint8], times: int, at_once: int
) -> None:
    height, width = plane.shape
    size = (width * times, height * times)
    expected = np.asarray(Pillow.fromarray(plane).resize(size, Pillow.Resampling.BILINEAR))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(enlarge, "_AT_ONCE", at_once)
        np.testing.assert_array_equal(enlarge.enlarged(plane, times), expected)


@settings(max_examples=200, deadline=None)
@given(labels=LABELS, within=st.integers(1, 4))
def test_neighbours_are_those_found_pixel_by_pixel(labels: Labels, within: int) -> None:
    expected = set()
    for (y, x), one in np.ndenumerate(labels):
        for down, across in ((0, 1), (1, 0), (1, 1), (1, -1)):
            for step in range(1, within + 1):
                row, column = y + step * down, x + step * across
                if row < labels.shape[0] and 0 <= column < labels.shape[1]:
                    pair = sorted((int(one), int(labels[row, column])))
                    if 0 < pair[0] < pair[1]:
                        expected.add(tuple(pair))
    found = neighbours(labels, borders_of(labels), within=within)
    assert [tuple(pair) for pair in found.tolist()] == sorted(expected, key=lambda p: p[::-1])


@settings(max_examples=100, deadline=None)
@given(labels=LABELS, times=st.integers(1, 5))
def test_outlines_are_the_pixels_near_something_else(labels: Labels, times: int) -> None:
    size = (labels.shape[0] * times, labels.shape[1] * times)
    cells = resize_labels(labels, size)
    thickness = 2 if times >= 2 else 1
    padded = np.pad(cells, thickness, constant_values=-1)
    expected = np.zeros(size, np.bool_)
    for down, across in np.ndindex(2 * thickness + 1, 2 * thickness + 1):
        if abs(down - thickness) + abs(across - thickness) <= thickness:
            other = padded[down : down + size[0], across : across + size[1]]
            expected |= (other != cells) & (other >= 0) & (cells > 0)
    drawn = np.zeros(size, np.uint8)
    picture.draw_outlines(drawn, labels, np.arange(10, 16, dtype=np.uint8))
    np.testing.assert_array_equal(drawn, np.where(expected, cells + 10, 0))


def test_large_images_are_outlined_at_the_size_of_the_picture() -> None:
    labels = np.kron(np.arange(12).reshape(3, 4), np.ones((30, 40))).astype(np.int32)
    drawn = np.zeros((45, 80), np.uint8)
    picture.draw_outlines(drawn, labels, np.arange(12, dtype=np.uint8))
    cells = resize_labels(labels, (45, 80))
    np.testing.assert_array_equal(drawn, np.where(picture.outlines(cells), cells, 0))


@settings(max_examples=100, deadline=None)
@given(labels=LABELS)
def test_colours_are_given_in_the_order_of_the_labels(labels: Labels) -> None:
    colours = picture.colours_of(labels)
    used = [0] * len(picture.PALETTE)
    near = neighbours(labels, borders_of(labels), within=4).tolist()
    for label in np.unique(labels[labels > 0]).tolist():
        taken = {int(colours[one]) for one, other in near if other == label}
        free = [c for c in range(len(used)) if c not in taken] or range(len(used))
        assert colours[label] == min(free, key=lambda c: (used[c], c))
        used[colours[label]] += 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
def test_few_whole_numbers_are_stretched_as_all_pixels_are(dtype: type[np.generic]) -> None:
    plane = (draw_nuclei()[0] / 20).astype(dtype)
    size = picture.picture_size((128, 160))
    scaled = intensity.normalise_percentiles(plane, low=1, high=99.8, clip=(0, 1))
    grey = (scaled**0.7 * (picture.GREYS - 1) + 0.5).astype(np.uint8)
    expected = Pillow.fromarray(grey).resize(size[::-1], Pillow.Resampling.BILINEAR)
    np.testing.assert_array_equal(picture.grey_picture(plane, size), np.asarray(expected))


@pytest.mark.parametrize("shape", [(1, 2100), (500, 2049), (2049, 3), (7, 2048), (2100, 2100)])
def test_pictures_have_the_size_that_is_said(shape: tuple[int, int]) -> None:
    plane = np.arange(shape[0] * shape[1], dtype=np.uint16).reshape(shape)
    size = picture.picture_size(shape)
    assert max(size) == 2048
    assert picture.grey_picture(plane, size).shape == size


@pytest.mark.parametrize("enlarged", [0, 1, 2, 8])
@pytest.mark.parametrize("shape", [(1, 1), (40, 7)])
def test_pictures_come_back_whichever_way_they_are_packed(
    enlarged: int, shape: tuple[int, int]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    pixels = ndimage.uniform_filter(pixels, 2)
    content = picture.encode_png(pixels, enlarged=enlarged)
    greys = np.linspace(0, 255, picture.GREYS).round()[:, np.newaxis].repeat(3, axis=1)
    colours = np.concatenate([greys, picture.PALETTE]).astype(np.uint8)
    np.testing.assert_array_equal(imagecodecs.png_decode(content), colours[pixels])
