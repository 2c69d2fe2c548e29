"""Ask a served model for spots: the published DeepCell SpotDetection, or one with such heads.

Laubscher et al. 2024, Cell Systems 15:475, "Accurate single-molecule spot detection for image-based
spatial transcriptomics with weakly supervised deep learning": for each pixel, the probability that
it holds a spot, and the way (y, x) from the pixel to the spot.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.errors import ModelMismatch
from kiosk_tasks.imaging.image import Image
from kiosk_tasks.imaging.scale import resize, scale_factor
from kiosk_tasks.imaging.spot_response import local_maxima
from kiosk_tasks.imaging.tiling import TileLayout
from kiosk_tasks.imaging.values import Heads, Scale, Tiles
from kiosk_tasks.ports import Signature

__all__ = ["SpotHeads", "spot_heads", "spot_tiles", "spots_of_heads"]

TILE = 512  # px; where the model takes any size
OVERLAP = 64  # px; many times a spot, so that none is cut without being whole in another tile
CLIP = (0.1, 99.9)  # percentiles: beyond them are hot pixels and dust
SAME = 1.0  # px; two maxima whose offsets lead that near to each other mean one spot
LARGEST_OFFSET = 3.0  # px; a spot farther away than its own width belongs to another pixel


@dataclass(frozen=True)
class SpotHeads:
    """The names of the outputs that tell where spots are."""

    offsets: str
    probability: str


def spot_heads(channels: Mapping[str, int], model: str) -> SpotHeads:
    """Return which output is which, by their names, else by their channels and order.

    channels: of each output; -1 where nobody knows. Offsets have two, (y, x); the probability has
    one, or two classes of which the second is the spot. Where names tell nothing and both have two,
    the offsets come first.
    Raises ModelMismatch that says which head is missing.
    """
    names = sorted(channels, key=_natural)
    offsets = [n for n in names if re.search("offset|regress", n, re.I) and channels[n] in (2, -1)]
    classes = [n for n in names if re.search("class|prob", n, re.I) and channels[n] in (1, 2, -1)]
    silent = [n for n in names if n not in (*offsets, *classes)]
    offsets += [n for n in silent if channels[n] == 2]
    classes += [n for n in silent if channels[n] in (1, 2) and n != offsets[0]] if offsets else []
    missing = []
    if not offsets:
        missing.append("offsets to the spots (2 channels)")
    if not classes:
        missing.append("the probability of a spot (1 or 2 channels)")
    if missing:
        given = ", ".join(f"{name} ({channels[name]})" for name in names) or "nothing"
        raise ModelMismatch(
            f"{model} does not find spots: it lacks {' and '.join(missing)}. It gives (with "
            f"channels) {given}. Name a spot model, or none for the detector without a model."
        )
    return SpotHeads(offsets[0], classes[0])


def spot_tiles(plane: Image, signature: Signature, *, mpp: float, clip: bool) -> Tiles:
    """Bring a plane to the model's pixel size, its intensities to 0..1, and lay out the tiles.

    plane: axes "YX". mpp: pixel size the model was trained at, µm per pixel; an image of unknown
    pixel size stays as it is. clip: limit intensities to the percentiles `CLIP` before.
    Raises InvalidParameter for a pixel size more than ten times the model's, or less than a tenth.
    """
    factor = scale_factor(plane.mpp, mpp)
    pixels = np.array(resize(plane.data, factor))  # what Pillow gives is read-only
    if clip:
        np.clip(pixels, *np.percentile(pixels, CLIP).astype(np.float32), out=pixels)
    lowest, highest = pixels.min(), pixels.max()
    pixels -= lowest
    if highest > lowest:
        pixels /= highest - lowest
    tile = _tile_side(signature, max(pixels.shape))
    layout = TileLayout((pixels.shape[0], pixels.shape[1]), tile, min(OVERLAP, tile // 4))
    known = Scale(factor, measured=plane.mpp is not None)
    return Tiles(pixels[..., np.newaxis], layout, known, plane)


def spots_of_heads(heads: Heads, *, threshold: float, model: str) -> NDArray[np.float64]:
    """Return where spots are in the user's image, (n, 2), (y, x), px.

    threshold: least probability. A spot is at a local maximum of the probability, moved by the
    offset there; of maxima that lead to one place the most probable counts.
    Raises ModelMismatch if heads are missing.
    """
    found = spot_heads({name: p.shape[-1] for name, p in heads.planes.items()}, model)
    probability = heads.planes[found.probability][..., -1]
    peaks = local_maxima(probability, above=threshold, every=True)  # it may be 1 all over a spot
    rows, columns = peaks.T
    offsets = heads.planes[found.offsets][rows, columns].astype(np.float64)
    near = np.abs(offsets).max(axis=1, initial=0) <= LARGEST_OFFSET
    positions = (peaks + offsets)[near]
    kept = _distinct(positions, probability[rows, columns][near])
    ratio = np.array(heads.image.data.shape) / probability.shape
    placed = (positions[kept] + 0.5) * ratio - 0.5
    return np.asarray(np.clip(placed, -0.5, np.array(heads.image.data.shape) - 0.5), np.float64)


def _distinct(positions: NDArray[np.float64], score: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Tell which positions have no better one within `SAME`, (n,)."""
    kept = np.ones(len(positions), np.bool_)
    if len(positions) < 2:
        return kept
    # Imported here: a worker that waits does without it.
    from scipy.spatial import cKDTree

    near: dict[int, list[int]] = {}
    for one, other in cKDTree(positions).query_pairs(SAME):
        near.setdefault(one, []).append(other)
        near.setdefault(other, []).append(one)
    for index in np.argsort(-score, kind="stable").tolist():
        if kept[index]:
            kept[near.get(index, [])] = False
    return kept


def _tile_side(signature: Signature, longest: int) -> int:
    """Return the side of a tile, px: the model's own, or less than `TILE` for a small image."""
    for spec in signature.inputs.values():
        if spec.shape is not None and len(spec.shape) == 4 and spec.shape[1] > 0:
            return spec.shape[1]
    return min(TILE, -(-longest // 64) * 64)  # networks halve the sides a few times


def _natural(name: str) -> list[tuple[str, int]]:
    """Sort key by which `head_2` comes before `head_10`."""
    parts: list[tuple[Any, Any]] = re.findall(r"(\D*)(\d*)", name)
    return [(text, int(digits or -1)) for text, digits in parts]
