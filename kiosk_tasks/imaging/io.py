"""The one place where image files become arrays, and label images become files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np

from kiosk_tasks.errors import KioskError, OutOfMemory, UnreadableImage
from kiosk_tasks.imaging._raster import RasterFile
from kiosk_tasks.imaging._tiff import TiffImage
from kiosk_tasks.imaging._tiff_write import write_labels
from kiosk_tasks.imaging.image import Image
from kiosk_tasks.imaging.limits import ImageLimits, check_file_bytes

__all__ = ["check_size", "is_image_file", "is_tiff", "read", "refusing_damage", "write_labels"]

TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_OTHERS = {
    b"ZISRAWFILE": "a Zeiss CZI file",
    b"\xda\xce\xbe\x0a": "a Nikon ND2 file",
    b"\x6a\x50\x20\x20": "a Nikon ND2 file",
    b"\x89HDF": "an HDF5 file",
    b"\x70\x00\x00\x00": "a Leica LIF file",
    b"PK\x03\x04": "a zip archive",
    b"%PDF": "a PDF document",
    b"GIF8": "a GIF image",
    b"BM": "a BMP image",
    b"RIFF": "a WebP, AVI or WAV file",
    b"\x93NUMPY": "a NumPy array",
}
"""How other files start that people send; saying what it is helps more than "not an image"."""

DEFAULT_LIMITS = ImageLimits()


def read(
    source: Path | bytes,
    *,
    name: str,
    axes: str | None = None,
    mpp: float | None = None,
    limits: ImageLimits = DEFAULT_LIMITS,
) -> Image:
    """Read a TIFF (OME, ImageJ, tiled, BigTIFF, …), PNG or JPEG file, judged by its content.

    source: a file, or all the bytes of one.
    name: what the person calls the file; it is in every message.
    axes: one letter for each dimension, in place of what the file says.
    mpp: micrometres per pixel, in place of what the file says.
    limits: checked against the headers, before anything is decoded.
    Returns the first image of the file: native byte order, C-contiguous, any real dtype or bool.
    Samples of colour are axis C; alpha is dropped, and colour that is grey everywhere has no C.

    Raises UnreadableImage (not an image, damaged, cut short), FileTooLarge, ImageTooLarge,
    InvalidAxes (the file does not say what its axes are, or `axes` does not fit), OutOfMemory.
    """
    size_bytes = len(source) if isinstance(source, bytes) else source.stat().st_size
    check_file_bytes(name, size_bytes, max_bytes=limits.max_bytes)
    with refusing_damage(name), _open(source, name, limits) as file:
        check_size(file, axes, name, limits)
        pixels = file.pixels()
        if np.issubdtype(pixels.dtype, np.complexfloating):
            raise UnreadableImage(
                f"{name} has complex numbers as pixels; send their magnitude instead."
            )
        image = file.image(pixels, axes)
        native = np.ascontiguousarray(image.data, image.data.dtype.newbyteorder("="))
        return replace(image, data=native, mpp=file.mpp if mpp is None else mpp)


def is_image_file(path: Path) -> bool:
    """Tell by its first bytes whether a file is of a kind that `read` takes."""
    with path.open("rb") as file:
        return file.read(8).startswith((*TIFF_STARTS, _PNG, _JPEG))


def is_tiff(path: Path) -> bool:
    """Tell by its first bytes whether a file is a TIFF, OME and BigTIFF among them."""
    with path.open("rb") as file:
        return file.read(4) in TIFF_STARTS


def _open(source: Path | bytes, name: str, limits: ImageLimits) -> TiffImage | RasterFile:
    if isinstance(source, bytes):
        start = source[:16]
    else:
        with source.open("rb") as file:
            start = file.read(16)
    if not start:
        raise UnreadableImage(f"{name} is empty (0 bytes); upload it again.")
    if start.startswith(TIFF_STARTS):
        tiff = BytesIO(source) if isinstance(source, bytes) else source
        return TiffImage(tiff, name, limits)
    if start.startswith((_PNG, _JPEG)):
        return RasterFile(source, name)
    kind = next((kind for magic, kind in _OTHERS.items() if start.startswith(magic)), None)
    fact = f"it is {kind}" if kind else "its first bytes are those of no image"
    raise UnreadableImage(
        f"{name} is not an image this job can read: {fact}; send TIFF, PNG or JPEG."
    )


def check_size(
    file: TiffImage | RasterFile, axes: str | None, name: str, limits: ImageLimits
) -> None:
    """Refuse what is empty, too large, or larger than its bytes can hold, before decoding."""
    if 0 in file.shape:
        shape = " × ".join(map(str, file.shape))
        raise UnreadableImage(f"{name} has no pixels ({shape}); export it again.")
    planes = file.planes(axes)
    limits.check(name, file.plane_size(axes), planes=planes, pixel_bytes=file.pixel_bytes)
    file.check_bytes()


@contextmanager
def refusing_damage(name: str) -> Iterator[None]:
    """Turn whatever a decoder raises over damaged bytes into one sentence."""
    try:
        yield
    except (KioskError, FileNotFoundError):
        raise
    except MemoryError as exc:
        raise OutOfMemory(
            f"{name} needs more memory than this worker has. Split the image."
        ) from exc
    except Exception as exc:  # decoders raise anything: struct.error, IndexError, codec errors
        raise UnreadableImage(
            f"{name} is not an image this job can read: it is damaged or cut short "
            f"({_first_line(exc)}); export it again and send TIFF, PNG or JPEG."
        ) from exc


def _first_line(exc: Exception) -> str:
    lines = str(exc).strip().splitlines()
    return lines[0][:120] if lines else type(exc).__name__
