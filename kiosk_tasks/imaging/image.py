"""The image value, and the only place where axes change."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.errors import InvalidAxes, MissingChannel

__all__ = ["AXES", "Image"]

AXES = "TZBYXC"
"""The letters an image's axes may have: time, depth, batch, row, column, channel."""


@dataclass(frozen=True, eq=False)
class Image:
    """Pixels that never travel without their geometry.

    data: array with one dimension for each letter of `axes`.
    axes: for example "YX", "YXC", "TYXC"; each letter of `AXES` at most once.
    mpp: micrometres per pixel along Y and X; None where nobody knows.
    Raises InvalidAxes if letters are unknown, repeated, or not as many as dimensions.
    """

    data: NDArray[Any]
    axes: str
    mpp: float | None = None

    def __post_init__(self) -> None:
        """Check the axes at the door."""
        unknown = sorted(set(self.axes) - set(AXES))
        if unknown:
            raise InvalidAxes(
                f'axes "{self.axes}" has the unknown letter {unknown[0]!r}; '
                f"the letters are {', '.join(AXES)}."
            )
        if len(set(self.axes)) != len(self.axes):
            raise InvalidAxes(f'axes "{self.axes}" names a letter twice.')
        if len(self.axes) != self.data.ndim:
            shape = " × ".join(map(str, self.data.shape))
            raise InvalidAxes(
                f'axes "{self.axes}" has {len(self.axes)} letters, but the image has '
                f"{self.data.ndim} dimensions ({shape}). Give one letter per dimension."
            )

    @property
    def size(self) -> dict[str, int]:
        """Length along each axis, by letter."""
        return dict(zip(self.axes, self.data.shape, strict=True))

    @property
    def is_constant(self) -> bool:
        """Whether every pixel has one and the same value; one that is not a number never does."""
        return self.data.size == 0 or bool((self.data == self.data.flat[0]).all())

    def to(self, axes: str) -> Image:
        """Return the same pixels with axes in that order.

        Axes that are missing are added with length 1; axes of length 1 that are not asked for are
        dropped. Raises InvalidAxes if an axis longer than 1 would have to go.
        """
        size = self.size
        for letter in self.axes:
            if letter not in axes and size[letter] != 1:
                raise InvalidAxes(
                    f'the image has axes "{self.axes}" with {size[letter]} along {letter}; '
                    f'this job takes "{axes}". Pick one plane, or send the job type that takes it.'
                )
        kept = [letter for letter in self.axes if letter in axes]
        dropped = tuple(i for i, letter in enumerate(self.axes) if letter not in axes)
        data = np.squeeze(self.data, axis=dropped)
        data = data.transpose([kept.index(letter) for letter in axes if letter in kept])
        shape = [size.get(letter, 1) for letter in axes]
        return replace(self, data=data.reshape(shape), axes=axes)

    def channel(self, index: int) -> Image:
        """Return one channel (from 0), without the C axis; an image without C has channel 0.

        Raises MissingChannel if there is none of that index.
        """
        count = self.size.get("C", 1)
        if not 0 <= index < count:
            last = f"channels 0 to {count - 1}" if count > 1 else "one channel, 0"
            raise MissingChannel(f"channel {index} was asked for, but the image has {last}.")
        if "C" not in self.axes:
            return self
        data = self.data.take(index, axis=self.axes.index("C"))
        return replace(self, data=data, axes=self.axes.replace("C", ""))
