"""TIFF files of every kind that microscopes and their programs write."""

from __future__ import annotations

import logging
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray
from tifffile import PHOTOMETRIC, RESUNIT, TiffFile

from kiosk_tasks.errors import UnreadableImage
from kiosk_tasks.imaging._colour import assemble
from kiosk_tasks.imaging._ome import check_ome
from kiosk_tasks.imaging._pixel_size import from_ome, from_resolution, micrometres
from kiosk_tasks.imaging._tiff_chunks import (
    CODECS,
    STREAMS,
    at_best,
    check_chunk,
    check_stream,
)
from kiosk_tasks.imaging._tiff_scan import scan_tiff
from kiosk_tasks.imaging.image import Image
from kiosk_tasks.imaging.limits import ImageLimits

__all__ = ["TiffImage"]

# What tifffile logs about a damaged file is said, once, by the error that refuses it.
logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)

_COLOUR = (PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR)
_ALPHA = (1, 2)  # ExtraSamples: associated and unassociated
_UNITS = {RESUNIT.INCH: "inch", RESUNIT.CENTIMETER: "cm"}


class TiffImage:
    """The first image of a TIFF file whose headers have been read.

    shape: length of each dimension, px. pixel_bytes: of one pixel of one plane, with its samples.
    mpp: µm per pixel, if it is there and plausible.
    Raises UnreadableImage and ImageTooLarge for headers that are traps.
    """

    def __init__(self, source: Path | BinaryIO, name: str, limits: ImageLimits) -> None:
        """source: a file that is there, or one open for reading, which stays open."""
        self._all_directories = scan_tiff(source, name, limits)
        self._name = name
        self._file = TiffFile(source, _multifile=False)  # never opens a file that a file names
        self._size_bytes = self._file.filehandle.size
        try:
            if self._file.is_ome:
                check_ome(self._file.ome_metadata or "", name, limits)
            if not self._file.series:
                raise UnreadableImage(f"{name} has no image in it; export it again.")
            self._series = self._file.series[0]
            self._page = self._series.keyframe
            self.shape: tuple[int, ...] = tuple(self._series.shape)
            samples = dict(zip(self._series.axes, self.shape, strict=True)).get("S", 1)
            if self._page.dtype is None:
                raise UnreadableImage(f"{name} has pixels of an unknown type; save it as uint16.")
            self._samples = samples
            self.pixel_bytes = samples * self._page.dtype.itemsize
            self.mpp = self._pixel_size()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, if it was opened here."""
        self._file.close()

    @property
    def series(self) -> Any:
        """The TiffPageSeries of the image, at its full resolution."""
        return self._series

    @property
    def alpha(self) -> int:
        """How many samples of a pixel say how opaque it is; they come last."""
        return sum(sample in _ALPHA for sample in self._page.extrasamples)

    def plane_size(self, axes: str | None) -> tuple[int, int]:
        """Return (Y, X), px, by the person's axes where they fit, else by the file's."""
        letters = axes if axes and len(axes) == len(self.shape) else self._series.axes
        size = dict(zip(letters, self.shape, strict=True))
        return size.get("Y", 1), size.get("X", 1)

    def planes(self, axes: str | None) -> int:
        """Return how many planes of `plane_size` there are; samples of colour are no planes."""
        height, width = self.plane_size(axes)
        return -(-prod(self.shape) // (height * width * self._samples))

    @property
    def is_colour(self) -> bool:
        """Whether the samples of a pixel are red, green and blue."""
        return self._page.photometric in _COLOUR

    def check_bytes(self) -> None:
        """Refuse a file that lacks bytes of its pixels, which tifffile may take for zeros.

        Chunks that would decode to more than their part of the image are refused as well.
        """
        self.check_length()
        if self._series.dataoffset is None:
            for page in self._series.pages:
                self.check_page(page)
                self._check_streams(page)

    def check_length(self) -> None:
        """Refuse a file that is too short for its pixels, whatever is in it."""
        codec = self._page.compression
        if codec not in CODECS:
            raise UnreadableImage(
                f"{self._name} is packed with {getattr(codec, 'name', codec)}; "
                "save it with Deflate, LZW or JPEG, or without compression."
            )
        if self._series.nbytes > at_best(codec) * self._size_bytes:
            raise self._cut_short(f"its pixels need more than {self._size_bytes} bytes")
        offset = self._series.dataoffset
        if offset is not None and offset + self._series.nbytes > self._size_bytes:
            raise self._cut_short("its pixels end after the file does")

    def pixels(self) -> NDArray[Any]:
        """Decode; shape as `shape`, dtype as in the file, dark is low."""
        return self.upright(self._series.asarray(maxworkers=1))

    def upright(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Return pixels with dark being low; raises UnreadableImage for colours of inks."""
        if self._page.photometric == PHOTOMETRIC.SEPARATED:
            raise UnreadableImage(f"{self._name} has CMYK colours; save it as RGB or grey.")
        if self._page.photometric == PHOTOMETRIC.MINISWHITE and pixels.dtype.kind == "u":
            return np.iinfo(pixels.dtype).max - pixels  # a mask of one bit stays as it is
        return pixels

    def image(self, pixels: NDArray[Any], axes: str | None) -> Image:
        """Name the axes of decoded pixels; alpha is dropped."""
        found = self._series.axes
        colour = self.is_colour
        samples = found.find("S")
        if samples >= 0 and self.alpha:
            kept = range(pixels.shape[samples] - self.alpha)
            pixels = pixels.take(kept, axis=samples)
        if samples >= 0 and colour and pixels.shape[samples] > 3:
            pixels = pixels.take(range(3), axis=samples)
        return assemble(pixels, found, axes, colour=colour)

    def check_page(self, page: Any) -> None:
        """Refuse a page (tifffile's; None is one that is missing) that lacks strips or tiles."""
        if page is None:
            raise self._cut_short("some of the planes it lists are not in it")
        offsets, counts = page.dataoffsets, page.databytecounts
        wanted = prod(page.chunked)
        present = sum(
            1
            for offset, count in zip(offsets, counts, strict=False)
            if offset and count and offset + count <= self._size_bytes
        )
        if present < wanted:
            raise self._cut_short(f"{present} of {wanted} pieces are there")
        keyframe = page.keyframe
        size_bytes = keyframe.size * keyframe.bitspersample // 8
        if sum(counts) < size_bytes / (
            1 if keyframe.compression == 1 else at_best(keyframe.compression)
        ):
            height, width = self.plane_size(None)
            raise self._cut_short(f"{height} × {width} px need more than {sum(counts)} bytes")
        if fact := check_chunk(page):
            raise self._cut_short(fact)

    def check_stream(self, keyframe: Any, stream: Callable[[], bytes]) -> None:
        """Refuse a strip or tile that claims to be larger than it is; see `_tiff_chunks`."""
        if fact := check_stream(keyframe, stream):
            raise self._cut_short(fact)

    def _check_streams(self, page: Any) -> None:
        if page.keyframe.compression not in STREAMS:
            return
        file = self._file.filehandle
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False):
            if count:
                file.seek(offset)
                self.check_stream(page.keyframe, partial(file.read, count))

    def _cut_short(self, fact: str) -> UnreadableImage:
        return UnreadableImage(
            f"{self._name} is damaged or cut short: {fact}; export or upload it again."
        )

    def _pixel_size(self) -> float | None:
        file, tags = self._file, self._page.tags
        if file.is_ome:
            return from_ome(file.ome_metadata or "")
        numerator, denominator = tags.valueof("XResolution", default=(0, 0))
        if not numerator or not denominator:
            return None
        density = Fraction(int(numerator), int(denominator))
        unit = (file.imagej_metadata or {}).get("unit")
        if unit is not None and str(unit).lower() not in ("inch", "cm"):
            return micrometres(float(1 / density), str(unit))
        return from_resolution(density, _UNITS.get(tags.valueof("ResolutionUnit"), ""))
