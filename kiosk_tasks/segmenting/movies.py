"""The frames of a movie and the cells in them, one frame in memory at a time.

A small movie is segmented where it is read (`Found`). A longer one is cut into batches of frames,
each the input of a `predict` job (`Cut`, then `Segmented`). The masks of a `.trk` file need neither
(`Given`). What comes after reads all of them in one way, as often as it needs to: `opened`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.errors import InternalError, InvalidFileType, UnusableImage
from kiosk_tasks.imaging import io
from kiosk_tasks.imaging.frame_files import read_frames
from kiosk_tasks.imaging.intensity import check_pixels
from kiosk_tasks.imaging.labels import Labels
from kiosk_tasks.imaging.movie import Choice, Movie, is_movie_file, open_movies
from kiosk_tasks.job import Context
from kiosk_tasks.outputs import fetch_result
from kiosk_tasks.outputs.tracks import MovieFacts
from kiosk_tasks.scratch import scratch_folder
from kiosk_tasks.stages import fetch

__all__ = [
    "Batch",
    "Found",
    "Frames",
    "Given",
    "Plan",
    "Read",
    "Segmented",
    "fetched",
    "opened",
    "plan_of",
    "read_frame",
]

_SAMPLES = 8  # frames that the contrast is taken from
_SAMPLE_SIDE = 512  # px; of larger frames not every pixel is looked at
_DARK, _BRIGHT = 1.0, 99.8  # percentiles; those of `normalise_percentiles`
_CLIP = (-0.25, 1.6)  # likewise
_LARGEST = 1e38  # pixel value; the difference of two such is a number in 32 bits, too

Frames = Iterator[tuple[NDArray[Any], Labels]]
"""Pixels and cells of each frame of a movie, in order; (Y, X) each."""

Read = Callable[[int], Frames]
"""Yields the frames of the movie of that number."""


@dataclass(frozen=True)
class Plan:
    """The movies of a job.

    parts: what is added to the names of each one's files; "" where there is one.
    ranges: pixel values that become 0 and 1 in all its frames; None: pixels stay as they are.
    scale: pixels of the models per pixel of the movies.
    """

    movies: tuple[MovieFacts, ...]
    parts: tuple[str, ...]
    ranges: tuple[tuple[float, float] | None, ...]
    scale: float = 1.0


@dataclass(frozen=True)
class Batch:
    """Neighbouring frames of a movie, as a file in the bucket.

    axes: of that file, "BYX", or "YX" of a single frame.
    empty: no frame shows anything, so that nobody need look for cells.
    """

    movie: int
    key: str
    axes: str
    empty: bool


@dataclass(frozen=True, eq=False)
class Found:
    """Small movies in memory: pixels and cells, (T, Y, X) each."""

    plan: Plan
    pixels: tuple[NDArray[Any], ...]
    labels: tuple[Labels, ...]


@dataclass(frozen=True)
class Segmented:
    """Movies in batches, and for each batch the key of the result that has its cells, or ""."""

    plan: Plan
    batches: tuple[Batch, ...]
    results: tuple[str, ...]


@dataclass(frozen=True)
class Given:
    """Movies whose file has the cells, too."""

    plan: Plan


@contextmanager
def fetched(ctx: Context[Any]) -> Iterator[tuple[tuple[Movie, ...], Path]]:
    """Enclose the use of the job's movies; yields them, and a folder for other files.

    Raises InvalidFileType for a file that is no movie, and what `open_movies` raises.
    """
    source, params = ctx.job.source, ctx.params
    with scratch_folder(ctx.limits.scratch) as folder:
        path = fetch(ctx, folder)
        if not is_movie_file(path):
            raise InvalidFileType(
                f'Invalid filetype for "{ctx.job.type_name}" job. {source.name} is no movie; '
                "send a .tif, .tiff, .trk or .trks file."
            )
        with open_movies(
            path,
            folder,
            name=source.name,
            choice=Choice(params.axes, params.channel, params.mpp),
            limits=ctx.limits.image,
            archive_limits=ctx.limits.archive,
        ) as movies:
            yield movies, folder


def plan_of(movies: tuple[Movie, ...], *, normalised: bool) -> Plan:
    """Look at some frames of each movie, and put down what is known."""
    parts = [""] if len(movies) == 1 else [f"movie_{i}" for i in range(len(movies))]
    ranges = [_contrast(movie) for movie in movies]
    facts = (
        MovieFacts(movie.size, "float32", movie.mpp, (0.0, 1.0))
        if normalised
        else MovieFacts(movie.size, movie.dtype.name, movie.mpp, contrast)
        for movie, contrast in zip(movies, ranges, strict=True)
    )
    return Plan(tuple(facts), tuple(parts), tuple(r if normalised else None for r in ranges))


def read_frame(movie: Movie, number: int, scaled: tuple[float, float] | None) -> NDArray[Any]:
    """Read a frame, (Y, X).

    scaled: the range of `Plan`.
    Raises UnusableImage for pixels that are not finite, or larger than 32 bits can hold.
    """
    frame = movie.frame(number)
    lowest, highest = float(frame.min()), float(frame.max())
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        check_pixels(frame, f"frame {number} of {movie.name}")
    if max(-lowest, highest) > _LARGEST:
        raise UnusableImage(
            f"frame {number} of {movie.name} has pixels from {lowest:g} to {highest:g}; up to "
            f"{_LARGEST:g} can be computed with. Export the movie as integers."
        )
    if scaled is None:
        return frame
    dark, bright = scaled
    span = max(bright - dark, float(np.finfo(np.float32).tiny))
    pixels: NDArray[Any] = (frame.astype(np.float32) - np.float32(dark)) / np.float32(span)
    return pixels.clip(*_CLIP)


@contextmanager
def opened(value: Found | Segmented | Given, ctx: Context[Any]) -> Iterator[Read]:
    """Enclose the reading of all frames and their cells; the job may be stopped between two."""
    with ExitStack() as files:
        movies: tuple[Movie, ...] = ()
        folder = Path()
        if isinstance(value, Given):
            movies, folder = files.enter_context(fetched(ctx))
        elif isinstance(value, Segmented):
            folder = files.enter_context(scratch_folder(ctx.limits.scratch))

        def read(which: int) -> Frames:
            if isinstance(value, Found):
                frames: Frames = zip(value.pixels[which], value.labels[which], strict=True)
            elif isinstance(value, Given):
                frames = _given(movies[which], value.plan.ranges[which])
            else:
                frames = _segmented(value, which, ctx, folder)
            for frame in frames:
                ctx.report.check()
                yield frame

        yield read


def _contrast(movie: Movie) -> tuple[float, float]:
    frames, height, width = movie.size
    step = -(-max(height, width) // _SAMPLE_SIDE)
    chosen = np.unique(np.linspace(0, frames - 1, _SAMPLES).round().astype(int)).tolist()
    sample = np.stack([read_frame(movie, i, None)[::step, ::step] for i in chosen])
    dark, bright = np.percentile(sample, [_DARK, _BRIGHT]).tolist()
    return dark, bright if bright > dark else max(float(sample.max()), dark + 1)


def _given(movie: Movie, scaled: tuple[float, float] | None) -> Frames:
    if movie.labels is None:
        raise InternalError(f"{movie.name} has no cells in it.")
    for number in range(movie.size[0]):
        yield read_frame(movie, number, scaled), movie.labels(number)


def _segmented(value: Segmented, which: int, ctx: Context[Any], folder: Path) -> Frames:
    for batch, result in zip(value.batches, value.results, strict=True):
        if batch.movie != which:
            continue
        ctx.storage.download(batch.key, folder / "frames.tif")
        frames = read_frames(folder / "frames.tif")
        if batch.empty:
            yield from ((frame, np.zeros(frame.shape, np.int32)) for frame in frames)
        else:
            with scratch_folder(ctx.limits.scratch) as unpacked:
                yield from zip(frames, _labels(ctx, result, unpacked), strict=True)


def _labels(ctx: Context[Any], result: str, folder: Path) -> Iterator[Labels]:
    """Read the label images of a batch, in the order of its frames."""
    files = fetch_result(ctx.storage, result, folder)
    for name in sorted((n for n in files if n.endswith(".tif")), key=_numbers):
        yield io.read(files[name], name=name, limits=ctx.limits.image).data
        files[name].unlink()


def _numbers(name: str) -> list[int]:
    """Sort key by which batch_2 comes before batch_10."""
    return [int(digits) for digits in re.findall(r"\d+", name)]
