"""Which dimension of a file is time, and which is what else."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.errors import InvalidAxes, MissingChannel
from kiosk_tasks.imaging.image import AXES

__all__ = ["MovieAxes", "file_letters", "movie_axes"]

_COLOURS = 3


@dataclass(frozen=True)
class MovieAxes:
    """Positions of the dimensions; None where there is none.

    frames: how many there are.
    channel: which is read; None where there is no such dimension, or the brightest of three
        colours is read.
    """

    ndim: int
    time: int | None
    row: int
    column: int
    channels: int | None
    frames: int
    channel: int | None

    def index(self, frame: int) -> tuple[int | slice, ...]:
        """Return the index of a frame: of all its colours, or of the one channel."""
        chosen: list[int | slice] = [0] * self.ndim
        for position in (self.row, self.column):
            chosen[position] = slice(None)
        if self.time is not None:
            chosen[self.time] = frame
        if self.channels is not None:
            chosen[self.channels] = slice(None) if self.channel is None else self.channel
        return tuple(chosen)

    def plane(self, part: NDArray[Any]) -> NDArray[Any]:
        """Make (Y, X) of what lies at `index`."""
        if self.channels is not None and self.channel is None:
            before = sum(p < self.channels for p in (self.row, self.column))
            part = np.moveaxis(part, before, 0)[:_COLOURS].max(axis=0)
        return np.ascontiguousarray(part if self.row < self.column else part.T)


def movie_axes(
    found: str,
    shape: tuple[int, ...],
    *,
    given: str | None,
    channel: int | None,
    samples: tuple[int, bool],
) -> MovieAxes:
    """Find time, rows, columns and channels.

    found: what the file says, a letter each; S are samples of a pixel.
    given: what the person says; it wins, and may leave out the samples.
    channel: from 0; None is the first, or the brightest of three colours.
    samples: how many of them are no colours but opacity; whether pixels are bytes.
    Raises InvalidAxes and MissingChannel.
    """
    letters = file_letters(found, shape, given)
    if "Y" not in letters or "X" not in letters:
        raise InvalidAxes(
            f'axes "{letters}" have no {"X" if "Y" in letters else "Y"}; a movie is "TYX" or '
            f'"TYXC". {_way_out(shape)}'
        )
    time = _time(letters, shape)
    channels = letters.find("C") if "C" in letters else None
    opaque, bytes_ = samples
    count = 1 if channels is None else shape[channels] - opaque * ("S" in found)
    if channel is not None and channel >= count:
        last = f"channels 0 to {count - 1}" if count > 1 else "one channel, 0"
        raise MissingChannel(f"channel {channel} was asked for, but the movie has {last}.")
    brightest = channel is None and count == _COLOURS and bytes_
    return MovieAxes(
        ndim=len(shape),
        time=time,
        row=letters.index("Y"),
        column=letters.index("X"),
        channels=channels,
        frames=1 if time is None else shape[time],
        channel=None if brightest else channel or 0,
    )


def file_letters(found: str, shape: tuple[int, ...], given: str | None) -> str:
    """Return a letter for each dimension of a file; "Q" where nobody knows.

    found, given: as `movie_axes` takes them. Raises InvalidAxes if what is given does not fit.
    """
    if given is None:
        if "S" in found and "C" in found and shape[found.index("C")] == 1:
            found = found.replace("C", "Q")
        return found.replace("S", "C")
    unknown = sorted(set(given) - set(AXES))
    if unknown or len(set(given)) < len(given):
        fact = f"the unknown letter {unknown[0]!r}" if unknown else "a letter twice"
        raise InvalidAxes(f'axes "{given}" has {fact}; the letters are {", ".join(AXES)}.')
    if len(given) == len(shape) - 1 and "S" in found and "C" not in given:
        return f"{given[: found.index('S')]}C{given[found.index('S') :]}"
    if len(given) != len(shape):
        sizes = " × ".join(map(str, shape))
        raise InvalidAxes(
            f'axes "{given}" has {len(given)} letters, but the movie has {len(shape)} dimensions '
            f"({sizes}). Give one letter per dimension."
        )
    return given


def _time(letters: str, shape: tuple[int, ...]) -> int | None:
    """Return the dimension that is time; None if there is none longer than 1."""
    others = [i for i, n in enumerate(shape) if n > 1 and letters[i] not in "YXC"]
    if len(others) > 1 or letters.count("C") > 1:
        raise InvalidAxes(
            f'the movie has axes "{letters.replace("Q", "?")}" of {_sizes(shape)}; this job takes '
            f'"TYX" or "TYXC", with one depth. {_way_out(shape)}'
        )
    return others[0] if others else None


def _way_out(shape: tuple[int, ...]) -> str:
    example = {3: "TYX", 4: "TYXC"}.get(len(shape))
    say = f', for example axes="{example}"' if example else ""
    return f"Send one depth of one position{say}." if prod(shape) else "Export it again."


def _sizes(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))
