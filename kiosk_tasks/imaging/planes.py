"""Single planes of an image file, to be looked at: no plane beside is decoded where that can be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import reduce
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.errors import ImageTooLarge, InvalidAxes, MissingChannel
from kiosk_tasks.imaging import io
from kiosk_tasks.imaging._movie_axes import file_letters
from kiosk_tasks.imaging._tiff_movie import TiffMovie
from kiosk_tasks.imaging.limits import ImageLimits, check_file_bytes, spaced
from kiosk_tasks.imaging.movie import Choice, is_movie_file, open_movies
from kiosk_tasks.imaging.regions import Files, look_at, open_regions

__all__ = ["PlaneChoice", "Planes", "open_planes", "open_zarr_planes"]

_MOST_BYTES = 2**29  # of what is decoded for one plane
_COLOURS = 3


@dataclass(frozen=True)
class PlaneChoice:
    """Which planes of a file are meant; see `Choice` for axes and channel.

    movie: pages of which the file says nothing are one image; else the first of them is all.
    project: a plane is the maximum along Z.
    """

    axes: str | None = None
    channel: int | None = None
    movie: bool = False
    project: bool = False


@dataclass(frozen=True, eq=False)
class Planes:
    """The planes of an open file, along all its axes but Y, X and C, in the file's order.

    size: (Y, X), px. mpp: µm per pixel, as the file says.
    plane: decodes one, from 0: (Y, X).
    """

    count: int
    size: tuple[int, int]
    mpp: float | None
    plane: Callable[[int], NDArray[Any]]


@contextmanager
def open_planes(
    path: Path, *, name: str, choice: PlaneChoice, limits: ImageLimits
) -> Iterator[Planes]:
    """Open a TIFF, PNG, JPEG, `.trk` or `.trks` file (of which: the first movie) for looking at.

    Raises what `io.read` and `open_movies` raise, and ImageTooLarge for planes that take more than
    half a gigabyte to decode.
    """
    check_file_bytes(name, path.stat().st_size, max_bytes=limits.max_bytes)
    with ExitStack() as files:
        if io.is_tiff(path):
            with io.refusing_damage(name):
                kind = TiffMovie if choice.movie else _FirstSeries
                file = files.enter_context(kind(path, name, limits))
                planes = _of_tiff(file, name, choice, limits)
        elif is_movie_file(path):
            given = Choice(choice.axes, choice.channel)
            opened = open_movies(path, path.parent, name=name, choice=given, limits=limits)
            movie = files.enter_context(opened)[0]
            planes = Planes(movie.size[0], movie.size[1:], movie.mpp, movie.frame)
        else:
            planes = _of_picture(path, name, choice, limits)
        yield planes


@contextmanager
def open_zarr_planes(
    files: Files, key: str, *, name: str, choice: PlaneChoice, limits: ImageLimits
) -> Iterator[Planes]:
    """Open an OME-Zarr in a bucket as `open_planes` opens a file; it has one plane."""
    image = look_at(files, key, name=name, axes=choice.axes, limits=limits)
    if image is None:
        raise InvalidAxes(f"{name} has no plane that can be shown.")
    taken = [choice.channel or 0]
    if choice.channel is None and image.channels == _COLOURS and image.dtype == "uint8":
        taken = [0, 1, 2]
    _check_decoded(name, prod(image.size) * len(taken) * np.dtype(image.dtype).itemsize)
    with open_regions(image, files) as reader:

        def plane(_number: int) -> NDArray[Any]:
            planes = (reader.read(slice(None), slice(None), channel=one) for one in taken)
            return reduce(np.maximum, planes)

        yield Planes(1, image.size, image.mpp, plane)


class _FirstSeries(TiffMovie):
    """As `io.read` has it: of a file that says nothing of its pages, the first is the image."""

    def _is_list_of_single_pages(self) -> bool:
        return False


def _of_tiff(file: TiffMovie, name: str, choice: PlaneChoice, limits: ImageLimits) -> Planes:
    io.check_size(file, choice.axes, name, limits)
    letters = file_letters(file.axes, file.shape, choice.axes)
    if "Y" not in letters or "X" not in letters or letters.count("C") > 1:
        raise InvalidAxes(f'{name} has axes "{letters}", of which no plane can be shown.')
    channel = _channel(file, letters, choice)
    along = [
        i
        for i, letter in enumerate(letters)
        if letter not in "YXC" and not (choice.project and letter == "Z")
    ]
    lengths = [file.shape[i] for i in along]
    size = file.shape[letters.index("Y")], file.shape[letters.index("X")]

    def plane(number: int) -> NDArray[Any]:
        index: list[int | slice] = [slice(None)] * len(letters)
        for axis, place in zip(along, np.unravel_index(number, lengths), strict=True):
            index[axis] = int(place)
        if channel is not None and "C" in letters:
            index[letters.index("C")] = channel
        left = "".join(
            letter for letter, at in zip(letters, index, strict=True) if isinstance(at, slice)
        )
        with io.refusing_damage(name):
            return _flat(file.part(tuple(index)), left)

    _check_bytes(name, file, size)
    return Planes(prod(lengths), size, file.mpp, plane)


def _channel(file: TiffMovie, letters: str, choice: PlaneChoice) -> int | None:
    """Return the channel to show; None for the brightest of three colours."""
    count = (
        file.shape[letters.index("C")] - file.alpha * ("S" in file.axes) if "C" in letters else 1
    )
    if choice.channel is None and count == _COLOURS and file.dtype == np.uint8:
        return None
    channel = choice.channel or 0
    if channel >= count:
        raise MissingChannel(f"channel {channel} was asked for; there are {count}.")
    return channel


def _flat(part: NDArray[Any], letters: str) -> NDArray[Any]:
    """Make (Y, X) of what was read: the maximum along everything else."""
    others = tuple(i for i, letter in enumerate(letters) if letter not in "YX")
    if "C" in letters:
        part = part.take(range(min(_COLOURS, part.shape[letters.index("C")])), letters.index("C"))
    plane = part.max(axis=others) if others else part
    return plane if letters.index("Y") < letters.index("X") else plane.T


def _check_bytes(name: str, file: TiffMovie, size: tuple[int, int]) -> None:
    needed = prod(size) * file.pixel_bytes
    if not file.reads_parts:
        needed = prod(file.shape) * file.dtype.itemsize
    _check_decoded(name, needed)


def _check_decoded(name: str, needed: int) -> None:
    if needed > _MOST_BYTES:
        raise ImageTooLarge(
            f"{name} takes {spaced(needed)} bytes to show a plane of it; at most "
            f"{spaced(_MOST_BYTES)} are taken for that."
        )


def _of_picture(path: Path, name: str, choice: PlaneChoice, limits: ImageLimits) -> Planes:
    image = io.read(path, name=name, axes=choice.axes, limits=limits)
    count = image.size.get("C", 1)
    if "C" in image.axes and choice.channel is None and count == _COLOURS:
        data = image.data.max(axis=image.axes.index("C"))
    else:
        data = image.channel(choice.channel or 0).data
    return Planes(1, (data.shape[0], data.shape[1]), image.mpp, lambda _number: data)
