"""PNG and JPEG files: their headers, then their pixels."""

from __future__ import annotations

import struct
from contextlib import AbstractContextManager
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import imagecodecs
from numpy.typing import NDArray

from kiosk_tasks.errors import UnreadableImage
from kiosk_tasks.imaging._colour import assemble
from kiosk_tasks.imaging._jpeg import jpeg_frame, jpeg_segments
from kiosk_tasks.imaging._pixel_size import from_resolution
from kiosk_tasks.imaging.image import Image

__all__ = ["RasterFile"]

_PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PNG_START = b"\0\0\0\rIHDR"
_PNG_DEPTHS = (1, 2, 4, 8, 16)
_DEFLATE_AT_BEST = 1100  # bytes from one
_JPEG_AT_BEST = 600  # pixels from one byte: a block of 64 takes a bit at least
_JPEG_UNITS = {1: "inch", 2: "cm"}
_MOST_CHUNKS = 50_000  # before the pixels
_METADATA_BYTES = 2**26


class RasterFile(AbstractContextManager["RasterFile"]):
    """A PNG or JPEG file whose header has been read.

    shape: (Y, X), px. pixel_bytes: of one pixel. mpp: µm per pixel, if a plausible one is there.
    samples: of a pixel: colours and opacity. bits: of a sample, 8 or 16 once decoded.
    """

    def __init__(self, source: Path | bytes, name: str) -> None:
        """source: a file, or all the bytes of one."""
        self._bytes: mmap | bytes
        if isinstance(source, bytes):
            self._bytes = source
        else:
            with source.open("rb") as file:
                self._bytes = mmap(file.fileno(), 0, access=ACCESS_READ)
        self._name = name
        self._is_png = self._bytes[:4] == b"\x89PNG"
        self.mpp: float | None = None
        self.pixel_bytes = 1
        self.shape: tuple[int, int] = self._read_png() if self._is_png else self._read_jpeg()

    def __exit__(self, *error: object) -> None:
        if isinstance(self._bytes, mmap):
            self._bytes.close()

    def planes(self, axes: str | None) -> int:  # noqa: ARG002  as TiffImage has it
        """Return how many planes there are."""
        return 1

    def plane_size(self, axes: str | None) -> tuple[int, int]:  # noqa: ARG002  as TiffImage has it
        """Return (Y, X), px."""
        return self.shape

    def check_bytes(self) -> None:
        """Refuse a header that claims more pixels than the bytes can hold, or far fewer."""
        if len(self._bytes) > 16 * self.shape[0] * self.shape[1] + _METADATA_BYTES:
            raise UnreadableImage(
                f"{self._name} has {len(self._bytes)} bytes, far more than its {self.shape[0]} × "
                f"{self.shape[1]} px need; export it again."
            )
        if self._pixels_at_most < self.shape[0] * self.shape[1]:
            raise UnreadableImage(
                f"{self._name} claims {self.shape[0]} × {self.shape[1]} px, but has only "
                f"{len(self._bytes)} bytes: it is damaged or cut short; export it again."
            )
        if not self._is_png and self._bytes.find(b"\xff\xd9", self._scan) < 0:
            raise UnreadableImage(f"{self._name} is cut short; export it again.")

    def pixels(self) -> NDArray[Any]:
        """Decode; (Y, X) or (Y, X, samples), uint8 or uint16."""
        decode = imagecodecs.png_decode if self._is_png else imagecodecs.jpeg8_decode
        pixels: NDArray[Any] = decode(self._bytes)
        if not self._is_png and pixels.ndim == 3 and pixels.shape[2] == 4:
            raise UnreadableImage(f"{self._name} has CMYK colours; save it as RGB or grey.")
        return pixels

    def image(self, pixels: NDArray[Any], axes: str | None) -> Image:
        """Name the axes of decoded pixels."""
        count = pixels.shape[2] if pixels.ndim == 3 else 1
        without_alpha = pixels[..., 0] if count == 2 else pixels[..., :3] if count > 2 else pixels
        return assemble(without_alpha, "YXS"[: without_alpha.ndim], axes, colour=True)

    def _read_png(self) -> tuple[int, int]:
        width, height, depth, colour = struct.unpack_from(">IIBB", self._bytes, 16)
        if (
            self._bytes[8:16] != _PNG_START
            or colour not in _PNG_SAMPLES
            or depth not in _PNG_DEPTHS
        ):
            raise ValueError("its header names no kind of pixel")
        bits = depth * _PNG_SAMPLES[colour]
        self.samples = 3 if colour == 3 else _PNG_SAMPLES[colour]
        self.bits = max(depth, 8)
        self.pixel_bytes = max(bits // 8, 3 if colour == 3 else 1)
        self._pixels_at_most = len(self._bytes) * _DEFLATE_AT_BEST * 8 // bits
        position = 8
        for _ in range(_MOST_CHUNKS):
            if position + 8 > len(self._bytes):
                break
            length, kind = struct.unpack_from(">I4s", self._bytes, position)
            if kind == b"pHYs":
                per_unit, _, unit = struct.unpack_from(">IIB", self._bytes, position + 8)
                self.mpp = from_resolution(per_unit, "m") if unit == 1 else None
            if kind in (b"pHYs", b"IDAT"):  # pHYs comes first, if there is one
                break
            position += 12 + length
        return height, width

    def _read_jpeg(self) -> tuple[int, int]:
        frame = jpeg_frame(self._bytes)
        self._pixels_at_most = len(self._bytes) * _JPEG_AT_BEST
        self._scan = frame.scan
        self.pixel_bytes = frame.samples
        self.samples, self.bits = frame.samples, 8
        for marker, position in jpeg_segments(self._bytes):
            if marker == 0xE0 and self._bytes[position : position + 5] == b"JFIF\0":
                unit, per_unit = struct.unpack_from(">BH", self._bytes, position + 7)
                self.mpp = from_resolution(per_unit, _JPEG_UNITS.get(unit, ""))
        return frame.shape
