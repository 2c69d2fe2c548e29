"""Movies read frame by frame: the same pixels as the whole file, whatever kind of file it is."""

from __future__ import annotations

import gzip
import io
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from kiosk_tasks.errors import (
    ImageTooLarge,
    InvalidAxes,
    KioskError,
    MissingChannel,
    UnreadableArchive,
    UnreadableImage,
    UnusableImage,
)
from kiosk_tasks.imaging.limits import ImageLimits
from kiosk_tasks.imaging.movie import Choice, Movie, is_movie_file, open_movies
from tests.unit.imaging.files import png, tiff
from tests.unit.imaging.zips import npy, tarred, trk_files

RNG = np.random.default_rng(3)
GREY = RNG.integers(0, 4000, (5, 16, 19)).astype(np.uint16)
TWO = RNG.integers(0, 4000, (5, 2, 16, 19)).astype(np.uint16)
COLOUR = RNG.integers(0, 255, (5, 16, 19, 3)).astype(np.uint8)


def movies(folder: Path, content: bytes, **options: Any) -> list[tuple[Movie, NDArray[Any]]]:
    """Open a file; return its movies, and all frames of each."""
    path = folder / "upload"
    path.write_bytes(content)
    choice = Choice(**{k: options.pop(k) for k in ("axes", "channel", "mpp") if k in options})
    with open_movies(path, folder, name="cells.tif", choice=choice, **options) as found:
        return [
            (movie, np.stack([movie.frame(i) for i in range(movie.size[0])])) for movie in found
        ]


def one(folder: Path, content: bytes, **options: Any) -> tuple[Movie, NDArray[Any]]:
    ((movie, frames),) = movies(folder, content, **options)
    assert movie.size == frames.shape
    assert movie.dtype == frames.dtype
    assert frames.dtype.isnative
    return movie, frames


def one_by_one(pages: list[NDArray[Any]], **options: Any) -> bytes:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for page in pages:
            writer.write(page, **options)
    return buffer.getvalue()


GREY_FILES = {
    "shaped": tiff(GREY),
    "packed": tiff(GREY, compression="zlib"),
    "pages": tiff(GREY, metadata=None),
    "packed pages": tiff(GREY, metadata=None, compression="lzw"),
    "ImageJ": tiff(GREY, imagej=True, metadata={"axes": "TYX"}),
    "OME": tiff(GREY, ome=True, metadata={"axes": "TYX"}, compression="zlib"),
    "depths": tiff(GREY, imagej=True, metadata={"axes": "ZYX"}),
    "big-endian": tiff(GREY, byteorder=">"),
    "tiled": tiff(GREY, tile=(16, 16), compression="zlib"),
    "BigTIFF": tiff(GREY, bigtiff=True),
    "written one by one": one_by_one(list(GREY)),
    "one by one, packed": one_by_one(list(GREY), compression="zlib", metadata=None),
    "grey as colour": tiff(np.repeat((GREY >> 4).astype(np.uint8)[..., None], 3, -1)),
}


@pytest.mark.parametrize("kind", GREY_FILES)
def test_files_of_one_channel(tmp_path: Path, kind: str) -> None:
    _movie, frames = one(tmp_path, GREY_FILES[kind])
    np.testing.assert_array_equal(frames, GREY >> 4 if "colour" in kind else GREY)


@pytest.mark.parametrize("channel", [0, 1])
@pytest.mark.parametrize(
    "content",
    [
        tiff(TWO, imagej=True, metadata={"axes": "TCYX"}),
        tiff(TWO, ome=True, metadata={"axes": "TCYX"}, compression="zlib"),
        tiff(TWO.swapaxes(0, 1), ome=True, metadata={"axes": "CTYX"}),
    ],
    ids=["ImageJ", "OME", "CTYX"],
)
def test_a_channel_is_chosen(tmp_path: Path, content: bytes, channel: int) -> None:
    _movie, frames = one(tmp_path, content, channel=channel)
    np.testing.assert_array_equal(frames, TWO[:, channel])
    with pytest.raises(MissingChannel, match="channels 0 to 1"):
        one(tmp_path, content, channel=2)


