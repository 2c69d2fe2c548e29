"""Where the nuclei of cells lie, and how bright they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

from models.multiplex.cells import Anatomy, Labels, cell_depth
from models.nuclear.fields import FloatImage
from models.nuclear.nucleus import Outline, Texture, draw_nucleus
from models.nuclear.synth import largest_pieces

__all__ = ["LEAST_NUCLEUS", "Nuclei", "draw_nuclei"]

LEAST_NUCLEUS = 20  # px²; smaller slices of nuclei are left out
LARGEST_NUCLEUS = 26.0  # diameter, px: 13 µm
SURFACES = (Texture.FLAT, Texture.DOME, Texture.RIM, Texture.NUCLEOLI, Texture.CHROMOCENTRES)


@dataclass(frozen=True)
class Nuclei:
    """Nuclei of a field; both (Y, X)."""

    labels: Labels
    brightness: FloatImage  # about 1 inside, 0 outside


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
    kept = largest_pieces(labels, least=LEAST_NUCLEUS, least_at_border=LEAST_NUCLEUS // 3)
    return Nuclei(kept, brightness), nucleated


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
