"""Image files in memory, to be read."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from tifffile import imwrite

from kiosk_tasks.imaging.image import Image
from kiosk_tasks.imaging.io import read

RNG = np.random.default_rng(7)
PLANE = RNG.integers(0, 4000, (48, 64)).astype(np.uint16)
COLOUR = RNG.integers(0, 255, (48, 64, 3)).astype(np.uint8)


def tiff(array: NDArray[Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    imwrite(buffer, array, **options)
    return buffer.getvalue()


def png(array: NDArray[Any]) -> bytes:
    return bytes(imagecodecs.png_encode(array))


def jpeg(array: NDArray[Any], **options: Any) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(array, **options))


def save(tmp_path: Path, content: bytes, name: str = "cells.tif") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def load(tmp_path: Path, content: bytes, **options: Any) -> Image:
    return read(save(tmp_path, content), name="cells.tif", **options)
