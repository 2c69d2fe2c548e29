"""Single planes of files of every shape, and what is refused rather than decoded."""

from __future__ import annotations

import tarfile
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from kiosk_tasks.errors import ImageTooLarge, InvalidAxes, MissingChannel, UnreadableImage
from kiosk_tasks.imaging import io, planes
from kiosk_tasks.imaging.header import Header, read_header
from kiosk_tasks.imaging.image import Image
from kiosk_tasks.imaging.limits import ImageLimits
from kiosk_tasks.imaging.planes import PlaneChoice, open_planes
from kiosk_tasks.imaging.trk import unpack_trk
from tests.fakes import png_bytes
from tests.unit.imaging.zips import tarred, trk_files

LIMITS = ImageLimits()


def written(folder: Path, pixels: NDArray[Any], **how: Any) -> Path:
    path = folder / "a.tif"
    tifffile.imwrite(path, pixels, **{"photometric": "minisblack", "metadata": None, **how})
    return path


def all_planes(path: Path, **choice: Any) -> NDArray[Any]:
    with open_planes(path, name="a", choice=PlaneChoice(**choice), limits=LIMITS) as opened:
        found = np.stack([opened.plane(number) for number in range(opened.count)])
        assert found.shape[1:] == opened.size
        return found


def numbered(*shape: int, dtype: str = "u2") -> NDArray[Any]:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


@pytest.mark.parametrize("how", [{}, {"compression": "zlib"}], ids=["mapped", "packed"])
@pytest.mark.parametrize(
    ("axes", "channel"), [("TZYX", None), ("YXT", None), ("TCYX", 1), ("CYXT", 2), ("XYB", None)]
)
def test_planes_are_those_that_a_job_sees(
    axes: str, channel: int | None, how: dict[str, Any], tmp_path: Path
) -> None:
    lengths = {"T": 4, "Z": 2, "C": 3, "B": 2, "Y": 5, "X": 6}
    path = written(tmp_path, numbered(*(lengths[axis] for axis in axes)), metadata={}, **how)
    image: Image = io.read(path, name="a", axes=axes).channel(channel or 0)
    batch = "".join(axis for axis in image.axes if axis not in "YX")
    expected = image.to(f"{batch}YX").data.reshape(-1, 5, 6)
    np.testing.assert_array_equal(all_planes(path, axes=axes, channel=channel), expected)


def test_a_list_of_pages_is_a_movie_for_a_job_that_takes_movies_only(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        for page in numbered(3, 4, 5):
            writer.write(page, photometric="minisblack", contiguous=False)
    np.testing.assert_array_equal(all_planes(path, movie=True), numbered(3, 4, 5))
    np.testing.assert_array_equal(all_planes(path), numbered(3, 4, 5)[:1])
    np.testing.assert_array_equal(all_planes(path)[0], io.read(path, name="a").data)


def test_a_projection_is_one_plane(tmp_path: Path) -> None:
    path = written(tmp_path, numbered(2, 3, 4, 5), metadata={})
    projected = all_planes(path, axes="TZYX", project=True)
    np.testing.assert_array_equal(projected, numbered(2, 3, 4, 5).max(axis=1))


def test_of_bytes_in_three_colours_the_brightest_is_shown(tmp_path: Path) -> None:
    colours = numbered(4, 5, 3, dtype="u1")
    (tmp_path / "a.png").write_bytes(png_bytes(colours))
    for path in (tmp_path / "a.png", written(tmp_path, colours, photometric="rgb")):
        np.testing.assert_array_equal(all_planes(path)[0], colours.max(axis=2))
        np.testing.assert_array_equal(all_planes(path, channel=1)[0], colours[..., 1])
    with_alpha = written(tmp_path, numbered(4, 5, 4, dtype="u1"), photometric="rgb")
    assert all_planes(with_alpha)[0].max() == 78  # not 79, which is opacity


def test_the_first_movie_of_a_trk_file_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "a.trks"
    path.write_bytes(tarred(trk_files(batch=2)))
    raw = np.arange(3 * 8 * 9).reshape(3, 8, 9)
    np.testing.assert_array_equal(all_planes(path, movie=True), raw)
    assert unpacked_in_place(path, mode="w:gz") == raw.tolist()


def unpacked_in_place(path: Path, *, mode: str) -> Any:
    path.write_bytes(tarred(trk_files(batch=2), mode=mode))
    unpack_trk(path, name="a")
    assert tarfile.is_tarfile(path)
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    return all_planes(path, movie=True).tolist()


def test_what_has_no_plane_of_that_kind_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, numbered(3, 4, 5), metadata={})
    with pytest.raises(MissingChannel, match="there are 3"):
        all_planes(path, axes="CYX", channel=3)
    with pytest.raises(InvalidAxes, match="no plane"):
        all_planes(path, axes="CTX")
    monkeypatch.setattr(planes, "_MOST_BYTES", 39)
    with pytest.raises(ImageTooLarge, match="takes 40 bytes"):
        all_planes(path, axes="TYX")
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(UnreadableImage, match="cut short"):
        all_planes(path, axes="TYX")


def test_a_header_is_read_without_the_pixels(tmp_path: Path) -> None:
    path = written(tmp_path, numbered(2, 3, 4, 5), metadata={"axes": "TCYX"}, imagej=True)
    data = path.read_bytes()
    known = Header("TCYX", (2, 3, 4, 5), "uint16", None)
    assert read_header(path, name="a", limits=LIMITS) == known
    path.write_bytes(data[:-200])
    assert read_header(path, name="a", limits=LIMITS, whole=False).dtype == "uint16"
    path.write_bytes(b"II*\0")
    assert read_header(path, name="a", limits=LIMITS) == Header()


@pytest.mark.parametrize(
    ("pixels", "header"),
    [
        (np.zeros((4, 5), np.uint8), Header("YX", (4, 5), "uint8")),
        (np.zeros((4, 5), np.uint16), Header("YX", (4, 5), "uint16")),
        (np.zeros((4, 5, 3), np.uint8), Header("YXC", (4, 5, 3), "uint8")),
    ],
)
def test_headers_of_png_files(pixels: NDArray[Any], header: Header, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png_bytes(pixels))
    assert read_header(path, name="a", limits=LIMITS) == header


@pytest.mark.parametrize("how", [{}, {"compression": "zlib"}], ids=["mapped", "packed"])
def test_a_plane_of_a_long_movie_costs_the_memory_of_a_plane(
    how: dict[str, Any], tmp_path: Path
) -> None:
    path = written(tmp_path, numbered(60, 256, 256), metadata={"axes": "TYX"}, **how)
    tracemalloc.start()
    try:
        with open_planes(path, name="a", choice=PlaneChoice(axes="TYX"), limits=LIMITS) as opened:
            assert opened.plane(40).size == 256 * 256
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 12 * 256 * 256 * 2
