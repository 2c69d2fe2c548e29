"""What the header of an image file says, for a form that is filled in before the file is sent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kiosk_tasks.errors import KioskError
from kiosk_tasks.imaging import io
from kiosk_tasks.imaging._movie_axes import file_letters
from kiosk_tasks.imaging._raster import RasterFile
from kiosk_tasks.imaging._tiff_movie import TiffMovie
from kiosk_tasks.imaging.image import AXES
from kiosk_tasks.imaging.limits import ImageLimits

__all__ = ["Header", "read_header"]


@dataclass(frozen=True)
class Header:
    """None is what the file does not say. mpp: µm per pixel."""

    axes: str | None = None
    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    mpp: float | None = None


def read_header(path: Path, *, name: str, limits: ImageLimits, whole: bool = True) -> Header:
    """Read the header of a TIFF, PNG or JPEG file; whatever is wrong with it, no error is raised.

    whole: the file is there to its end; else the number of its pages cannot be counted, and
        lengths are known where the file's metadata has them.
    """
    try:
        with io.refusing_damage(name):
            if io.is_tiff(path):
                with TiffMovie(path, name, limits) as file:
                    return _of_tiff(file, whole=whole)
            if io.is_image_file(path):
                with RasterFile(path, name) as picture:
                    return _of_picture(picture)
    except KioskError:
        return Header()
    return Header()


def _of_tiff(file: TiffMovie, *, whole: bool) -> Header:
    dtype = file.dtype.name
    if not whole and not file.tells_its_shape:
        return Header(dtype=dtype, mpp=file.mpp)
    letters = file_letters(file.axes, file.shape, None)
    kept = [i for i, letter in enumerate(letters) if letter in AXES or file.shape[i] > 1]
    axes = "".join(letters[i] for i in kept)
    known = set(axes) <= set(AXES) and len(set(axes)) == len(axes)
    shape = tuple(file.shape[i] for i in kept)
    return Header(axes if known else None, shape, dtype, file.mpp)


def _of_picture(picture: RasterFile) -> Header:
    samples = picture.samples
    shape = picture.shape if samples == 1 else (*picture.shape, samples)
    return Header("YXC"[: len(shape)], shape, f"uint{picture.bits}", picture.mpp)
