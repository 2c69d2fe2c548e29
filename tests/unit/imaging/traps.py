"""Image files that claim far more than they hold, or that never end."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np

from tests.unit.imaging.files import COLOUR, jpeg, png, tiff

LONG, BYTES = 4, 1
Tags = dict[int, int | bytes]


def tiff_of(*directories: Tags, data: bytes = b"", then: int = 0) -> bytes:
    """Return a TIFF file: header, `data` from byte 8 on, then the directories in a chain.

    then: where the last directory says that the next one is.
    """
    content = bytearray(b"II*\0" + struct.pack("<I", 8 + len(data)) + data)
    for number, tags in enumerate(directories):
        size = 2 + 12 * len(tags) + 4
        after = len(content) + size + sum(len(v) for v in tags.values() if isinstance(v, bytes))
        entries, values = b"", b""
        for code, value in sorted(tags.items()):
            if isinstance(value, bytes):
                place = len(content) + size + len(values)
                entries += struct.pack("<HHII", code, 2 if code == 270 else 1, len(value), place)
                values += value
            else:
                entries += struct.pack("<HHII", code, LONG, 1, value & 0xFFFFFFFF)
        last = number == len(directories) - 1
        content += struct.pack("<H", len(tags)) + entries
        content += struct.pack("<I", then if last else after) + values
    return bytes(content)


def plane(height: int, width: int, codec: int = 1, data: bytes = b"", **more: Any) -> bytes:
    """Return a TIFF file of one grey plane of 8 bits in one strip."""
    return tiff_of({**grey(height, width, codec, len(data)), **more.get("tags", {})}, data=data)


def grey(height: int, width: int, codec: int = 1, size: int = 0) -> Tags:
    strip: Tags = {273: 8, 277: 1, 278: height, 279: size}
    return {256: width, 257: height, 258: 8, 259: codec, 262: 1, **strip}


def tiled(side: int, codec: int, data: bytes) -> bytes:
    tags = grey(10, 10, codec)
    for code in (273, 278, 279):
        del tags[code]
    return tiff_of({**tags, 322: side, 323: side, 324: 8, 325: len(data)}, data=data)


def ome(attributes: str = "", inside: str = "", before: str = "", after: str = "") -> bytes:
    sizes = {"SizeX": 10, "SizeY": 10, "SizeZ": 1, "SizeC": 1, "SizeT": 1}
    given = " ".join(f'{k}="{v}"' for k, v in sizes.items() if f"{k}=" not in attributes)
    xml = (
        f'{before}<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="I">'
        f'<Pixels ID="P" DimensionOrder="XYCZT" Type="uint8" {given} {attributes}>'
        f"{inside or '<TiffData/>'}</Pixels></Image>{after}</OME>"
    )
    return plane(10, 10, data=bytes(100), tags={270: xml.encode() + b"\0"})


def million_directories(count: int = 10**6) -> bytes:
    """Return a chain of that many directories, each with the width only."""
    size = 2 + 12 + 4
    parts = [b"II*\0" + struct.pack("<I", 8)]
    parts += [
        struct.pack("<HHHIII", 1, 256, LONG, 1, 10, 8 + size * (number + 1))
        for number in range(count)
    ]
    return b"".join(parts)


def zstd(content: bytes) -> bytes:
    return bytes(imagecodecs.zstd_encode(content))


def png_of(*chunks: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks
    )


def ihdr(width: int, height: int) -> bytes:
    return b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)


def jpeg_claiming(height: int, width: int) -> bytes:
    content = bytearray(jpeg(COLOUR))
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(content)


def jpeg_of_two_minds(hidden: bytes) -> bytes:
    """Return a JPEG with a frame that only those see who skip `hidden` by a length."""
    content = jpeg_claiming(60_000, 60_000)
    sound = jpeg(COLOUR)
    start = sound.index(b"\xff\xc0")
    return content[:start] + hidden + content[start : start + 19] + bytes(65_451) + sound[start:]


def jpeg2000_claiming(side: int) -> bytes:
    content = bytearray(imagecodecs.jpeg2k_encode(COLOUR[..., 0].copy(), level=0))
    at = content.index(b"\xff\x4f\xff\x51") + 8
    content[at : at + 8] = struct.pack(">II", side, side)
    return bytes(content)


def jpeg_of_many_scans() -> bytes:
    content = jpeg(COLOUR)
    start = content.index(b"\xff\xda")
    return content[:start] + content[start:-2] * 500 + content[-2:]


ZEROS = bytes(2**26)
DEEP = "<a>" * 200_000 + "</a>" * 200_000
LAUGHS = (
    "<!DOCTYPE lolz [<!ENTITY a '"
    + "ha" * 20
    + "'>"
    + "".join(f"<!ENTITY {chr(98 + n)} '{f'&{chr(97 + n)};' * 10}'>" for n in range(9))
    + "]>"
)
MODULO = (
    '<StructuredAnnotations><XMLAnnotation ID="A" Namespace="openmicroscopy.org/omero/dimension/'
    'modulo"><Value><Modulo><ModuloAlongT Type="lifetime" Start="0" End="1e12" Step="1"/></Modulo>'
    "</Value></XMLAnnotation></StructuredAnnotations>"
)

TRAPS: dict[str, Callable[[], bytes]] = {
    "claims 100000 squared": lambda: plane(100_000, 100_000, data=b"x" * 200),
    "claims it, deflate": lambda: plane(100_000, 100_000, 8, b"x" * 200),
    "claims it, zstd": lambda: plane(100_000, 100_000, 50000, b"x" * 200),
    "claims 8000 squared": lambda: plane(8000, 8000, 8, b"x" * 200),
    "negative size": lambda: plane(-5, 10, data=bytes(50)),
    "no size": lambda: plane(0, 10, data=bytes(50)),
    "65535 samples": lambda: plane(8000, 8000, 50000, b"x" * 9000, tags={277: 65535}),
    "tile of a gigapixel": lambda: tiled(2**15, 50000, zstd(ZEROS)),
    "jpeg strip claims more": lambda: plane(48, 64, 7, jpeg_claiming(60_000, 60_000)),
    "jpeg 2000 strip claims more": lambda: plane(48, 64, 34712, jpeg2000_claiming(60_000)),
    "webp strip": lambda: plane(48, 64, 50001, b"RIFF" + bytes(100)),
    "directory points at itself": lambda: tiff_of(
        grey(10, 10, size=100), data=bytes(100), then=108
    ),
    "two in a circle": lambda: tiff_of(
        grey(10, 10, size=100), grey(10, 10, size=100), data=bytes(100), then=108
    ),
    "directory inside itself": lambda: tiff_of(
        {**grey(10, 10, size=100), 330: 108}, data=bytes(100)
    ),
    "a million directories": million_directories,
    "tag of 4 GB": lambda: plane(10, 10, data=bytes(100)).replace(
        struct.pack("<HHI", 258, 4, 1), struct.pack("<HHI", 258, 4, 2**30)
    ),
    "shared values": lambda: tiff_of(
        *[{**grey(10, 10, size=100), 700: bytes(4000)}] * 40, data=bytes(100)
    ).replace(struct.pack("<HHI", 700, 1, 4000), struct.pack("<HHI", 700, 1, 90_000)),
    "shaped of a billion planes": lambda: plane(
        10, 10, data=bytes(100), tags={270: b'{"shape": [1000000000, 10, 10]}\0'}
    ),
    "ome of a billion frames": lambda: ome('SizeT="1000000000"'),
    "ome of 4 billion pixels": lambda: ome('SizeX="2000000000" SizeY="2000000000"'),
    "ome of negative size": lambda: ome('SizeT="-3"'),
    "ome of size zero": lambda: ome('SizeZ="0"'),
    "ome of a word as size": lambda: ome('SizeC="many"'),
    "ome of a million digits": lambda: ome(f'SizeC="{"9" * 1_000_000}"'),
    "ome of a billion planes": lambda: ome(inside='<TiffData IFD="0" PlaneCount="1000000000"/>'),
    "ome far away": lambda: ome(inside='<TiffData IFD="1000000000" PlaneCount="1"/>'),
    "ome no samples": lambda: ome(inside='<Channel SamplesPerPixel="0"/><TiffData/>'),
    "ome of entities": lambda: ome(before=LAUGHS, after="<b>&j;</b>"),
    "ome modulo": lambda: ome(after=MODULO),
    "ome deep": lambda: ome(after=DEEP),
    "ome long": lambda: ome(after="<a/>" * 1_000_000),
    "ome longer": lambda: ome(after=" " * (2**24 + 1)),
    "png claims 100000 squared": lambda: png_of(
        ihdr(100_000, 100_000), b"IDAT" + zlib.compress(bytes(100)), b"IEND"
    ),
    "png claims 2^31": lambda: png_of(ihdr(2**31, 2**31), b"IDAT" + zlib.compress(b"\0"), b"IEND"),
    "png of a million chunks": lambda: png_of(ihdr(9, 9)) + png_of(b"aaAa")[8:] * 10**6,
    "png of many bytes": lambda: png(COLOUR) + bytes(2**26 + 10**6),
    "jpeg claims 65500 squared": lambda: jpeg_claiming(65_500, 65_500),
    "jpeg claims 8000 squared": lambda: jpeg_claiming(8000, 8000),
    "jpeg of two minds": lambda: jpeg_of_two_minds(b"\xff\xd0"),
    "jpeg segment of no length": lambda: jpeg_of_two_minds(b"\xff\xe1\0\0"),
    "jpeg 2000 of two minds": lambda: plane(
        48, 64, 34712, jpeg2000_claiming(50)[:60] + jpeg2000_claiming(60_000)
    ),
    "png header later": lambda: png_of(
        b"prVt" + ihdr(9, 9)[4:], ihdr(60_000, 60_000), b"IDAT" + zlib.compress(bytes(99)), b"IEND"
    ),
    "jpeg of padding": lambda: b"\xff\xd8" + b"\xff" * 2**25,
    "jpeg of many scans": jpeg_of_many_scans,
}
"""Each is refused."""

BOMBS: dict[str, Callable[[], bytes]] = {
    "imagej of a billion images": lambda: plane(
        10,
        10,
        data=bytes(100),
        tags={270: b"ImageJ=1.53\nimages=1000000000\nslices=1000000000\n\0"},
    ),
    "zlib strip": lambda: plane(10, 10, 8, zlib.compress(ZEROS, 9)),
    "lzw strip": lambda: plane(10, 10, 5, bytes(imagecodecs.lzw_encode(ZEROS))),
    "zstd strip": lambda: plane(10, 10, 50000, zstd(ZEROS)),
    "lzma strip": lambda: plane(10, 10, 34925, bytes(imagecodecs.lzma_encode(ZEROS))),
    "packbits strip": lambda: plane(10, 10, 32773, b"\x81\0" * 2**20),
    "png data": lambda: png_of(ihdr(9, 9), b"IDAT" + zlib.compress(ZEROS), b"IEND"),
    "png text": lambda: png_of(
        ihdr(9, 9), b"zTXtk\0\0" + zlib.compress(ZEROS), b"IDAT" + zlib.compress(bytes(90)), b"IEND"
    ),
    "png profile": lambda: png_of(
        ihdr(9, 9), b"iCCPk\0\0" + zlib.compress(ZEROS), b"IDAT" + zlib.compress(bytes(90)), b"IEND"
    ),
}
"""Each claims or unpacks to too much: it is refused, or read as far as it is sound."""


def sound() -> dict[str, bytes]:
    """Return small images that are what they say, for what must not be refused."""
    stack = np.zeros((5, 10, 10), np.uint8)
    return {
        "ome": tiff(stack, ome=True, metadata={"axes": "TYX"}),
        "imagej": tiff(stack, imagej=True, metadata={"axes": "TYX"}),
        "jpeg": tiff(COLOUR, compression="jpeg"),
        "jpeg 2000": tiff(COLOUR, compression="jpeg2000"),
        "tiled jpeg": tiff(COLOUR, compression="jpeg", tile=(32, 32)),
        "large tile": tiff(COLOUR, compression="zlib", tile=(1024, 1024)),
    }
