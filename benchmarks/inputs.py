"""The synthetic files that every benchmark works on; the same bytes in each run.

Nuclei are discs of 5 to 10 px radius, some 14 per 256² px, blurred, on a noisy background.
"""

from __future__ import annotations

import zipfile
from functools import cache
from io import BytesIO

import numpy as np
import tifffile
from numpy.typing import NDArray

from tests.synthetic import draw_nuclei

__all__ = ["crops", "field", "movie", "tissue", "zipped_fields"]

_TILE = 256  # px; larger fields repeat drawn ones of this side, turned and shifted
_COUNT = 14  # nuclei per tile
_KINDS = 16


def field(side: int, *, seed: int = 0) -> bytes:
    """Return a TIFF of nuclei, (side, side) uint16, of no pixel size."""
    return _tiff(_nuclei(side, seed))


def tissue(side: int) -> bytes:
    """Return a TIFF of two channels, (2, side, side) uint16: nuclei, and what is around them."""
    from scipy.ndimage import grey_dilation

    nuclei = _nuclei(side, 3)
    return _tiff(np.stack([nuclei, grey_dilation(nuclei, size=(7, 7))]), axes="CYX")


def movie(frames: int, side: int) -> bytes:
    """Return a TIFF of nuclei that all move by a pixel a frame, (T, side, side) uint16."""
    first = _nuclei(side, 5)
    planes = [np.roll(first, (number, -number), (0, 1)) for number in range(frames)]
    return _tiff(np.stack(planes), axes="TYX")


def zipped_fields(count: int, side: int) -> bytes:
    """Return an archive of fields that differ."""
    return _zip({f"field_{n:04d}.tif": field(side, seed=n) for n in range(count)})


def crops(count: int, side: int = 64) -> bytes:
    """Return an archive of crops of drawn fields, (side, side) uint16 each."""
    drawn = _nuclei(1024, 1)
    rng = np.random.default_rng(0)
    places = rng.integers(0, 1024 - side, (count, 2)).tolist()
    return _zip(
        {
            f"crop_{n:05d}.tif": _tiff(drawn[y : y + side, x : x + side])
            for n, (y, x) in enumerate(places)
        }
    )


def _nuclei(side: int, seed: int) -> NDArray[np.uint16]:
    if side <= _TILE:
        return _drawn(seed)[:side, :side]
    rng = np.random.default_rng(seed)
    across = -(-side // _TILE)
    rows = []
    for _ in range(across):
        kinds, turns = rng.integers(_KINDS, size=across), rng.integers(4, size=across)
        rows.append([np.rot90(_drawn(int(k)), t) for k, t in zip(kinds, turns, strict=True)])
    return np.ascontiguousarray(np.block(rows)[:side, :side])


@cache
def _drawn(seed: int) -> NDArray[np.uint16]:
    return draw_nuclei((_TILE, _TILE), count=_COUNT, seed=seed)[0]


def _tiff(pixels: NDArray[np.uint16], *, axes: str = "YX") -> bytes:
    file = BytesIO()
    tifffile.imwrite(file, pixels, photometric="minisblack", metadata={"axes": axes})
    return file.getvalue()


def _zip(files: dict[str, bytes]) -> bytes:
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return packed.getvalue()
