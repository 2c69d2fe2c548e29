"""Sound files, as small as can be, for the mutations to start from."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import imagecodecs
import numpy as np
from numcodecs import Blosc, Zlib
from zarr.codecs import GzipCodec

from tests.ome_zarr import write_ome_zarr, zip_folder
from tests.unit.imaging.files import jpeg, png, tiff
from tests.unit.imaging.traps import million_directories, ome, png_of, tiff_of
from tests.unit.imaging.zips import many_entries, one_entry, overlapping, tarred, trk_files, zipped

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 4000, (24, 32)).astype(np.uint16)
COLOUR = RNG.integers(0, 255, (16, 24, 3)).astype(np.uint8)
STACK = RNG.integers(0, 9, (3, 16, 20)).astype(np.uint8)


def _tiffs() -> list[bytes]:
    made = [tiff(GREY, compression=c) for c in (None, "lzw", "zlib", "zstd", "packbits", "lzma")]
    made += [tiff(COLOUR, compression=c, tile=(16, 16)) for c in ("jpeg", "jpeg2000", "zlib")]
    made += [tiff(STACK, ome=True, metadata={"axes": "TYX", "PhysicalSizeX": 0.5})]
    made += [tiff(STACK, imagej=True, metadata={"axes": "TYX", "unit": "um"}, resolution=(2, 2))]
    made += [
        tiff(GREY, bigtiff=True),
        tiff(GREY, byteorder=">"),
        tiff(GREY, predictor=True, compression="lzw"),
    ]
    made += [tiff(GREY > 2000), tiff(COLOUR, planarconfig="separate", photometric="rgb")]
    made += [tiff(STACK, photometric="minisblack", metadata={"axes": "ZYX"})]
    made += [tiff(GREY.astype("f4"), compression="zlib", predictor=True, rowsperstrip=5)]
    made += [ome(), million_directories(30), *_vendors()]
    return made


def _vendors() -> list[bytes]:
    """Return files with the tags by which tifffile knows the programs of vendors."""
    plain = {256: 10, 257: 10, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 10, 279: 100}
    texts = {
        "scn": b"<scn><collection><image><pixels sizeX='10'/></image></collection></scn>",
        "svs": b"Aperio Image Library v1|AppMag = 20|MPP = 0.5",
        "scanimage": b"state.configPath = 1\nscanimage.SI.VERSION_MAJOR = 5",
        "fluoview": b"\0\0",
        "qpi": b"<?xml version='1.0'?><PerkinElmer-QPI-ImageDescription><Name>a</Name>",
        "philips": b"<?xml version='1.0'?><DataObject ObjectType='DPUfsImport'><a/></DataObject>",
    }
    made = [tiff_of({**plain, 270: t + b"\0"}, data=bytes(100)) for t in texts.values()]
    codes = (33628, 33629, 34412, 34361, 34362, 37706, 33560, 51123, 65420, 65426, 50838, 34665)
    return made + [tiff_of({**plain, code: bytes(range(200))}, data=bytes(100)) for code in codes]


def _pngs() -> list[bytes]:
    """Return images, and some of a few bytes with every kind of chunk before their pixels."""
    made = [png(GREY), png(COLOUR), png(np.dstack([COLOUR, COLOUR[..., :1]]))]
    extra = [b"gAMA" + bytes([0, 0, 177, 143]), b"pHYs" + bytes([0, 30, 132, 128] * 2 + [1])]
    extra += [b"PLTE" + bytes(range(24)), b"tRNS" + bytes(6), b"tEXtkey\0text"]
    extra += [b"iCCPk\0\0" + zlib.compress(bytes(200)), b"zTXtk\0\0" + zlib.compress(bytes(99))]
    for depth, kind, interlaced in ((8, 0, 0), (1, 0, 1), (16, 2, 0), (4, 3, 1), (8, 6, 1)):
        head = b"IHDR" + struct.pack(">IIBBBBB", 9, 9, depth, kind, 0, 0, interlaced)
        pixels = b"IDAT" + zlib.compress(bytes(1000))
        made.append(png_of(head, *extra, pixels, b"IEND"))
    return made


def _zips() -> list[bytes]:
    files = {"a.tif": b"II*\0" * 30, "b/c.png": bytes(400), "ü.npy": b"x"}
    made = [zipped(files), zipped(files, method=0), one_entry(b"a/../b"), overlapping(3)]
    return [*made, many_entries(5)]


def _trks() -> list[bytes]:
    made = [tarred(trk_files()), tarred(trk_files(batch=2)), tarred(trk_files(), mode="w:gz")]
    return [*made, tarred({"x" * 150: b"y", **trk_files()})]


def _jpegs() -> list[bytes]:
    progressive = imagecodecs.jpeg8_encode(COLOUR, level=90, optimize=True)
    return [jpeg(COLOUR), jpeg(COLOUR[..., 0].copy()), bytes(progressive)]


def _zarrs() -> list[bytes]:
    """Return zipped OME-Zarr images whose members are stored."""
    kinds: tuple[dict[str, Any], ...] = (
        {"version": "0.4"},
        {"version": "0.4", "compressors": Blosc("lz4"), "order": "F"},
        {"version": "0.4", "compressors": Zlib(), "chunks": (1, 8, 8)},
        {"version": "0.5"},
        {"version": "0.5", "chunks": (1, 8, 8), "shards": (2, 16, 16)},
        {"version": "0.5", "compressors": GzipCodec()},
    )
    made = []
    with TemporaryDirectory() as place:
        for number, options in enumerate(kinds):
            folder = write_ome_zarr(Path(place, f"{number}.zarr"), STACK[:2], "cyx", **options)
            made.append(zip_folder(folder, Path(place, "x.zip")).read_bytes())
    return made


_MAKERS: dict[str, Callable[[], list[bytes]]] = {
    "tiff": _tiffs,
    "png": _pngs,
    "jpeg": _jpegs,
    "zip": _zips,
    "trk": _trks,
    "regions": _tiffs,
    "zarr": _zarrs,
}

READERS = tuple(_MAKERS)


@cache
def seeds(reader: str) -> tuple[bytes, ...]:
    """Return the sound files of a reader."""
    return tuple(_MAKERS[reader]())
