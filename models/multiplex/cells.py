"""Where the cells of a piece of tissue lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi
from scipy.spatial import cKDTree

from models.nuclear.fields import FloatImage, log_uniform, smooth_noise
from models.nuclear.synth import largest_pieces

__all__ = [
    "Anatomy",
    "Labels",
    "cell_depth",
    "draw_anatomy",
    "draw_cells",
]

LEAST_CELL = 60  # px²; smaller slices of cells are left out
CANDIDATES = 8  # cells that compete for a pixel
TRIES = 12  # to place a cell, times the number of cells that would fill the field

Labels = NDArray[np.int32]


@dataclass(frozen=True)
class Anatomy:
    """One kind of tissue; lengths in pixels unless they are fractions."""

    diameter: float  # median of the cells
    spread: float  # deviation of its logarithm
    small_share: float  # of cells that are half as wide, as lymphocytes among epithelium
    elongation: float  # of all cells, along one direction
    angle: float  # of that direction, radians
    ripple: float  # of the borders, fraction of the diameter
    reach: float  # of a cell into empty space, in its own radii
    gap: float  # between neighbours
    empty: float  # share of the field without cells
    nucleus: float  # its diameter over the cell's, median
    without_nucleus: float  # share of cells cut beside their nucleus
    without_membrane: float  # share of cells that the membrane's stain leaves out
    two_nuclei: float  # share of cells


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draw a kind of tissue: cells of 8 to 25 µm, crowded or loose."""
    loose = rng.random() < 0.3
    return Anatomy(
        diameter=log_uniform(rng, 17, 46),
        spread=rng.uniform(0.05, 0.22),
        small_share=rng.choice([0.0, rng.uniform(0.1, 0.5)], p=[0.65, 0.35]),
        elongation=rng.choice([rng.uniform(1.0, 1.4), rng.uniform(1.4, 2.2)], p=[0.7, 0.3]),
        angle=rng.uniform(0, np.pi),
        ripple=rng.uniform(0.02, 0.1),
        reach=rng.uniform(0.95, 1.15) if loose else rng.uniform(1.15, 1.4),
        gap=rng.choice([0.0, rng.uniform(0.5, 2.5)], p=[0.7, 0.3]),
        empty=rng.uniform(0.2, 0.6) if loose else rng.choice([0.0, rng.uniform(0, 0.3)]),
        nucleus=rng.uniform(0.45, 0.88),
        without_nucleus=rng.choice([0.03, 0.08, 0.2], p=[0.4, 0.4, 0.2]),
        without_membrane=rng.choice([0.0, 0.05, 0.25], p=[0.4, 0.4, 0.2]),
        two_nuclei=rng.choice([0.0, 0.04]),
    )


def draw_cells(rng: np.random.Generator, anatomy: Anatomy, *, size: int) -> Labels:
    """Divide a field among cells; returns (size, size) int32, 0 where there is none.

    Each pixel goes to the cell of the least power distance (Aurenhammer 1987), so that neighbours
    share a border; a random warp of the plane bends the borders.
    """
    pixels = _stretched(_warped(rng, anatomy, size), anatomy)
    centres, radii = _place(rng, anatomy, pixels)
    near, which = cKDTree(centres).query(pixels, k=CANDIDATES)
    power = near**2 - radii[which] ** 2
    order = np.argsort(power, axis=1)[:, :2]
    best, second = (np.take_along_axis(power, order, 1)[:, i] for i in (0, 1))
    owner, rival = (np.take_along_axis(which, order, 1)[:, i] for i in (0, 1))
    distance = np.sqrt(np.maximum(best + radii[owner] ** 2, 0))
    inside = distance < anatomy.reach * radii[owner]
    inside &= (second - best) / (2 * (radii[owner] + radii[rival])) >= anatomy.gap / 2
    labels = np.where(inside, owner + 1, 0).reshape(size, size)
    return largest_pieces(labels, least=LEAST_CELL, least_at_border=LEAST_CELL // 3)


def _warped(rng: np.random.Generator, anatomy: Anatomy, size: int) -> NDArray[np.float64]:
    """Pixel coordinates (size², 2), bent by a smooth field."""
    sigma = anatomy.diameter * rng.uniform(0.25, 0.6)
    pixels = np.mgrid[:size, :size].astype(np.float64)
    for axis in (0, 1):
        pixels[axis] += anatomy.ripple * anatomy.diameter * smooth_noise(rng, size, sigma=sigma)
    return pixels.reshape(2, -1).T


def _stretched(pixels: NDArray[np.float64], anatomy: Anatomy) -> NDArray[np.float64]:
    """Turn and squeeze the plane, so that round cells there are long ones here."""
    cos, sin = np.cos(anatomy.angle), np.sin(anatomy.angle)
    turned = pixels @ np.array([[cos, -sin], [sin, cos]])
    return np.asarray(turned * np.array([1, anatomy.elongation]) / np.sqrt(anatomy.elongation))


def _place(
    rng: np.random.Generator, anatomy: Anatomy, pixels: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Throw discs into the plane, the largest first; return centres (n, 2) and radii (n,)."""
    low, high = pixels.min(0) - anatomy.diameter, pixels.max(0) + anatomy.diameter
    fill = float(np.prod(high - low)) / (0.785 * anatomy.diameter**2)
    count = int(TRIES * fill)
    radii = anatomy.diameter / 2 * np.exp(anatomy.spread * rng.standard_normal(count))
    small = rng.random(count) < anatomy.small_share
    radii = np.clip(np.where(small, radii / 1.8, radii), 8, 26)
    share = rng.permutation(count) < count * max(0.3, 1 - anatomy.small_share)
    radii = np.concatenate([np.sort(radii[share])[::-1], np.sort(radii[~share])[::-1]])
    centres = rng.uniform(low, high, (count, 2))
    kept: list[int] = []
    taken = np.empty((0, 3))
    for index, (centre, radius) in enumerate(zip(centres, radii, strict=True)):
        apart = np.hypot(*(taken[:, :2] - centre).T)
        if (apart > 0.84 * (taken[:, 2] + radius)).all():
            kept.append(index)
            taken = np.vstack([taken, [*centre, radius]])
    chosen = np.array(kept)
    if anatomy.empty:
        chosen = chosen[_outside_holes(rng, anatomy, centres[chosen])]
    if len(chosen) < CANDIDATES:
        chosen = np.array(kept)
    return centres[chosen], radii[chosen]


def _outside_holes(
    rng: np.random.Generator, anatomy: Anatomy, centres: NDArray[np.float64]
) -> NDArray[np.bool_]:
    grid = 64
    field = smooth_noise(rng, grid, sigma=rng.uniform(3, 10))
    low, high = centres.min(0), centres.max(0)
    at = ((centres - low) / (high - low) * (grid - 1)).astype(int)
    values = field[at[:, 0], at[:, 1]]
    return np.asarray(values >= np.quantile(values, anatomy.empty))


def cell_depth(labels: Labels) -> FloatImage:
    """Distance of each pixel of a cell to the nearest that is not of it, px."""
    padded = np.pad(labels, 1, mode="edge")
    low, high = ndi.minimum_filter(padded, 3), ndi.maximum_filter(padded, 3)
    edge = ((low != high) | (padded == 0))[1:-1, 1:-1]
    if not edge.any():
        return np.full(labels.shape, 99, np.float32)
    return np.asarray(ndi.distance_transform_edt(~edge), np.float32)
