"""Which files can be read region by region, by their headers; and reading a small one whole.

What reads TIFF and OME-Zarr is imported where it is used: a worker that waits stays small.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from kiosk_tasks.imaging.image import Image
from kiosk_tasks.imaging.io import TIFF_STARTS, refusing_damage
from kiosk_tasks.imaging.limits import ImageLimits, check_file_bytes
from kiosk_tasks.imaging.regions.values import Files, RegionImage, RegionReader
from kiosk_tasks.imaging.zarr_names import is_zarr_input

__all__ = ["look_at", "open_regions", "read_whole"]


def look_at(
    files: Files,
    key: str,
    *,
    name: str,
    axes: str | None = None,
    mpp: float | None = None,
    limits: ImageLimits,
) -> RegionImage | None:
    """Return what is known of an image that can be read region by region; None for others.

    key: of a file, or of the folder of an OME-Zarr. Its headers are read, and no pixels.
    axes, mpp: in place of what the file says.
    limits: of `max_bytes`, the file's bytes are held to it and its decoded pixels are not.
    Raises what `io.read` raises for headers that are traps, MissingObject, and the bucket's errors.
    """
    with refusing_damage(name):
        if is_zarr_input(key, name):
            from kiosk_tasks.imaging.regions.zarr import look_at_zarr

            image: RegionImage | None = look_at_zarr(
                files, key, name=name, axes=axes, limits=limits
            )
        else:
            check_file_bytes(name, files.size(key), max_bytes=limits.max_bytes)
            if not files.read_range(key, 0, 4).startswith(TIFF_STARTS):
                return None
            from kiosk_tasks.imaging.regions.tiff import look_at_tiff

            image = look_at_tiff(files, key, name=name, axes=axes, limits=limits)
    if image is None or mpp is None:
        return image
    return replace(image, mpp=mpp)


@contextmanager
def open_regions(image: RegionImage, files: Files) -> Iterator[RegionReader]:
    """Open an image that was looked at, here or in another process.

    Raises UnreadableImage, MissingObject, and the bucket's errors.
    """
    with refusing_damage(image.name):
        if is_zarr_input(image.key, image.name):
            from kiosk_tasks.imaging.regions.zarr import open_zarr

            opened = open_zarr(image, files)
        else:
            from kiosk_tasks.imaging.regions.tiff import open_tiff

            opened = open_tiff(image, files)
    with opened as reader:
        yield reader


def read_whole(image: RegionImage, files: Files) -> Image:
    """Read all channels of an image; it has to fit into memory."""
    data = np.empty((image.channels, *image.size), image.dtype)
    with open_regions(image, files) as reader:
        for channel in range(image.channels):
            data[channel] = reader.read(slice(None), slice(None), channel=channel)
    return Image(data.reshape(image.shape), image.axes, image.mpp)
