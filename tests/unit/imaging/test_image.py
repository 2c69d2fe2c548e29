from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiosk_tasks.errors import InvalidAxes, MissingChannel
from kiosk_tasks.imaging.image import AXES, Image


@st.composite
def images(draw: st.DrawFn) -> Image:
    axes = "".join(draw(st.permutations(AXES))[: draw(st.integers(0, 5))])
    shape = draw(st.tuples(*[st.integers(1, 4)] * len(axes)))
    return Image(np.arange(np.prod(shape, dtype=int)).reshape(shape), axes)


@given(images(), st.data())
def test_any_permutation_and_back(image: Image, data: st.DataObject) -> None:
    other = "".join(data.draw(st.permutations(image.axes)))
    turned = image.to(other)
    assert turned.size == image.size
    back = turned.to(image.axes)
    np.testing.assert_array_equal(back.data, image.data)


@given(images())
def test_missing_axes_come_with_length_one_and_go_again(image: Image) -> None:
    every = image.to(AXES)
    assert every.data.ndim == len(AXES)
    np.testing.assert_array_equal(every.to(image.axes).data, image.data)


def test_an_axis_longer_than_one_is_not_lost() -> None:
    with pytest.raises(InvalidAxes, match="3 along Z"):
        Image(np.zeros((3, 4, 5)), "ZYX").to("YX")


@pytest.mark.parametrize("axes", ["Y", "YXQ", "YXX", "yxc"])
def test_axes_are_checked_at_the_door(axes: str) -> None:
    with pytest.raises(InvalidAxes):
        Image(np.zeros((3, 4, 5)), axes)


def test_channel() -> None:
    image = Image(np.arange(24).reshape(3, 4, 2), "YXC", 0.5)
    second = image.channel(1)
    assert (second.axes, second.mpp) == ("YX", 0.5)
    np.testing.assert_array_equal(second.data, image.data[..., 1])
    assert second.channel(0) is second
    with pytest.raises(MissingChannel, match="channels 0 to 1"):
        image.channel(2)
    with pytest.raises(MissingChannel, match="one channel"):
        second.channel(1)
