from __future__ import annotations

import numpy as np
import pytest

from kiosk_tasks.errors import InvalidParameter, MissingChannel
from kiosk_tasks.imaging.image import Image
from kiosk_tasks.segmenting.views import View, Wanted, sampled, views_of, wanted_channels


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0,,", [(0, 0)]),
        ("0", [(0, 0)]),
        (",0", [(0, 1)]),
        (",0,", [(0, 1)]),
        (",,2", [(2, 2)]),
        ("1, 0", [(1, 0), (0, 1)]),
        ("0,0,", [(0, 0), (0, 1)]),
        (",,", []),
    ],
)
def test_old_forms_of_channels(text: str, expected: list[tuple[int, int]]) -> None:
    assert [(one.channel, one.label) for one in wanted_channels(text)] == expected


@pytest.mark.parametrize("text", ["x", "0,1,2,3", "-1", "0;1", "٣", "0.5"])
def test_other_channels_are_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(InvalidParameter, match=r"nuclei, cytoplasm and phase contrast") as caught:
        wanted_channels(text)
    assert "\n" not in str(caught.value)


LENGTHS = {"T": 2, "Z": 3, "B": 4, "Y": 5, "X": 6, "C": 2}


@pytest.mark.parametrize(
    "axes",
    ["YX", "BYX", "YXB", "CYX", "YXC", "CYXB", "BYXC", "TZYX", "TCYX", "TZYXC", "ZBYXC", "CTYX"],
)
def test_every_order_of_axes(axes: str) -> None:
    """Planes come in the file's order of T, Z and B; each pixel is where it was."""
    shape = tuple(LENGTHS[letter] for letter in axes)
    image = Image(np.arange(np.prod(shape)).reshape(shape), axes, 0.5)
    channel = 1 if "C" in axes else 0
    views = views_of(image, [Wanted(channel, 0)])
    batch = [letter for letter in axes if letter in "TZB"]
    assert len(views) == np.prod([LENGTHS[letter] for letter in batch], dtype=int)
    for number, view in enumerate(views):
        place = dict(zip(batch, np.unravel_index(number, [LENGTHS[b] for b in batch]), strict=True))
        at = tuple(channel if letter == "C" else place.get(letter, slice(None)) for letter in axes)
        np.testing.assert_array_equal(view.image.data, image.data[at])
        assert (view.image.axes, view.image.mpp) == ("YX", 0.5)
        assert view.part == (f"batch_{number}" if len(views) > 1 else "")


def test_rows_and_columns_may_be_swapped() -> None:
    image = Image(np.arange(6).reshape(2, 3), "XY")
    (view,) = views_of(image, [Wanted(0)])
    assert view.image.data.tolist() == [[0, 3], [1, 4], [2, 5]]


def test_parts_are_named_as_far_as_needed() -> None:
    image = Image(np.zeros((2, 3, 4, 5)), "BCYX")
    two = views_of(image, [Wanted(0, 0), Wanted(2, 1)])
    assert [view.part for view in two] == [
        *("batch_0_channel_0", "batch_1_channel_0", "batch_0_channel_2", "batch_1_channel_2")
    ]
    assert [view.label for view in two] == [0, 0, 1, 1]
    plane = Image(np.zeros((3, 4, 5)), "CYX")
    assert [v.part for v in views_of(plane, [Wanted(2, 0)])] == [""]
    twice = views_of(plane, [Wanted(1, 0), Wanted(1, 1)])
    assert [v.part for v in twice] == ["channel_1_nuclear", "channel_1_cytoplasm"]
    with pytest.raises(MissingChannel, match="channels 0 to 2"):
        views_of(plane, [Wanted(3)])


def test_samples_are_spread_over_planes_that_show_something() -> None:
    planes = [np.full((2, 2), number) for number in range(11)]
    for number in range(1, 11):
        planes[number][0, 0] += 100
    views = [View(Image(plane, "YX"), 0, str(number)) for number, plane in enumerate(planes)]
    assert [view.part for view in sampled(views, 3)] == ["1", "5", "10"]
    assert [view.part for view in sampled(views[:3], 10)] == ["1", "2"]
    assert sampled(views[:1], 5) == []
