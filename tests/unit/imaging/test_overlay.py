from __future__ import annotations

import imagecodecs
import numpy as np
import pytest

from kiosk_tasks.errors import InvalidAxes
from kiosk_tasks.imaging.labels import LabelImage
from kiosk_tasks.imaging.overlay import PALETTE, overlay_png
from tests.synthetic import draw_nuclei


def test_outlines_are_coloured_and_the_rest_is_grey() -> None:
    image, truth = draw_nuclei()
    picture = imagecodecs.png_decode(overlay_png(image, LabelImage(truth)))
    assert picture.shape == (128 * 5, 160 * 5, 3)
    coloured = (picture != picture[..., :1]).any(axis=2)
    large = np.kron(truth, np.ones((5, 5), np.int32))
    assert not coloured[large == 0].any()
    for number in range(1, truth.max() + 1):
        seen = np.unique(picture[(large == number) & coloured], axis=0)
        assert len(seen) == 1
        assert (seen[0] == PALETTE).all(axis=1).any()


def test_neighbours_have_different_colours() -> None:
    truth = np.kron(np.arange(1, 37).reshape(6, 6), np.ones((20, 20), np.int32)).astype(np.int32)
    rng = np.random.default_rng(0)
    picture = imagecodecs.png_decode(overlay_png(rng.random((120, 120)), LabelImage(truth)))
    step = picture.shape[0] // 6
    colour = picture[step // 2 :: step, step - 1 :: step]
    assert (colour[:, 1:] != colour[:, :-1]).any(axis=2).all()
    assert (colour[1:] != colour[:-1]).any(axis=2).all()


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((64, 64), (256, 256)),
        ((1, 1), (256, 256)),
        ((2100, 1050), (2048, 1024)),
        ((900, 3), (900, 3)),
    ],
)
def test_size_is_worth_looking_at(shape: tuple[int, int], size: tuple[int, int]) -> None:
    plane = np.random.default_rng(0).integers(0, 99, shape)
    content = overlay_png(plane, LabelImage(np.zeros(shape, np.int32)))
    assert imagecodecs.png_decode(content).shape == (*size, 3)


def test_more_neighbours_than_colours() -> None:
    labels = np.arange(1, 101, dtype=np.int32).reshape(10, 10)
    assert overlay_png(labels, LabelImage(labels))


def test_bytes_are_the_same_every_time() -> None:
    image, truth = draw_nuclei()
    assert overlay_png(image, LabelImage(truth)) == overlay_png(image, LabelImage(truth))


def test_shapes_have_to_fit() -> None:
    with pytest.raises(InvalidAxes, match="do not fit"):
        overlay_png(np.zeros((5, 4)), LabelImage(np.zeros((4, 5), np.int32)))
