"""Simulated images of spots, alone or in cells, whose truth is known.

Spots are Gaussians at random places, brighter and dimmer; the background glows unevenly, as cells
do by themselves; photons are counted (Poisson) and the camera adds noise when it is read out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["CONDITIONS", "Culture", "Scene", "draw_culture", "draw_spots"]

SIGMA = 1.3  # px; of a spot: its width at half height is 3.06 px
PHOTONS = 100.0  # of the darkest background
READ_OUT = 3.0  # standard deviation of the camera's own noise
VARIETY = 0.35  # of the natural logarithm of the spots' heights
GLOW = 25.0  # px; how far the background keeps its brightness
OFFSET = 100.0  # what the camera adds, so that nothing is below 0
_REACH = 6  # px around a spot that it lights


@dataclass(frozen=True)
class Scene:
    """What is in an image.

    spots: how many.
    snr: mean height of a spot over the noise of the mean background.
    glow: how much brighter the brightest background is than the darkest, times 3.
    """

    spots: int = 300
    snr: float = 5.0
    glow: float = 0.5


CONDITIONS = {
    "easy": Scene(snr=12),
    "mid": Scene(snr=4.6),
    "dim": Scene(snr=2.55),
    "dense": Scene(spots=2200, snr=8),
    "uneven background": Scene(snr=5.3, glow=3),
    "nearly empty": Scene(spots=5, snr=3.6),
}
"""In images of 512 × 512 px."""


@dataclass(frozen=True, eq=False)
class Culture:
    """Cells with spots in and between them.

    image: (Y, X, 3) uint16: spots, nuclei, whole cells. cells: (Y, X) int32 truth of the nuclei.
    spots: (n, 2), (y, x), px.
    """

    image: NDArray[np.uint16]
    cells: NDArray[np.int32]
    spots: NDArray[np.float64]


def draw_spots(
    scene: Scene, *, seed: int, shape: tuple[int, int] = (512, 512)
) -> tuple[NDArray[np.uint16], NDArray[np.float64]]:
    """Return an image (Y, X) uint16 and its spots, (n, 2), (y, x), px, 3 px or more from the edge.

    scene: the number of spots is meant for 512 × 512 px and grows with the area.
    """
    rng = np.random.default_rng(seed)
    count = max(1, round(scene.spots * shape[0] * shape[1] / 512**2)) if scene.spots else 0
    places = rng.uniform(3, np.array(shape) - 3, (count, 2))
    light = _light(places, rng.lognormal(0, VARIETY, count), shape)
    glow = ndimage.gaussian_filter(rng.standard_normal(shape), GLOW)
    glow = (glow - glow.min()) / np.ptp(glow)
    photons = PHOTONS * (1 + 3 * scene.glow * glow)
    photons += scene.snr * np.sqrt(photons.mean()) * light
    pixels = rng.poisson(photons) + rng.normal(OFFSET, READ_OUT, shape)
    return np.clip(np.rint(pixels), 0, 65535).astype(np.uint16), places


def draw_culture(
    *, seed: int, shape: tuple[int, int] = (512, 512), nuclei: int = 60, spots: int = 400
) -> Culture:
    """Draw round nuclei that do not touch, whole cells around them, and spots everywhere.

    Nuclei have a radius of 9 to 15 px; cells reach 6 px farther.
    """
    from tests.synthetic import draw_discs

    rng = np.random.default_rng(seed)
    discs = draw_discs(shape, count=nuclei, radius=(9.0, 15.0), gap=6.0, seed=seed)
    image, places = draw_spots(Scene(spots=spots, snr=12), seed=seed + 1, shape=shape)
    planes = [image]
    for grown in (0, 6):
        inside = discs.labels > 0
        if grown:
            inside = ndimage.distance_transform_edt(~inside) <= grown
        photons = 200 + 1500 * ndimage.gaussian_filter(inside.astype(np.float64), 1.2)
        planes.append(rng.poisson(photons).astype(np.uint16))
    return Culture(np.stack(planes, axis=-1), discs.labels, places)


def _light(
    places: NDArray[np.float64], heights: NDArray[np.float64], shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Add up Gaussians of standard deviation `SIGMA`."""
    light = np.zeros(shape)
    for (y, x), height in zip(places.tolist(), heights.tolist(), strict=True):
        top, left = max(0, int(y) - _REACH), max(0, int(x) - _REACH)
        rows = np.arange(top, min(shape[0], int(y) + _REACH + 1))[:, np.newaxis]
        columns = np.arange(left, min(shape[1], int(x) + _REACH + 1))
        squared = (rows - y) ** 2 + (columns - x) ** 2
        light[top : top + len(rows), left : left + len(columns)] += height * np.exp(
            -squared / (2 * SIGMA**2)
        )
    return light
