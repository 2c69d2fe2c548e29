"""Which dimensions of a file are rows, columns and channels."""

from __future__ import annotations

from kiosk_tasks.errors import InvalidAxes
from kiosk_tasks.imaging.image import AXES

__all__ = ["plane_letters"]


def plane_letters(found: str, shape: tuple[int, ...], given: str | None) -> str | None:
    """Return a letter for each dimension: Y, X, at most one C, and "." for those of length 1.

    found: what the file says; S are samples of a pixel, others than those of `AXES` are unknown.
    given: what the person says; it wins.
    Returns None for what is no plane with channels: stacks, movies, unknown dimensions.
    Raises InvalidAxes where the person's letters do not fit.
    """
    letters = found.replace("S", "C") if given is None else given
    if len(letters) != len(shape):
        return None  # as `assemble` sees it, colour that is grey everywhere has a dimension less
    if given is not None and (set(given) - set(AXES) or len(set(given)) < len(given)):
        raise InvalidAxes(
            f'axes "{given}" is no list of different letters out of {", ".join(AXES)}.'
        )
    kept = "".join(
        letter if letter in "YX" or length > 1 else "."
        for letter, length in zip(letters, shape, strict=True)
    )
    several = kept.replace(".", "")
    if set(several) - set("CYX") or len(set(several)) < len(several) or not {"Y", "X"} <= set(kept):
        return None
    return kept
