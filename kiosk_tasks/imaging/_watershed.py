"""scikit-image's watershed, loaded when it is first used: a worker that waits does without it."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

__all__ = ["watershed"]


def watershed(
    landscape: NDArray[Any], markers: NDArray[Any], *, mask: NDArray[Any]
) -> NDArray[Any]:
    """Flood the landscape from the markers, within the mask; see `skimage.segmentation.watershed`.

    landscape, markers, mask: (Y, X). Returns (Y, X) of the markers' numbers.
    """
    # Imported here: with scikit-image's morphology and scipy.spatial it costs 15 MB.
    from skimage.segmentation import watershed as flood

    flooded: NDArray[Any] = flood(landscape, markers, mask=mask)  # type: ignore[no-untyped-call]
    return flooded
