"""Images as files that another job reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tifffile import imwrite

from kiosk_tasks.imaging.image import Image

__all__ = ["write_image"]


def write_image(path: Path, image: Image) -> None:
    """Write an image as TIFF, uncompressed, with the dtype it has (bool as uint8).

    The file does not tell axes and pixel size: give `read` the image's own.
    """
    pixels = image.data.astype(np.uint8) if image.data.dtype == np.bool_ else image.data
    imwrite(path, np.ascontiguousarray(pixels), photometric="minisblack", metadata=None)
