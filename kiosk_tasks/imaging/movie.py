"""Movies whose frames are read one by one, so that memory follows the frame and not the movie."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.errors import MissingChannel, UnusableImage
from kiosk_tasks.imaging._movie_axes import movie_axes
from kiosk_tasks.imaging._tiff_movie import TiffMovie
from kiosk_tasks.imaging.archives import DEFAULT_ARCHIVE_LIMITS
from kiosk_tasks.imaging.io import DEFAULT_LIMITS, check_size, is_tiff, refusing_damage
from kiosk_tasks.imaging.labels import Labels
from kiosk_tasks.imaging.limits import ArchiveLimits, ImageLimits, check_file_bytes
from kiosk_tasks.imaging.trk import TrkFile, open_trk

__all__ = ["Choice", "Movie", "is_movie_file", "open_movies"]

_FEWEST = 2  # frames
_TAR = (257, b"ustar")  # where a tar file says what it is
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, eq=False)
class Movie:
    """One movie, open for reading.

    name: what a person calls it. size: (frames, Y, X).
    dtype: of its pixels. mpp: µm per pixel, if known.
    frame: reads a frame, from 0: (Y, X), native byte order.
    labels: reads the cells of a frame that the file gives: (Y, X) int32; None if it gives none.
    """

    name: str
    size: tuple[int, int, int]
    dtype: np.dtype[Any]
    mpp: float | None
    frame: Callable[[int], NDArray[Any]]
    labels: Callable[[int], Labels] | None = None


@dataclass(frozen=True)
class Choice:
    """What of a file is read, as a person says; None where they say nothing.

    axes: a letter for each dimension. channel: from 0; None is the first, or the brightest of
        three colours. mpp: µm per pixel.
    """

    axes: str | None = None
    channel: int | None = None
    mpp: float | None = None


@contextmanager
def open_movies(
    path: Path,
    folder: Path,
    *,
    name: str,
    choice: Choice = Choice(),
    limits: ImageLimits = DEFAULT_LIMITS,
    archive_limits: ArchiveLimits = DEFAULT_ARCHIVE_LIMITS,
) -> Iterator[tuple[Movie, ...]]:
    """Open the movies of a TIFF, `.trk` or `.trks` file, judged by its content.

    folder: for files that must be unpacked to be read.
    Yields one movie or, of a `.trks` file, as many as there are; axes are T, Y, X.
    What is before Y and X is taken for time, where a file has no T but one other such axis.
    Raises InvalidFileType, UnusableImage (one frame), InvalidAxes, MissingChannel, and what
    `io.read` and `read_trk` raise; frames may turn out damaged when they are read.
    """
    check_file_bytes(name, path.stat().st_size, max_bytes=limits.max_bytes)
    with ExitStack() as open_files:
        if is_tiff(path):
            with refusing_damage(name):
                file = open_files.enter_context(TiffMovie(path, name, limits))
                movies: tuple[Movie, ...] = (_of_tiff(file, name, choice, limits),)
        else:
            trk = open_trk(path, folder, name=name, limits=limits, archive_limits=archive_limits)
            movies = _of_trk(trk, name, choice)
        yield movies


def is_movie_file(path: Path) -> bool:
    """Tell by its first bytes whether a file is of a kind that `open_movies` takes."""
    if is_tiff(path):
        return True
    with path.open("rb") as file:
        start = file.read(_TAR[0] + len(_TAR[1]))
    return start.startswith(_GZIP) or start.endswith(_TAR[1])


def _of_tiff(file: TiffMovie, name: str, choice: Choice, limits: ImageLimits) -> Movie:
    check_size(file, choice.axes, name, limits)
    kind = _numbers(np.zeros((), file.dtype)).dtype
    if kind.kind not in "uif":
        raise UnusableImage(f"{name} has {kind} as pixels; send real numbers instead.")
    axes = movie_axes(
        file.axes,
        file.shape,
        given=choice.axes,
        channel=choice.channel,
        samples=(file.alpha, kind == np.uint8),
    )

    def frame(number: int) -> NDArray[Any]:
        with refusing_damage(name):
            return _numbers(axes.plane(file.part(axes.index(number)))).astype(kind, copy=False)

    if axes.frames < _FEWEST:
        hint = f' If the first of its axes, "{file.axes}", is time, give axes="TYX".'
        raise _too_short(name, axes.frames, hint if len(file.shape) == 3 else "")
    size = (axes.frames, file.shape[axes.row], file.shape[axes.column])
    mpp = choice.mpp if choice.mpp is not None else file.mpp
    return Movie(name, size, kind, mpp, frame)


def _of_trk(file: TrkFile, name: str, choice: Choice) -> tuple[Movie, ...]:
    """Return its movies; one of several frames of nothing at its end ends before them."""
    channel = choice.channel or 0
    if channel >= file.raw.shape[-1]:
        raise MissingChannel(
            f"channel {channel} was asked for, but {name} has {file.raw.shape[-1]} of them, from 0."
        )
    if len(file.raw.shape) == 4:
        return (_of_arrays(file, (), channel, name, choice),)
    count = file.raw.shape[0]
    return tuple(
        _of_arrays(file, (i,), channel, f"movie {i} of {name}", choice) for i in range(count)
    )


def _of_arrays(
    file: TrkFile, movie: tuple[int, ...], channel: int, name: str, choice: Choice
) -> Movie:
    everything = slice(None)

    def frame(number: int) -> NDArray[Any]:
        return _numbers(file.raw.part((*movie, number, everything, everything, channel)))

    def labels(number: int) -> Labels:
        given = file.tracked.part((*movie, number, everything, everything, 0))
        given = np.where(given > 0, given, 0)  # NaN and what is negative are no cells
        if given.max() > np.iinfo(np.int32).max:
            return np.unique(given, return_inverse=True)[1].reshape(given.shape).astype(np.int32)
        return given.astype(np.int32, copy=False)

    *_, frames, height, width, _channels = file.raw.shape
    while (
        movie and frames > _FEWEST and not frame(frames - 1).any() and not labels(frames - 1).any()
    ):
        frames -= 1  # movies of a batch are filled up to one length
    if frames < _FEWEST:
        raise _too_short(name, frames)
    kind = _numbers(np.zeros((), file.raw.kind)).dtype.newbyteorder("=")
    return Movie(name, (frames, height, width), kind, choice.mpp, frame, labels)


def _numbers(pixels: NDArray[Any]) -> NDArray[Any]:
    return pixels.view(np.uint8) if pixels.dtype == np.bool_ else pixels


def _too_short(name: str, frames: int, hint: str = "") -> UnusableImage:
    return UnusableImage(
        f"{name} has {frames} frame; a movie needs {_FEWEST} or more. Send a single image to the "
        f"job type predict.{hint}"
    )
