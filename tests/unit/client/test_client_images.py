"""What is sent: the server reads arrays as they were meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kiosk_tasks.client.errors import CannotSend
from kiosk_tasks.client.images import as_upload, each, guess_axes, many, tiff_of
from kiosk_tasks.imaging import io
from kiosk_tasks.imaging.image import Image


def as_read(content: bytes, folder: Path, **more: Any) -> Image:
    path = folder / "sent.tif"
    path.write_bytes(content)
    return io.read(path, name="sent.tif", **more)


@pytest.mark.parametrize(
    ("axes", "shape", "read"),
    [
        ("YX", (24, 30), "YX"),
        ("XY", (24, 30), "YX"),
        ("CYX", (2, 24, 30), "CYX"),
        ("CYX", (3, 24, 30), "CYX"),
        ("YXC", (24, 30, 2), "CYX"),
        ("TYX", (5, 24, 30), "TYX"),
        ("ZYX", (5, 24, 30), "ZYX"),
        ("TCYX", (3, 2, 24, 30), "TCYX"),
        ("TYXC", (3, 24, 30, 2), "TCYX"),
        ("TZCYX", (3, 4, 2, 24, 30), "TZCYX"),
        ("CYX", (1, 24, 30), "YX"),
    ],
)
def test_arrays_arrive_with_their_axes(
    axes: str, shape: tuple[int, ...], read: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    array = rng.integers(0, 60000, shape).astype(np.uint16)
    content, written = tiff_of(array, axes, mpp=0.325)
    image = as_read(content, tmp_path)
    assert (image.axes, written) == (read, read)
    assert image.mpp == pytest.approx(0.325)
    moved = array.transpose([axes.index(a) for a in read if a in axes] + [
        n for n, a in enumerate(axes) if a not in read
    ])  # fmt: skip
    np.testing.assert_array_equal(image.data, moved.reshape(image.data.shape))


def test_a_photograph_keeps_its_colours(tmp_path: Path, rng: np.random.Generator) -> None:
    for samples in (3, 4):
        array = rng.integers(0, 255, (20, 30, samples)).astype(np.uint8)
        upload, params = as_upload(array, {})
        assert isinstance(upload.content, bytes)
        image = as_read(upload.content, tmp_path)
        assert image.axes == "YXC"
        np.testing.assert_array_equal(image.data, array[..., :3])
        assert params == {}


def test_a_batch_is_told_by_a_parameter(tmp_path: Path, rng: np.random.Generator) -> None:
    array = rng.integers(0, 255, (4, 20, 30)).astype(np.uint8)
    upload, params = as_upload(array, {"axes": "BYX", "mpp": 0.5})
    assert params == {"axes": "BYX", "mpp": 0.5}
    assert isinstance(upload.content, bytes)
    image = as_read(upload.content, tmp_path, axes=params["axes"])
    assert image.axes == "BYX"
    np.testing.assert_array_equal(image.data, array)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (np.bool_, np.uint8),
        (np.float64, np.float32),
        (np.float16, np.float32),
        (np.int64, np.uint16),
        (np.uint64, np.uint16),
        (">u2", np.uint16),
        (np.int16, np.int16),
    ],
)
def test_pixels_get_a_type_that_every_program_reads(given: Any, sent: Any, tmp_path: Path) -> None:
    array = (np.arange(400).reshape(20, 20) % 7).astype(given)
    image = as_read(tiff_of(array, "YX")[0], tmp_path)
    assert image.data.dtype == sent
    np.testing.assert_array_equal(image.data, array.astype(sent))


def test_large_numbers_are_kept() -> None:
    assert tiff_of(np.full((8, 8), 2**40), "YX")[0]
    with pytest.raises(CannotSend, match="complex64 cannot be sent"):
        tiff_of(np.zeros((8, 8), np.complex64), "YX")


def test_axes_that_leave_no_doubt_are_guessed() -> None:
    assert guess_axes(np.zeros((9, 9))) == "YX"
    assert guess_axes(np.zeros((99, 99, 3), np.uint8)) == "YXC"
    assert guess_axes(np.zeros((5, 99, 99)), "track") == "TYX"
    assert guess_axes(np.zeros((5, 2, 99, 99)), "tracking") == "TCYX"


@pytest.mark.parametrize(
    ("shape", "axes", "sentence"),
    [
        (
            (5, 90, 90),
            None,
            r'5 × 90 × 90 may be channels, planes or frames; say which: axes="CYX"',
        ),
        ((2, 5, 90, 90), None, 'has 4 axes; name them, for example axes="TCYX"'),
        ((90,), None, "has 1 axes"),
        ((90, 90), "TYX", r'axes "TYX" do not fit an array of 90 × 90'),
        ((5, 90), "TY", "have no Y or no X"),
        ((5, 90, 90), "QYX", "do not fit"),
        ((0, 90), "YX", "empty"),
    ],
)
def test_doubt_is_a_question(shape: tuple[int, ...], axes: str | None, sentence: str) -> None:
    with pytest.raises(CannotSend, match=sentence):
        as_upload(np.zeros(shape), {"axes": axes} if axes else {})


def test_files_are_sent_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(b"II*")
    upload, params = as_upload(str(path), {"axes": "CYX"}, name="mine.tif")
    assert (upload.name, upload.content, params) == ("mine.tif", path, {"axes": "CYX"})
    for wrong, sentence in {
        tmp_path / "none.tif": "does not exist",
        tmp_path: "is a folder",
        17: "a int is no image",
    }.items():
        with pytest.raises(CannotSend, match=sentence):
            as_upload(wrong, {})


def test_folders_and_lists_are_several_images(tmp_path: Path) -> None:
    for name in ("b.TIF", "a.png", "notes.txt", "c.ome.tif"):
        (tmp_path / name).write_bytes(b"x")
    assert many(tmp_path)
    assert many([1])
    assert not many(tmp_path / "a.png")
    assert not many(np.zeros((2, 2)))
    assert [path.name for path in each(tmp_path)] == ["a.png", "b.TIF", "c.ome.tif"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(CannotSend, match="has no images"):
        each(tmp_path / "empty")
