"""From a file's dimensions to an Image's axes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.errors import InvalidAxes
from kiosk_tasks.imaging.image import AXES, Image

__all__ = ["assemble"]


def assemble(pixels: NDArray[Any], found: str, given: str | None, *, colour: bool) -> Image:
    """Name the axes of pixels.

    found: what the file says, a letter each; S are samples of a pixel, others than those of
        `AXES` are unknown.
    given: what the person says; it wins.
    colour: the samples are red, green and blue; where all three are equal they become one.
    Raises InvalidAxes where neither tells, or the person's letters do not fit.
    """
    grey = pixels
    samples = found.find("S")
    if colour and samples >= 0 and _is_grey(pixels, samples):
        grey = pixels.take(0, axis=samples)
    if given is not None:
        return Image(pixels if len(given) == pixels.ndim else grey, given)
    if grey is not pixels:
        pixels, found = grey, found.replace("S", "")
    found = _samples_as_channels(found, pixels.shape)
    single = tuple(
        i for i, letter in enumerate(found) if letter not in AXES and pixels.shape[i] == 1
    )
    kept = "".join(letter for i, letter in enumerate(found) if i not in single)
    if set(kept) - set(AXES) or len(set(kept)) < len(kept):
        raise _unknown_axes(pixels.shape)
    return Image(np.squeeze(pixels, axis=single), kept)


def _is_grey(pixels: NDArray[Any], samples: int) -> bool:
    if pixels.shape[samples] != 3:
        return False
    red, green, blue = np.moveaxis(pixels, samples, 0)
    return np.array_equal(red, green) and np.array_equal(red, blue)


def _samples_as_channels(found: str, shape: tuple[int, ...]) -> str:
    """Let S be C; of two such axes, one of length 1 goes."""
    if "C" not in found:
        return found.replace("S", "C")
    if "S" in found and shape[found.index("C")] == 1:
        return found.replace("C", "Q").replace("S", "C")
    return found


def _unknown_axes(shape: tuple[int, ...]) -> InvalidAxes:
    sizes = " × ".join(map(str, shape))
    example = {3: "CYX", 4: "TCYX", 5: "TZCYX"}.get(len(shape), "YX")
    return InvalidAxes(
        f"the image has {len(shape)} dimensions ({sizes}), and the file does not say what they "
        f'are. Give one letter each of {", ".join(AXES)}, for example axes="{example}".'
    )
