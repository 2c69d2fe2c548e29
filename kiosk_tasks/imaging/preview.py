"""Planes as PNG files that a browser draws: the image in grey, label images with coded labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from kiosk_tasks.imaging.intensity import percentiles
from kiosk_tasks.imaging.labels import resize_labels

__all__ = ["LONGEST_SIDE", "contrast_of", "grey_png", "labels_png", "preview_scale"]

LONGEST_SIDE = 1024
"""Pixels of a preview; larger planes are shrunk."""

_DARK, _BRIGHT = 1.0, 99.8  # percentiles
_SAMPLE_SIDE = 1024  # px; of larger planes not every pixel is looked at for the contrast
_BAND_PIXELS = 2**22
_LEVEL = 1  # of deflate: a picture of noise does not pack better with more


def preview_scale(size: tuple[int, int]) -> float:
    """Return pixels of the preview per pixel of the image; size: (Y, X)."""
    return min(1.0, LONGEST_SIDE / max(size))


def contrast_of(planes: Sequence[NDArray[Any]]) -> tuple[float, float]:
    """Return the pixel values to draw as black and as white: percentiles 1 and 99.8 of all planes.

    planes: (Y, X) each, any real dtype. Pixels that are no numbers are left out.
    """
    samples = []
    for plane in planes:
        step = -(-max(plane.shape) // _SAMPLE_SIDE)
        samples.append(np.ascontiguousarray(plane[::step, ::step]).ravel())
    values = np.concatenate(samples)
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    dark, bright = percentiles(values, _DARK, _BRIGHT)
    return dark, bright if bright > dark else float(values.max())


def grey_png(plane: NDArray[Any], contrast: tuple[float, float]) -> bytes:
    """Return a plane as an 8-bit PNG, shrunk by averaging.

    plane: (Y, X), any real dtype or bool. contrast: from `contrast_of`.
    """
    dark, bright = contrast
    factor = np.float32(255 / (bright - dark) if bright > dark else 0)
    grey = np.empty(plane.shape, np.uint8)
    rows = max(1, _BAND_PIXELS // plane.shape[1])
    for top in range(0, len(plane), rows):
        band = plane[top : top + rows].astype(np.float32)
        band -= np.float32(dark)
        band *= factor
        band += np.float32(0.5)  # whole numbers are made by cutting off
        np.nan_to_num(band, copy=False, nan=0, posinf=255, neginf=0)
        np.clip(band, 0, 255, out=band)
        grey[top : top + rows] = band
    size = _shrunk(plane.shape)
    if size != plane.shape:
        picture = Pillow.fromarray(grey)
        grey = np.asarray(picture.resize(size[::-1], Pillow.Resampling.BOX, reducing_gap=2))
    return _png(grey)


def labels_png(labels: NDArray[Any]) -> bytes:
    """Return a label image as an RGB PNG: label = R · 65536 + G · 256 + B, nearest pixel.

    labels: (Y, X) integer, from 0; of labels above 24 bits the lower ones are kept.
    """
    small = resize_labels(labels, _shrunk(labels.shape))
    rgb = small.astype(">u4").view(np.uint8).reshape(*small.shape, 4)[..., 1:]
    return _png(np.ascontiguousarray(rgb))


def _shrunk(shape: tuple[int, ...]) -> tuple[int, int]:
    scale = preview_scale((shape[0], shape[1]))
    return max(round(shape[0] * scale), 1), max(round(shape[1] * scale), 1)


def _png(pixels: NDArray[np.uint8]) -> bytes:
    return bytes(imagecodecs.png_encode(pixels, level=_LEVEL))
