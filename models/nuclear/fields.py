"""Random smooth fields from which textures, haze and backgrounds are made."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

__all__ = ["FloatImage", "blur_wide", "log_uniform", "smooth_noise", "unit_grid"]

FloatImage: TypeAlias = NDArray[np.float32]


def smooth_noise(rng: np.random.Generator, size: int, *, sigma: float) -> FloatImage:
    """Draw a (size, size) float32 Gaussian field, mean 0, deviation 1, smooth over sigma pixels."""
    step = max(1, int(sigma // 3))
    coarse_size = -(-size // step) + 4
    white = rng.standard_normal((coarse_size, coarse_size)).astype(np.float32)
    field = ndi.gaussian_filter(white, sigma / step, mode="wrap")
    if step > 1:
        field = ndi.zoom(field, step, order=1)
    field = field[:size, :size]
    return np.asarray((field - field.mean()) / (field.std() + 1e-6), np.float32)


def blur_wide(image: FloatImage, sigma: float) -> FloatImage:
    """Blur a (Y, X) image by sigma pixels; wide blurs are made on a coarser grid."""
    step = max(1, int(sigma // 4))
    if step == 1:
        return np.asarray(ndi.gaussian_filter(image, sigma), np.float32)
    height, width = image.shape
    padded = np.pad(image, ((0, -height % step), (0, -width % step)), mode="edge")
    coarse = padded.reshape(padded.shape[0] // step, step, -1, step).mean((1, 3))
    blurred = ndi.zoom(
        ndi.gaussian_filter(coarse, sigma / step), step, order=1, mode="nearest", grid_mode=True
    )
    return np.asarray(blurred[:height, :width], np.float32)


def unit_grid(size: int) -> tuple[FloatImage, FloatImage]:
    """Return y and x of the pixels of a (size, size) image, from -0.5 to 0.5."""
    y, x = np.mgrid[:size, :size].astype(np.float32) / size - 0.5
    return y, x


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a number whose logarithm is uniform between those of low and high."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
