"""Where the cells of a piece of tissue lie, and where their nuclei."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi
from scipy.spatial import cKDTree

from models.nuclear.fields import FloatImage, log_uniform, smooth_noise
from models.nuclear.nucleus import Outline, Texture, draw_nucleus

__all__ = [
    "LEAST_NUCLEUS",
    "Anatomy",
    "Nuclei",
    "cell_depth",
    "draw_anatomy",
    "draw_cells",
    "draw_nuclei",
    "largest_pieces",
]

LEAST_CELL = 60  # px²; smaller slices of cells are left out
LEAST_NUCLEUS = 20  # px²; likewise
LARGEST_NUCLEUS = 26.0  # diameter, px: 13 µm
CANDIDATES = 8  # cells that compete for a pixel
TRIES = 12  # to place a cell, times the number of cells that would fill the field
SURFACES = (Texture.FLAT, Texture.DOME, Texture.RIM, Texture.NUCLEOLI, Texture.CHROMOCENTRES)

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


@dataclass(frozen=True)
class Nuclei:
    """Nuclei of a field; both (Y, X)."""

    labels: Labels
    brightness: FloatImage  # about 1 inside, 0 outside


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
    return largest_pieces(labels, least=LEAST_CELL)


def draw_nuclei(
    rng: np.random.Generator, anatomy: Anatomy, cells: Labels
) -> tuple[Nuclei, NDArray[np.bool_]]:
    """Put nuclei into cells; also return, by cell number, which cells have one.

    A nucleus lies within its cell, near the centre, along the cell's long axis.
    """
    labels = np.zeros_like(cells)
    brightness = np.zeros(cells.shape, np.float32)
    nucleated = np.zeros(int(cells.max(initial=0)) + 1, np.bool_)
    surfaces = SURFACES if rng.random() < 0.3 else (SURFACES[rng.integers(len(SURFACES))],)
    spread = rng.uniform(0.1, 0.5)
    core = cells * (cell_depth(cells) > 1)
    for cell, window in enumerate(ndi.find_objects(core), 1):
        if window is None or rng.random() < anatomy.without_nucleus:
            continue
        room = core[window] == cell
        for outline, offset in _outlines(rng, anatomy, room):
            nucleus = draw_nucleus(rng, outline, texture=surfaces[rng.integers(len(surfaces))])
            patch = _centred(nucleus.brightness, room.shape, offset)
            mask = room & (patch > 0) & (labels[window] == 0)
            if mask.sum() < LEAST_NUCLEUS:
                continue
            labels[window][mask] = labels.max() + 1
            gain = max(0.35, float(np.exp(spread * rng.standard_normal())))
            brightness[window] += gain * patch * mask
            nucleated[cell] = True
    return Nuclei(largest_pieces(labels, least=LEAST_NUCLEUS), brightness), nucleated


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


def _outlines(
    rng: np.random.Generator, anatomy: Anatomy, room: NDArray[np.bool_]
) -> list[tuple[Outline, NDArray[np.float64]]]:
    """Shape and centre (y, x in the window) of the nuclei of a cell."""
    points = np.argwhere(room).astype(np.float64)
    diameter = 2 * np.sqrt(len(points) / np.pi)
    centre = points.mean(0)
    values, vectors = np.linalg.eigh(np.cov(points.T) if len(points) > 2 else np.eye(2))
    long = vectors[:, 1]
    stretch = float(np.sqrt(max(values[1], 1e-3) / max(values[0], 1e-3)))
    count = 2 if diameter > 24 and rng.random() < anatomy.two_nuclei else 1
    made = []
    for index in range(count):
        wide = diameter * anatomy.nucleus * float(np.exp(0.12 * rng.standard_normal()))
        wide = min(wide, LARGEST_NUCLEUS) * (0.65 if count == 2 else 1)
        outline = Outline(
            diameter=wide,
            elongation=float(np.clip(stretch**0.7 * np.exp(0.12 * rng.standard_normal()), 1, 2.5)),
            angle=float(np.arctan2(long[0], long[1])),
            roughness=rng.uniform(0, 0.06),
        )
        shift = rng.standard_normal(2) * 0.06 * diameter
        if count == 2:
            shift = shift + (index - 0.5) * 0.5 * diameter * long
        made.append((outline, centre + shift))
    return made


def _centred(patch: FloatImage, shape: tuple[int, ...], centre: NDArray[np.float64]) -> FloatImage:
    """Place a small image so that its middle lies at `centre` of an empty one."""
    height, width = shape
    side = patch.shape[0]
    y, x = np.round(centre).astype(int) - side // 2
    result = np.zeros(shape, np.float32)
    top, left = max(y, 0), max(x, 0)
    bottom, right = min(y + side, height), min(x + side, width)
    if top < bottom and left < right:
        result[top:bottom, left:right] = patch[top - y : bottom - y, left - x : right - x]
    return result


def cell_depth(labels: Labels) -> FloatImage:
    """Distance of each pixel of a cell to the nearest that is not of it, px."""
    padded = np.pad(labels, 1, mode="edge")
    low, high = ndi.minimum_filter(padded, 3), ndi.maximum_filter(padded, 3)
    edge = ((low != high) | (padded == 0))[1:-1, 1:-1]
    if not edge.any():
        return np.full(labels.shape, 99, np.float32)
    return np.asarray(ndi.distance_transform_edt(~edge), np.float32)


def largest_pieces(labels: NDArray[np.integer], *, least: int) -> Labels:
    """Keep the largest piece of each label, if it is not small; number from 1.

    Pieces at the border of the field may be smaller: they go on outside.
    """
    kept = np.zeros(labels.shape, np.int32)
    count = 0
    for label, window in enumerate(ndi.find_objects(labels), 1):
        if window is None:
            continue
        pieces, _found = ndi.label(labels[window] == label)
        areas = np.bincount(pieces.ravel(), minlength=2)
        areas[0] = 0
        at_border = any(
            side.start == 0 or side.stop == length
            for side, length in zip(window, labels.shape, strict=True)
        )
        if areas.max() >= (least // 3 if at_border else least):
            count += 1
            kept[window][pieces == areas.argmax()] = count
    return kept
