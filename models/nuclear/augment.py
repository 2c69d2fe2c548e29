"""Random crops of labelled images: new geometry, new optics, new camera."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

from kiosk_tasks.imaging.intensity import normalise_percentiles
from models.nuclear.fields import FloatImage, blur_wide, log_uniform, smooth_noise
from models.nuclear.targets import meeting_pixels

__all__ = ["Sample", "random_crop"]

SMALLEST, LARGEST = 7.0, 110.0  # median diameters after zooming, px
MOST_ZOOM = 2.2
TRIES = 3  # to find a crop with nuclei


@dataclass(frozen=True)
class Sample:
    """A labelled image ready for training."""

    image: NDArray[np.float16]  # (Y, X), normalised
    distances: NDArray[np.float16]  # (Y, X, 2), see `targets.distances`
    labels: NDArray[np.uint16]  # (Y, X)
    diameter: float  # median, px; 0 without objects


@dataclass
class _Crop:
    """A crop while it is changed."""

    image: FloatImage
    labels: NDArray[np.uint16]
    diameter: float


def random_crop(
    rng: np.random.Generator, sample: Sample, *, size: int, neighbour: Sample | None = None
) -> tuple[FloatImage, FloatImage]:
    """Cut, warp and degrade a crop.

    neighbour: another image, which some crops get blurred on top as light out of focus.
    Returns image (size, size, 1) and truth (size, size, 4) as `network.heads_loss` takes it.
    """
    zoom = max(_zoom(rng, sample.diameter), size / min(sample.labels.shape))
    for _ in range(TRIES):
        warp = _Warp(rng, sample.labels.shape, size=size, zoom=zoom)
        labels = warp.nearest(sample.labels)
        if labels.any():
            break
    crop = _Crop(warp.smooth(sample.image), labels, zoom * sample.diameter)
    inner, outer = (warp.smooth(sample.distances[..., index], antialias=False) for index in (0, 1))
    if neighbour is not None and rng.random() < 0.12:
        _add_neighbour(rng, crop, neighbour=neighbour)
    for probability, change in CHANGES:
        if rng.random() < probability:
            change(rng, crop)
    _scale_brightness(rng, crop)
    foreground = crop.labels > 0
    truth = np.stack(
        [inner * foreground, outer * foreground, foreground, meeting_pixels(crop.labels)], -1
    )
    return crop.image[..., None].astype(np.float32), truth.astype(np.float32)


def _zoom(rng: np.random.Generator, diameter: float) -> float:
    if rng.random() < 0.3:
        return 1.0
    zoom = log_uniform(rng, 1 / MOST_ZOOM, MOST_ZOOM)
    if diameter:
        zoom = float(np.clip(zoom, SMALLEST / diameter, LARGEST / diameter))
    return float(np.clip(zoom, 0.4, MOST_ZOOM))


class _Warp:
    """A random affine map from a square crop to a window of an image."""

    def __init__(
        self, rng: np.random.Generator, shape: tuple[int, ...], *, size: int, zoom: float
    ) -> None:
        angle = rng.integers(4) * np.pi / 2
        if rng.random() < 0.4:
            angle += rng.uniform(-np.pi / 4, np.pi / 4)
        stretch = np.exp(rng.normal(0, 0.15)) if rng.random() < 0.4 else 1.0
        cos, sin = np.cos(angle), np.sin(angle)
        flip = rng.choice([-1, 1])
        turn = np.array([[cos, -sin], [sin, cos]])
        self.matrix = turn @ np.diag([stretch * flip, 1 / stretch]) / zoom
        self.size = size
        reach = np.abs(self.matrix).sum(1) * size / 2
        free = np.maximum(np.array(shape) / 2 - reach, 0)
        centre = np.array(shape) / 2 - 0.5 + rng.uniform(-free, free)
        first = np.floor(np.clip(centre - reach - 4, 0, None)).astype(int)
        last = np.ceil(centre + reach + 5).astype(int)
        self.window = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
        self.offset = centre - first - self.matrix @ np.full(2, (size - 1) / 2)
        self.antialias = 0.45 / zoom if zoom < 0.85 and rng.random() < 0.7 else 0.0

    def smooth(self, image: NDArray[np.floating], *, antialias: bool = True) -> FloatImage:
        """Warp with linear interpolation."""
        source = image[self.window].astype(np.float32)
        if antialias and self.antialias:
            source = ndi.gaussian_filter(source, self.antialias)
        return np.asarray(self._apply(source, order=1), np.float32)

    def nearest(self, labels: NDArray[np.uint16]) -> NDArray[np.uint16]:
        """Warp without interpolation."""
        return np.asarray(self._apply(labels[self.window], order=0), np.uint16)

    def _apply(self, source: NDArray[Any], *, order: Literal[0, 1]) -> NDArray[Any]:
        shape = (self.size, self.size)
        warped: NDArray[Any] = ndi.affine_transform(
            source, self.matrix, self.offset, shape, order=order, mode="reflect"
        )
        return warped


def _add_neighbour(rng: np.random.Generator, crop: _Crop, *, neighbour: Sample) -> None:
    size = crop.image.shape[0]
    zoom = 1.0
    if neighbour.diameter:
        zoom = float(np.clip(crop.diameter / neighbour.diameter, 0.4, MOST_ZOOM))
    other = _Warp(rng, neighbour.labels.shape, size=size, zoom=zoom).smooth(neighbour.image)
    blur = max(2.0, crop.diameter * rng.uniform(0.2, 0.5))
    crop.image += rng.uniform(0.2, 0.8) * blur_wide(other, blur)


def _relight_nuclei(rng: np.random.Generator, crop: _Crop) -> None:
    """Make some nuclei much brighter than the rest."""
    count = int(crop.labels.max()) + 1
    chosen = rng.random(count) < rng.uniform(0.02, 0.25)
    gain = np.where(chosen, rng.uniform(0.5, 5, count), 0).astype(np.float32)
    gain[0] = 0
    crop.image *= 1 + ndi.gaussian_filter(gain[crop.labels], 1.0)


def _add_own_haze(rng: np.random.Generator, crop: _Crop) -> None:
    sigma = max(4.0, crop.diameter * rng.uniform(0.3, 1.5))
    crop.image += rng.uniform(0.1, 0.9) * blur_wide(crop.image, sigma)


def _add_ground(rng: np.random.Generator, crop: _Crop) -> None:
    noise = smooth_noise(rng, crop.image.shape[0], sigma=log_uniform(rng, 4, 60))
    crop.image += rng.uniform(0.03, 0.25) * np.clip(noise, -1.5, 3)


def _tilt_illumination(rng: np.random.Generator, crop: _Crop) -> None:
    crop.image *= np.exp(rng.uniform(0.1, 0.5) * smooth_noise(rng, crop.image.shape[0], sigma=60))


def _blur(rng: np.random.Generator, crop: _Crop) -> None:
    most = 0.6 + 0.09 * max(crop.diameter, 8)
    crop.image = np.asarray(ndi.gaussian_filter(crop.image, rng.uniform(0.4, most)), np.float32)


def _bend_gamma(rng: np.random.Generator, crop: _Crop) -> None:
    crop.image = np.sign(crop.image) * np.abs(crop.image) ** np.float32(rng.uniform(0.5, 1.6))


def _roughen(rng: np.random.Generator, crop: _Crop) -> None:
    """Add a random texture to nuclei and ground alike."""
    sigma = max(0.8, crop.diameter * rng.uniform(0.03, 0.15))
    noise = smooth_noise(rng, crop.image.shape[0], sigma=sigma)
    crop.image *= np.clip(1 + rng.uniform(0.05, 0.35) * noise, 0.1, None)


def _add_noise(rng: np.random.Generator, crop: _Crop) -> None:
    noise = rng.standard_normal(crop.image.shape, np.float32)
    if rng.random() < 0.3:
        noise = 2 * ndi.gaussian_filter(noise, 0.7)
    shot = np.sqrt(np.clip(crop.image, 0.05, None))
    crop.image += log_uniform(rng, 0.005, 0.12) * noise * (shot if rng.random() < 0.5 else 1)


def _scale_brightness(rng: np.random.Generator, crop: _Crop) -> None:
    """Normalise anew, by the percentiles of the crop or nearly as it was."""
    top = float(np.percentile(crop.image, 99.8))
    if rng.random() < 0.3 and crop.labels.any():
        crop.image = normalise_percentiles(
            crop.image, low=rng.uniform(0.1, 3), high=rng.uniform(99.3, 99.95)
        )
    elif top > 1.3:
        crop.image = normalise_percentiles(crop.image, low=0.0)
    gain, shift = rng.uniform(0.75, 1.3), rng.uniform(-0.08, 0.08)
    crop.image = np.clip(gain * crop.image + shift, -0.25, 1.6)


CHANGES: tuple[tuple[float, Callable[[np.random.Generator, _Crop], None]], ...] = (
    (0.25, _relight_nuclei),
    (0.20, _roughen),
    (0.15, _add_own_haze),
    (0.15, _add_ground),
    (0.25, _tilt_illumination),
    (0.25, _blur),
    (0.40, _bend_gamma),
    (0.40, _add_noise),
)
