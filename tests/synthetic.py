"""Drawn images whose truth is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["Discs", "draw_discs", "draw_nuclei", "perfect_heads"]


@dataclass(frozen=True)
class Discs:
    """Discs that do not touch.

    labels: (Y, X) int32 truth, 1..n.
    centres: (n, 2) float, (y, x), px. radii: (n,) float, px.
    """

    labels: NDArray[np.int32]
    centres: NDArray[np.float64]
    radii: NDArray[np.float64]


def draw_discs(
    shape: tuple[int, int] = (128, 160),
    *,
    count: int = 12,
    radius: tuple[float, float] = (5.0, 10.0),
    gap: float = 3.0,
    seed: int = 0,
) -> Discs:
    """Draw up to `count` discs at random, whole and at least `gap` px apart."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.int32)
    centres: list[tuple[float, float]] = []
    radii: list[float] = []
    for _attempt in range(50 * count):
        if len(radii) == count:
            break
        r = rng.uniform(*radius)
        if 2 * r + 4 > min(shape):
            continue
        y, x = rng.uniform(r + 1, shape[0] - r - 2), rng.uniform(r + 1, shape[1] - r - 2)
        near = zip(centres, radii, strict=True)
        if any(np.hypot(y - cy, x - cx) < r + cr + gap for (cy, cx), cr in near):
            continue
        centres.append((y, x))
        radii.append(r)
        top, left = int(y - r), int(x - r)  # the disc lies within the image
        rows, columns = np.ogrid[top : int(y + r) + 1, left : int(x + r) + 1]
        inside = (rows - y) ** 2 + (columns - x) ** 2 <= r * r
        labels[top : top + inside.shape[0], left : left + inside.shape[1]][inside] = len(radii)
    return Discs(labels, np.array(centres).reshape(-1, 2), np.array(radii))


def draw_nuclei(
    shape: tuple[int, int] = (128, 160), *, count: int = 12, noise: float = 12.0, seed: int = 0
) -> tuple[NDArray[np.uint16], NDArray[np.int32]]:
    """Draw blurred bright discs on a dark, noisy background; return image and truth.

    The image is (Y, X) uint16: background about 200, nuclei 1500 to 3500.
    """
    rng = np.random.default_rng(seed + 1)
    discs = draw_discs(shape, count=count, seed=seed)
    brightness = np.concatenate([[0.0], rng.uniform(1500, 3500, len(discs.radii))])
    image = 200 + ndimage.gaussian_filter(brightness[discs.labels], 1.2)
    image += rng.normal(0, noise, shape)
    return np.clip(np.rint(image), 0, 65535).astype(np.uint16), discs.labels


def perfect_heads(
    labels: NDArray[np.int32],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return what a perfect network gives for a label image: inner, outer, foreground.

    inner: 1 at the centre of mass of a cell, falling with the distance from it. outer: distance
    from the cell's edge, 1 at its deepest pixel. foreground: 0 or 1. Each (Y, X) float32.
    """
    inner = np.zeros(labels.shape, np.float32)
    outer = np.zeros(labels.shape, np.float32)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        cell = labels[box] == number
        y, x = ndimage.center_of_mass(cell)
        rows, columns = np.nonzero(cell)
        distance = np.hypot(rows - y, columns - x)
        scale = max(1.0, np.sqrt(cell.sum() / np.pi) / 3)
        inner[box][cell] = 1 / (1 + (distance / scale) ** 2 / 4)
        depth = ndimage.distance_transform_edt(np.pad(cell, 1))[1:-1, 1:-1]
        outer[box][cell] = (depth / depth.max())[cell]
    return inner, outer, (labels > 0).astype(np.float32)
