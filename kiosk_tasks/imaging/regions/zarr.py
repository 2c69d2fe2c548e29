"""OME-Zarr, region by region: a folder of a bucket, or a zip file."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from contextlib import AbstractContextManager
from math import prod
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.errors import InvalidAxes, UnreadableImage
from kiosk_tasks.imaging.limits import ImageLimits
from kiosk_tasks.imaging.regions.axes import plane_letters
from kiosk_tasks.imaging.regions.chunks import Cell, ChunkReader
from kiosk_tasks.imaging.regions.ngff import OmeZarr, read_ome_zarr
from kiosk_tasks.imaging.regions.spans import Span
from kiosk_tasks.imaging.regions.values import Files, RegionImage, RegionReader
from kiosk_tasks.imaging.regions.zarr_codecs import packed_at_most, unpack
from kiosk_tasks.imaging.regions.zarr_files import ZarrFiles, open_files
from kiosk_tasks.imaging.regions.zarr_shards import Shards

__all__ = ["look_at_zarr", "open_zarr"]

_MOST_CHUNKS = 2**22  # of a plane: 2^36 px in chunks of 128 px


def look_at_zarr(
    files: Files, key: str, *, name: str, axes: str | None, limits: ImageLimits
) -> RegionImage:
    """Return what is known of an OME-Zarr by its metadata.

    Raises UnreadableImage, ImageTooLarge, and InvalidAxes for stacks and movies.
    """
    ome = read_ome_zarr(open_files(files, key, name), name)
    shape = ome.array.shape
    letters = plane_letters(ome.axes, shape, axes)
    if letters is None or letters.index("Y") > letters.index("X"):
        raise _no_plane(name, ome, axes)
    rows, columns = letters.index("Y"), letters.index("X")
    size = shape[rows], shape[columns]
    channels = shape[letters.index("C")] if "C" in letters else 1
    chunk = ome.array.chunk[rows], ome.array.chunk[columns]
    limits.check(name, size, planes=channels, pixel_bytes=0)
    if prod(-(-one // part) for one, part in zip(size, chunk, strict=True)) > _MOST_CHUNKS:
        raise UnreadableImage(
            f"{name} has chunks of {chunk[0]} × {chunk[1]} px, which are too many for {size[0]} × "
            f"{size[1]} px; write it with chunks of 256 to 1024 px a side."
        )
    return RegionImage(
        key=key,
        name=name,
        axes="CYX" if channels > 1 else "YX",
        shape=(channels, *size) if channels > 1 else size,
        dtype=ome.array.dtype.name,
        mpp=ome.mpp,
        chunk=chunk,
        letters=letters,
    )


def open_zarr(image: RegionImage, files: Files) -> AbstractContextManager[RegionReader]:
    """Open what `look_at_zarr` has looked at; raises UnreadableImage if it is another now."""
    inside = open_files(files, image.key, image.name)
    ome = read_ome_zarr(inside, image.name)
    places = [image.letters.find(letter) for letter in image.axes]
    found = tuple(ome.array.shape[place] for place in places if place < len(ome.array.shape))
    expected = len(image.letters), image.shape, image.dtype
    if (len(ome.array.shape), found, ome.array.dtype.name) != expected:
        raise UnreadableImage(f"{image.name} was replaced by another image; submit it again.")
    return ChunkReader(image, files, _ZarrChunks(files, inside, ome, image))


def _no_plane(name: str, ome: OmeZarr, axes: str | None) -> InvalidAxes:
    sizes = " × ".join(map(str, ome.array.shape))
    letters = axes or ome.axes
    return InvalidAxes(
        f'{name} has {sizes} px along "{letters}"; of an OME-Zarr, this job takes one plane with '
        "its channels (C, Y, X). Save one plane of it."
    )


class _ZarrChunks:
    """Chunks, in files of their own or in shards; see ChunkSource."""

    def __init__(self, files: Files, inside: ZarrFiles, ome: OmeZarr, image: RegionImage) -> None:
        self._inside = inside
        self._array = ome.array
        self._path = ome.path
        self._letters = image.letters
        self._rows, self._columns = image.letters.index("Y"), image.letters.index("X")
        self.chunk = self._array.chunk[self._rows], self._array.chunk[self._columns]
        self.chunk_bytes = self._array.chunk_bytes
        self.fill = self._array.fill
        self._shards = (
            Shards(files, inside, ome.path, self._array) if self._array.sharding else None
        )
        self._locating = Lock()

    def key(self, cell: Cell, channel: int) -> Hashable:
        """See ChunkSource."""
        return self._number(cell, channel)

    def spans(self, cells: Iterable[Cell], channel: int) -> Iterable[Span]:
        """See ChunkSource."""
        most = packed_at_most(self.chunk_bytes)
        for cell in cells:
            number = self._number(cell, channel)
            if self._shards is not None:
                with self._locating:
                    span = self._shards.span(number, most, cell)
            else:
                span = self._inside.span(self._path + self._array.path(number), most, cell)
            if span is not None:
                yield span

    def cell(self, span: Span) -> Cell:
        """See ChunkSource."""
        cell: Cell = span.what[1] if isinstance(span.what[0], str) else span.what
        return cell

    def decode(self, span: Span, data: bytes | memoryview, channel: int) -> NDArray[Any]:  # noqa: ARG002  as ChunkSource has it
        """See ChunkSource."""
        array = self._array
        if self._shards is None:
            data = self._inside.content(span, data, packed_at_most(self.chunk_bytes))
        pixels = np.frombuffer(unpack(data, array.codecs, self.chunk_bytes), array.stored)
        if array.permuted is None:
            return pixels.reshape(array.chunk)
        lying = pixels.reshape([array.chunk[axis] for axis in array.permuted])
        return lying.transpose(np.argsort(array.permuted))

    def plane(self, chunk: NDArray[Any], channel: int) -> NDArray[Any]:
        """See ChunkSource."""
        index = tuple(
            slice(None)
            if axis in (self._rows, self._columns)
            else channel % self._array.chunk[axis]
            if letter == "C"
            else 0
            for axis, letter in enumerate(self._letters)
        )
        plane: NDArray[Any] = chunk[index]
        return plane

    def upright(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """See ChunkSource."""
        return pixels

    def close(self) -> None:
        """See ChunkSource."""

    def _number(self, cell: Cell, channel: int) -> tuple[int, ...]:
        number = [0] * len(self._letters)
        number[self._rows], number[self._columns] = cell
        if "C" in self._letters:
            along = self._letters.index("C")
            number[along] = channel // self._array.chunk[along]
        return tuple(number)