@pytest.mark.parametrize("axes", ["TYXC", "TYX", None])
def test_colours(tmp_path: Path, axes: str | None) -> None:
    content = tiff(COLOUR, photometric="rgb", compression="zlib")
    _movie, frames = one(tmp_path, content, axes=axes)
    np.testing.assert_array_equal(frames, COLOUR.max(axis=-1))
    _movie, frames = one(tmp_path, content, axes=axes, channel=1)
    np.testing.assert_array_equal(frames, COLOUR[..., 1])


def test_planes_of_colour_and_of_transparency(tmp_path: Path) -> None:
    planes = tiff(np.moveaxis(COLOUR, -1, 1).copy(), photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(one(tmp_path, planes)[1], COLOUR.max(axis=-1))
    alpha = np.concatenate([COLOUR, np.full((*COLOUR.shape[:3], 1), 255, np.uint8)], axis=-1)
    content = tiff(alpha, photometric="rgb", extrasamples=["unassalpha"])
    np.testing.assert_array_equal(one(tmp_path, content)[1], COLOUR.max(axis=-1))
    with pytest.raises(MissingChannel, match="0 to 2"):
        one(tmp_path, content, channel=3)


def test_the_person_names_the_axes(tmp_path: Path) -> None:
    content = tiff(np.ascontiguousarray(np.moveaxis(GREY, 0, -1)))
    np.testing.assert_array_equal(one(tmp_path, content, axes="YXT")[1], GREY)
    np.testing.assert_array_equal(one(tmp_path, tiff(GREY), axes="TXY")[1], GREY.swapaxes(1, 2))


def test_pixel_sizes_and_types(tmp_path: Path) -> None:
    content = tiff(GREY, ome=True, metadata={"axes": "TYX", "PhysicalSizeX": 0.5})
    assert one(tmp_path, content)[0].mpp == 0.5
    assert one(tmp_path, content, mpp=0.65)[0].mpp == 0.65
    movie, frames = one(tmp_path, tiff(GREY > 2000, photometric="minisblack"))
    assert movie.dtype == np.uint8
    np.testing.assert_array_equal(frames > 0, GREY > 2000)
    inverted = tiff(GREY, photometric="miniswhite")
    np.testing.assert_array_equal(one(tmp_path, inverted)[1], 65535 - GREY)


BAD: dict[str, tuple[bytes, dict[str, Any], type[KioskError], str]] = {
    "one frame": (tiff(GREY[0]), {}, UnusableImage, "1 frame; a movie needs 2"),
    "channels": (tiff(GREY, imagej=True), {}, UnusableImage, 'give axes="TYX"'),
    "sizes": (
        one_by_one([GREY[0], GREY[1], GREY[2, :, 2:]], metadata=None),
        {},
        UnreadableImage,
        r"different size or type \(16 × 19 uint16 and 16 × 17 uint16\)",
    ),
    "types": (
        one_by_one([GREY[0], GREY[1].astype(np.uint8)]),
        {},
        UnreadableImage,
        "different size or type",
    ),
    "depths": (
        tiff(TWO, imagej=True, metadata={"axes": "TZYX"}),
        {},
        InvalidAxes,
        r'axes "TZYX" of 5 × 2 × 16 × 19',
    ),
    "unknown axes": (tiff(TWO), {}, InvalidAxes, r"\?\?YX"),
    "wrong axes": (tiff(GREY), {"axes": "TYXC"}, InvalidAxes, "4 letters, but the movie has 3"),
    "no rows": (tiff(GREY), {"axes": "TCX"}, InvalidAxes, "no Y"),
    "odd axes": (tiff(GREY), {"axes": "TYW"}, InvalidAxes, "unknown letter 'W'"),
    "twice": (tiff(GREY), {"axes": "YYX"}, InvalidAxes, "a letter twice"),
    "cut": (GREY_FILES["packed pages"][:-3000], {}, UnreadableImage, "cut short"),
    "cut, one by one": (one_by_one(list(GREY))[:-900], {}, UnreadableImage, "cut short|damaged"),
    "complex": (tiff(GREY.astype(np.complex64)), {}, UnusableImage, "complex"),
    "no movie": (png(GREY[0]), {}, UnreadableArchive, "no movie with tracks"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_movies_are_refused_in_one_sentence(tmp_path: Path, case: str) -> None:
    content, options, error, message = BAD[case]
    with pytest.raises(error, match=message) as caught:
        one(tmp_path, content, **options)
    assert "\n" not in str(caught.value)


def test_limits_are_checked_before_anything_is_decoded(tmp_path: Path) -> None:
    with pytest.raises(ImageTooLarge, match="planes"):
        one(tmp_path, tiff(GREY), limits=ImageLimits(max_frames=4))
    with pytest.raises(ImageTooLarge, match="px"):
        one(tmp_path, one_by_one(list(GREY)), limits=ImageLimits(max_pixels=100))


@pytest.mark.parametrize("fortran", [False, True])
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_movies_with_tracks(tmp_path: Path, mode: str, *, fortran: bool) -> None:
    raw = np.stack([GREY, GREY + 1], -1).astype(">f4")
    masks = (GREY % 3).astype(np.int64)[..., None]
    arrays = {"raw.npy": raw, "tracked.npy": masks}
    order = "F" if fortran else "C"
    files = {name: npy(np.array(array, order=order)) for name, array in arrays.items()}
    content = tarred({**trk_files(), **files}, mode=mode)
    movie, frames = one(tmp_path, content, channel=1, mpp=0.65)
    np.testing.assert_array_equal(frames, GREY + 1)
    assert movie.labels is not None
    np.testing.assert_array_equal(movie.labels(2), GREY[2] % 3)
    assert movie.labels(2).dtype == np.int32
    assert movie.mpp == 0.65
    with pytest.raises(MissingChannel, match="2 of them"):
        one(tmp_path, content, channel=2)


def test_a_batch_of_movies_of_different_length(tmp_path: Path) -> None:
    raw = np.stack([GREY, GREY + 1])[..., None]
    raw[1, 3:] = 0
    tracked = np.zeros(raw.shape, np.int32)
    files = {"raw.npy": npy(raw), "tracked.npy": npy(tracked), "lineages.json": b"[{}, {}]"}
    (first, frames), (second, other) = movies(tmp_path, tarred(files))
    assert first.size == (5, 16, 19)
    np.testing.assert_array_equal(frames, GREY)
    assert second.size == (3, 16, 19)
    np.testing.assert_array_equal(other, GREY[:3] + 1)
    assert second.name == "movie 1 of cells.tif"


def test_odd_numbers_of_cells(tmp_path: Path) -> None:
    for odd, cells in ((np.nan, [0, 5, 7]), (-3, [0, 5, 7]), (2.0**40, [1, 2, 3])):
        tracked = np.zeros((2, 4, 4, 1))
        tracked[0, 0, :3, 0] = odd, 5, 7
        files = {**trk_files(), "raw.npy": npy(tracked), "tracked.npy": npy(tracked)}
        path = tmp_path / "upload"
        path.write_bytes(tarred(files))
        with open_movies(path, tmp_path, name="cells.trk") as (movie,):
            assert movie.labels is not None
            found = movie.labels(0)
        assert set(np.unique(found)) - {0} == set(cells) - {0}
        assert found.dtype == np.int32


def test_an_unpacked_file_is_told_by_its_content(tmp_path: Path) -> None:
    contents = {"tif": tiff(GREY), "trk": tarred(trk_files()), "gz": gzip.compress(b""), "png": b""}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    assert [is_movie_file(tmp_path / name) for name in contents] == [True, True, True, False]


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_memory_follows_the_frame(tmp_path: Path, compression: str | None) -> None:
    frames = np.zeros((200, 256, 256), np.uint16)
    path = tmp_path / "upload"
    path.write_bytes(tiff(frames, compression=compression))
    tracemalloc.start()
    with open_movies(path, tmp_path, name="cells.tif") as (movie,):
        for number in range(movie.size[0]):
            movie.frame(number)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < frames.nbytes / 4
