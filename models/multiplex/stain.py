"""From cells to a two-channel camera image: stains, light out of focus, background, noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

from models.nuclear.fields import FloatImage, blur_wide, log_uniform, smooth_noise, unit_grid

__all__ = ["record", "stain_membranes", "stain_nuclei"]

Labels = NDArray[np.int32]


def stain_membranes(
    rng: np.random.Generator,
    cells: Labels,
    depth: FloatImage,
    *,
    nuclei: NDArray[np.bool_],
    negative: NDArray[np.bool_],
) -> FloatImage:
    """Stain membranes and, more or less, the cytoplasm within; returns (Y, X), about 1 on borders.

    depth: (Y, X), distance to the cell's border, px.
    negative: by cell number, cells that the stain leaves out.
    """
    size = cells.shape[0]
    gain = np.exp(rng.uniform(0.1, 0.55) * rng.standard_normal(len(negative)))
    gain = np.maximum(gain, 0.3)
    gain[negative] = 0
    gain[0] = 0
    ring = np.exp(-(depth**2) / (2 * rng.uniform(0.6, 1.4) ** 2))
    along = np.exp(rng.uniform(0.1, 0.5) * smooth_noise(rng, size, sigma=rng.uniform(3, 14)))
    grain = 1 + rng.uniform(0, 0.3) * smooth_noise(rng, size, sigma=rng.uniform(1, 3))
    filled = rng.uniform(0, 0.85) ** 2 * np.clip(grain, 0.2, None)
    shadow = 1 - rng.uniform(0.2, 1.0) * ndi.gaussian_filter(nuclei.astype(np.float32), 1.0)
    signal = gain[cells] * (ring * np.clip(along, 0.25, 3) + filled * (1 - ring) * shadow)
    if rng.random() < 0.4:
        signal = signal + rng.uniform(0.2, 1.2) * _specks(rng, size, most=25)
    return np.asarray(signal, np.float32)


def stain_nuclei(rng: np.random.Generator, brightness: FloatImage, cells: Labels) -> FloatImage:
    """Stain nuclei and, faintly, the cytoplasm."""
    size = cells.shape[0]
    grain = 1 + rng.uniform(0, 0.3) * smooth_noise(rng, size, sigma=rng.uniform(1, 3))
    signal = brightness * np.clip(grain, 0.2, 2.5) + rng.uniform(0, 0.12) * (cells > 0)
    if rng.random() < 0.25:
        signal = signal + rng.uniform(0.2, 1.0) * _specks(rng, size, most=12)
    return np.asarray(signal, np.float32)


def record(
    rng: np.random.Generator, nuclear: FloatImage, membrane: FloatImage, *, diameter: float
) -> NDArray[np.uint16]:
    """Photograph both stains; returns (Y, X, 2) uint16, nuclear first.

    Each channel shows a little of the other; each has a blur, a ground and a gain of its own.
    """
    mixed = (
        nuclear + rng.uniform(0, 0.08) * membrane,
        membrane + rng.uniform(0, 0.2) * (rng.random() < 0.5) * nuclear,
    )
    focus = rng.uniform(0.4, 1.5)
    planes = [
        _expose(rng, _lit(rng, _blurred(rng, signal, focus=focus, diameter=diameter)))
        for signal in mixed
    ]
    return np.stack(planes, axis=-1)


def _blurred(
    rng: np.random.Generator, signal: FloatImage, *, focus: float, diameter: float
) -> FloatImage:
    """Blur; add the light of the same cells and of a layer above or below, out of focus."""
    image = ndi.gaussian_filter(signal, focus * rng.uniform(0.8, 1.2))
    if rng.random() < 0.6:
        image = image + rng.uniform(0.05, 0.5) * blur_wide(signal, diameter * rng.uniform(0.4, 1.2))
    if rng.random() < 0.5:
        other = np.rot90(signal, int(rng.integers(1, 4)))
        image = image + rng.uniform(0.1, 0.5) * blur_wide(other, rng.uniform(2.5, 8))
    return np.asarray(image, np.float32)


def _lit(rng: np.random.Generator, signal: FloatImage) -> FloatImage:
    """Add a ground, uneven over the field, and light it unevenly."""
    size = signal.shape[0]
    y, x = unit_grid(size)
    slope = rng.standard_normal(2)
    ground = rng.uniform(0, 0.6) ** 2 * np.clip(
        1
        + rng.uniform(0, 0.6) * (slope[0] * y + slope[1] * x)
        + rng.uniform(0, 0.3) * smooth_noise(rng, size, sigma=rng.uniform(8, 60)),
        0,
        None,
    )
    centre = rng.uniform(-0.5, 0.5, 2)
    fall = 1 - rng.uniform(0, 0.6) * ((y - centre[0]) ** 2 + (x - centre[1]) ** 2)
    return np.asarray((signal + ground) * np.clip(fall, 0.3, None), np.float32)


def _expose(rng: np.random.Generator, image: FloatImage) -> NDArray[np.uint16]:
    """Count photons; add read noise and an offset, scale to sixteen bits or fewer."""
    photons = log_uniform(rng, 20, 2000)
    counts = rng.poisson(np.clip(image, 0, None) * photons).astype(np.float32)
    counts += rng.standard_normal(counts.shape).astype(np.float32) * rng.uniform(0.3, 3.0)
    if rng.random() < 0.2:  # resampled or denoised: neighbours correlate
        counts = np.asarray(ndi.gaussian_filter(counts, rng.uniform(0.4, 0.8)), np.float32)
    gain = log_uniform(rng, 0.5, 6) if rng.random() < 0.7 else 200 / float(counts.max())
    return np.clip(np.round(gain * counts + rng.uniform(0, 150)), 0, 65535).astype(np.uint16)


def _specks(rng: np.random.Generator, size: int, *, most: int) -> FloatImage:
    """Small bright things that are neither: precipitate, debris."""
    impulses = np.zeros((size, size), np.float32)
    count = int(rng.integers(1, most + 1))
    y, x = rng.integers(size, size=(2, count))
    impulses[y, x] = rng.uniform(0.3, 1.5, count)
    sigma = rng.uniform(0.7, 2.0)
    return np.asarray(ndi.gaussian_filter(impulses, sigma) * 2 * np.pi * sigma**2, np.float32)
