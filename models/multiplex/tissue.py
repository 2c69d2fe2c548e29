"""Simulated tissue: two channels, and the truth of whole cells and of nuclei."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

from models.multiplex.cells import cell_depth, draw_anatomy, draw_cells
from models.multiplex.nuclei import LEAST_NUCLEUS, draw_nuclei
from models.multiplex.stain import record, stain_membranes, stain_nuclei
from models.nuclear.synth import largest_pieces

__all__ = ["Tissue", "draw_tissue"]

ENCLOSED = 0.7  # share of a cell's border along which stained neighbours outline it


@dataclass(frozen=True)
class Tissue:
    """A field of tissue.

    image: (Y, X, 2) uint16, nuclear and membrane channel.
    whole_cell, nuclear: (Y, X) int32, 0 background; numbered independently.
    """

    image: NDArray[np.uint16]
    whole_cell: NDArray[np.int32]
    nuclear: NDArray[np.int32]


def draw_tissue(rng: np.random.Generator, *, size: int = 256) -> Tissue:
    """Draw a (size, size) field at 0.5 µm per pixel.

    A cell without a stained membrane is as large in the truth as can be seen of it: all of it
    where stained neighbours enclose it, else its nucleus; without a nucleus it is not there.
    """
    anatomy = draw_anatomy(rng)
    cells = draw_cells(rng, anatomy, size=size)
    nuclei, nucleated = draw_nuclei(rng, anatomy, cells)
    negative = rng.random(len(nucleated)) < anatomy.without_membrane
    inside, depth = nuclei.labels > 0, cell_depth(cells)
    membranes = stain_membranes(rng, cells, depth, nuclei=inside, negative=negative)
    stained_nuclei = stain_nuclei(rng, nuclei.brightness, cells)
    image = record(rng, stained_nuclei, membranes, diameter=anatomy.diameter)
    bare = (negative & ~_enclosed(cells, depth, negative=negative))[cells] & (cells > 0)
    seen = np.where(bare, 0, cells)
    seen = np.where(bare & inside, cells.max() + nuclei.labels, seen)
    whole = largest_pieces(seen, least=LEAST_NUCLEUS, least_at_border=LEAST_NUCLEUS // 3)
    return Tissue(image, whole, nuclei.labels)


def _enclosed(
    cells: NDArray[np.int32], depth: NDArray[np.float32], *, negative: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Tell, by cell number, which cells have stained neighbours along most of their border."""
    stained = ~negative[cells] & (cells > 0)
    near = ndi.binary_dilation(stained, iterations=2)
    border = cells * (depth == 0)
    length = np.bincount(border.ravel(), minlength=len(negative))
    lit = np.bincount(border.ravel(), near.ravel(), minlength=len(negative))
    return np.asarray(lit > ENCLOSED * np.maximum(length, 1))
