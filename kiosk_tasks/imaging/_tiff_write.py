"""Label images, and a model's raw outputs, as OME-TIFF."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import product
from typing import Any
from xml.sax.saxutils import quoteattr

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from tifffile import TiffFile, imwrite

from kiosk_tasks.imaging.labels import LabelImage, Labels

__all__ = ["ome_xml", "write_labels", "write_planes"]

_LARGE = 2048  # px; from this side on the file is tiled, so that viewers read parts of it
_TILE = (512, 512)
_STRIP_BYTES = 2**18  # of a smaller file, unpacked
_LEVEL = 5  # of zlib-ng: a tenth larger than libdeflate's 6, half the time


def write_labels(labels: LabelImage) -> bytes:
    """Encode a label image as OME-TIFF: int32, deflate, with axes and pixel size.

    Equal label images give equal bytes: there is no date, no UUID and no program version in them.
    `read` gives the same labels, axes and pixel size back.
    """
    pixels = labels.data
    if pixels.ndim == 2 and max(pixels.shape) < _LARGE and 0 < pixels.nbytes <= _STRIP_BYTES:
        return _encode_small(pixels, labels.mpp)
    return _encode(pixels, labels.mpp, _labels_xml(labels), quick=True)


def write_planes(planes: Mapping[str, NDArray[Any]], mpp: float | None) -> bytes:
    """Encode planes as one OME-TIFF of axes "CYX": float32, deflate, a named channel each.

    planes: by name, (Y, X, K) each, of one size; K above 1 gives the channels `name 0`, `name 1`, …
    mpp: micrometres per pixel; None where nobody knows.
    Equal planes give equal bytes.
    """
    names = [
        f"{name} {index}" if plane.shape[-1] > 1 else name
        for name, plane in planes.items()
        for index in range(plane.shape[-1])
    ]
    stacked = np.concatenate([np.moveaxis(plane, -1, 0) for plane in planes.values()])
    pixels = np.ascontiguousarray(stacked, np.float32)
    channels = "".join(
        f'<Channel ID="Channel:0:{index}" Name={quoteattr(name)} SamplesPerPixel="1"/>'
        for index, name in enumerate(names)
    )
    sizes = {"X": pixels.shape[2], "Y": pixels.shape[1], "C": len(names), "Z": 1, "T": 1}
    return _encode(pixels, mpp, ome_xml("heads", "float", sizes, mpp, channels))


def _encode_small(pixels: Labels, mpp: float | None) -> bytes:
    """Encode labels of one strip: what is before it is the same for all of one size."""
    head, at = _before_the_strip(pixels.shape, mpp)
    (strip,) = _segments(pixels, len(pixels))
    return head[:at] + struct.pack("<I", len(strip)) + head[at + 4 :] + strip


@lru_cache(maxsize=256)
def _before_the_strip(shape: tuple[int, int], mpp: float | None) -> tuple[bytes, int]:
    """Return the bytes before the one strip of labels, and where among them its length is."""
    blank = LabelImage(np.zeros(shape, np.int32), mpp)
    encoded = _encode(blank.data, mpp, _labels_xml(blank), quick=True)
    with TiffFile(io.BytesIO(encoded)) as file:
        page: Any = file.pages.first
        return encoded[: page.dataoffsets[0]], page.tags["StripByteCounts"].valueoffset


def _encode(
    pixels: NDArray[Any], mpp: float | None, description: str, *, quick: bool = False
) -> bytes:
    """quick: for labels, which pack well anyhow."""
    buffer = io.BytesIO()
    large = max(pixels.shape[-2:]) >= _LARGE
    density = None if mpp is None else (1e4 / mpp, 1e4 / mpp)
    rows = max(_STRIP_BYTES // (pixels.shape[-1] * pixels.itemsize), 1)
    imwrite(
        buffer,
        _segments(pixels, None if large else rows) if quick else pixels,
        shape=pixels.shape,
        dtype=pixels.dtype,
        photometric="minisblack",
        compression="zlib",
        tile=_TILE if large else None,
        rowsperstrip=None if large else rows,
        description=description.encode(),
        metadata=None,
        software="kiosk-tasks",
        resolution=density,
        resolutionunit=None if density is None else "CENTIMETER",
    )
    return buffer.getvalue()


def _segments(pixels: NDArray[Any], rows: int | None) -> Iterator[bytes]:
    """Yield the packed tiles or strips of all planes. rows: of a strip, px; None for tiles."""
    encode: Any = imagecodecs.zlibng_encode
    height, width = pixels.shape[-2:]
    down, across = _TILE if rows is None else (rows, width)
    for plane in pixels.reshape(-1, height, width):
        for y, x in product(range(0, height, down), range(0, width, across)):
            part = plane[y : y + down, x : x + across]
            if rows is None and part.shape != _TILE:
                part = np.pad(part, [(0, t - n) for t, n in zip(_TILE, part.shape, strict=True)])
            yield bytes(encode(np.ascontiguousarray(part), level=_LEVEL))


def _labels_xml(labels: LabelImage) -> str:
    height, width = labels.data.shape[-2:]
    frames = labels.data.shape[0] if labels.axes == "TYX" else 1
    sizes = {"X": width, "Y": height, "C": 1, "Z": 1, "T": frames}
    channel = '<Channel ID="Channel:0:0" SamplesPerPixel="1"/>'
    return ome_xml("labels", "int32", sizes, labels.mpp, channel)


def ome_xml(
    name: str, dtype: str, sizes: Mapping[str, int], mpp: float | None, channels: str
) -> str:
    """Return the description of an image whose planes follow each other in a file.

    dtype: OME's name of it. sizes: by axis. channels: an element for each.
    """
    physical = ""
    if mpp is not None:
        size = f"{mpp:.9g}"
        physical = "".join(
            f' PhysicalSize{axis}="{size}" PhysicalSize{axis}Unit="µm"' for axis in "XY"
        )
    lengths = " ".join(f'Size{axis}="{length}"' for axis, length in sizes.items())
    planes = sizes["C"] * sizes["Z"] * sizes["T"]
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        'xsi:schemaLocation="http://www.openmicroscopy.org/Schemas/OME/2016-06 '
        'http://www.openmicroscopy.org/Schemas/OME/2016-06/ome.xsd" Creator="kiosk-tasks">'
        f'<Image ID="Image:0" Name="{name}">'
        f'<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="{dtype}" {lengths}{physical}>'
        f"{channels}"
        f'<TiffData IFD="0" PlaneCount="{planes}"/>'
        "</Pixels></Image></OME>"
    )
