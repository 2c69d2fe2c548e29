"""From nuclei to a camera image: light out of focus, clutter, background, noise."""

from __future__ import annotations

import numpy as np
from scipy import ndimage as ndi

from models.nuclear.fields import FloatImage, blur_wide, log_uniform, smooth_noise, unit_grid
from models.nuclear.scene import Scene

__all__ = ["add_background", "add_clutter", "add_haze", "expose"]


def add_haze(rng: np.random.Generator, signal: FloatImage, *, scene: Scene) -> FloatImage:
    """Add light of the same nuclei, and of none in particular, spread out of focus."""
    deep = scene.layout.deep
    image = signal
    if rng.random() < (0.9 if deep else 0.55):
        share = rng.uniform(0.1, 0.9) if deep else rng.uniform(0.02, 0.35)
        image = image + share * blur_wide(signal, scene.diameter * rng.uniform(0.3, 1.5))
    if deep and rng.random() < 0.6:
        body = blur_wide(scene.region.astype(np.float32), scene.diameter * rng.uniform(0.3, 1.5))
        uneven = 1 + 0.4 * smooth_noise(rng, scene.size, sigma=scene.diameter * rng.uniform(0.4, 2))
        image = image + rng.uniform(0.1, 0.9) * body * np.clip(uneven, 0, None)
    if rng.random() < 0.25:
        sigma = scene.diameter * rng.uniform(0.5, 1.2)
        image = image + rng.uniform(0.05, 0.3) * _dots(rng, scene.size, sigma=sigma, most=12)
    return np.asarray(image, np.float32)


def add_clutter(rng: np.random.Generator, signal: FloatImage, *, scene: Scene) -> FloatImage:
    """Add bright things that are no nuclei: debris, apoptotic fragments, blobs, fibres."""
    image = signal
    if rng.random() < 0.25:
        sigma = rng.uniform(0.6, 0.05 * scene.diameter + 0.9)
        image = image + rng.uniform(0.2, 1.5) * _dots(rng, scene.size, sigma=sigma, most=30)
    if rng.random() < 0.12:
        image = image + rng.uniform(0.5, 2.5) * _fragments(rng, scene)
    if rng.random() < 0.06:
        sigma = scene.diameter * rng.uniform(0.8, 2.5)
        image = image + rng.uniform(1, 5) * _dots(rng, scene.size, sigma=sigma, most=3)
    if rng.random() < 0.15:
        image = image + rng.uniform(0.2, 1.5) * _fibres(rng, scene.size)
    return np.asarray(image, np.float32)


def add_background(rng: np.random.Generator, signal: FloatImage, *, scene: Scene) -> FloatImage:
    """Add a ground level, cytoplasm, and uneven illumination."""
    size = scene.size
    y, x = unit_grid(size)
    slope = rng.standard_normal(2)
    level = rng.uniform(0, 0.8) ** 2
    shape = 1 + rng.uniform(0, 0.5) * (slope[0] * y + slope[1] * x)
    shape = shape + rng.uniform(0, 0.25) * smooth_noise(rng, size, sigma=rng.uniform(10, 60))
    ground = level * shape
    if rng.random() < 0.4:
        cytoplasm = smooth_noise(rng, size, sigma=scene.diameter * rng.uniform(0.2, 0.8))
        ground = ground + rng.uniform(0.02, 0.2) * np.clip(cytoplasm, -1, 3)
    image = signal + np.clip(ground, 0, None)
    if rng.random() < 0.4:
        centre = rng.uniform(-0.5, 0.5, 2)
        fall = 2 * ((y - centre[0]) ** 2 + (x - centre[1]) ** 2)
        image = image * np.clip(1 - rng.uniform(0.1, 0.8) * fall, 0.2, None)
    return np.asarray(image, np.float32)


def expose(rng: np.random.Generator, image: FloatImage) -> FloatImage:
    """Record an image: shot noise, read noise, resampling, eight bits, display gamma."""
    photons = log_uniform(rng, 8, 3000)
    counts = rng.poisson(np.clip(image, 0, None) * photons).astype(np.float32)
    counts += rng.standard_normal(counts.shape) * rng.uniform(0.2, 3.0)
    if rng.random() < 0.3:  # stored after resampling or denoising: neighbours correlate
        counts = np.asarray(ndi.gaussian_filter(counts, rng.uniform(0.4, 1.0)), np.float32)
    if rng.random() < 0.5:
        top = np.percentile(counts, rng.uniform(97, 100)) + 1e-6
        low = counts.min()
        counts = np.clip(np.round((counts - low) / (top - low) * log_uniform(rng, 25, 255)), 0, 255)
    if rng.random() < 0.2:
        counts = (counts - counts.min()) ** rng.uniform(0.55, 1.5)
    return np.asarray(counts, np.float32)


def _dots(rng: np.random.Generator, size: int, *, sigma: float, most: int) -> FloatImage:
    """Up to `most` Gaussian dots with peaks between 0.3 and 1.5."""
    impulses = np.zeros((size, size), np.float32)
    count = rng.integers(1, most + 1)
    y, x = rng.integers(size, size=(2, count))
    impulses[y, x] = rng.uniform(0.3, 1.5, count)
    return np.asarray(blur_wide(impulses, sigma) * 2 * np.pi * sigma**2, np.float32)


def _fragments(rng: np.random.Generator, scene: Scene) -> FloatImage:
    """Clusters of small bright balls, as apoptotic nuclei leave."""
    impulses = np.zeros((scene.size, scene.size), np.float32)
    for _ in range(rng.integers(1, 5)):
        centre = rng.uniform(0, scene.size, 2)
        count = rng.integers(2, 7)
        at = centre + rng.standard_normal((count, 2)) * 0.3 * scene.diameter
        at = np.clip(at, 0, scene.size - 1).astype(int)
        impulses[at[:, 0], at[:, 1]] = rng.uniform(0.5, 1.5, count)
    sigma = 0.5 + scene.diameter * rng.uniform(0.03, 0.08)
    return np.asarray(ndi.gaussian_filter(impulses, sigma) * 2 * np.pi * sigma**2, np.float32)


def _fibres(rng: np.random.Generator, size: int) -> FloatImage:
    """Curved lines and bands: level sets of a smooth field, interrupted by another."""
    field = smooth_noise(rng, size, sigma=rng.uniform(20, 60))
    width = log_uniform(rng, 0.01, 0.15)
    lines = np.exp(-((field - rng.uniform(-1, 1)) ** 2) / (2 * width**2))
    lines *= smooth_noise(rng, size, sigma=rng.uniform(10, 40)) > rng.uniform(-0.5, 1.0)
    return np.asarray(ndi.gaussian_filter(lines, rng.uniform(0.5, 1.5)), np.float32)
