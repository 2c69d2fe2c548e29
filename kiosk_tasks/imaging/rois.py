"""Cells and spots as regions of interest that ImageJ and Fiji open."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray
from roifile import ROI_OPTIONS, ROI_TYPE, ImagejRoi

from kiosk_tasks.imaging.outlines import Outline, Outlines
from kiosk_tasks.imaging.zip_writer import ZipWriter

__all__ = ["LARGEST_SIDE", "RoiZip", "cell_rois", "regions", "spot_roi"]

Indices = NDArray[np.int64]

LARGEST_SIDE = 60_000
"""Pixels; an ImageJ region begins at most so far from the image's corner (16 bits)."""

_MOST_CORNERS = 2**16  # of a plain polygon; a path has no such limit
_MOST_GROUPS = 100
_MOVE, _LINE, _CLOSE = 0.0, 1.0, 4.0
_VERSION = 229  # of the format, as roifile writes it
_HEADER, _POINT = 64, 4  # bytes
_HEAD = np.dtype(
    {
        "names": ["magic", "version", "type", "box", "corners", "position", "header2"],
        "formats": ["S4", ">i2", "u1", (">i2", 4), ">u2", ">i4", ">i4"],
        "offsets": [0, 4, 6, 8, 16, 56, 60],
        "itemsize": _HEADER,
    }
)
_TAIL = np.dtype(
    {
        "names": ["name", "name_length"],
        "formats": [">i4", ">i4"],
        "offsets": [16, 20],
        "itemsize": _HEADER,
    }
)


class RoiZip:
    """A context that writes a zip of regions, as ImageJ's ROI Manager saves them.

    Equal calls give equal bytes. Nothing is packed: that is quicker, and smaller, for all at once.
    """

    def __init__(self, target: Path | io.BytesIO) -> None:
        self._zip = ZipWriter(target)

    def __enter__(self) -> Self:
        self._zip.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._zip.__exit__(kind, error, trace)

    def add_all(self, outlines: Outlines, *, frame: int | None = None) -> None:
        """Add cells, each named after its number: `7`, or of a movie's frame 0 `7_frame_0`.

        frame: from 0; the regions show on that one only. None: on all.
        """
        for name, content in regions(outlines, frame=frame):
            self._zip.add(f"{name}.roi", content)


def cell_rois(outlines: Outlines) -> bytes:
    """Return a zip with a region for each cell."""
    buffer = io.BytesIO()
    with RoiZip(buffer) as rois:
        rois.add_all(outlines)
    return buffer.getvalue()


def spot_roi(
    positions: NDArray[np.float64],
    *,
    frames: NDArray[np.integer] | None = None,
    groups: NDArray[np.integer] | None = None,
) -> bytes:
    """Return spots as one multi-point region.

    positions: (n, 2), (y, x), px, at least one; 0 is the centre of a pixel, as it is for points in
        ImageJ. frames: (n,), from 0, where the image has several.
    groups: (n,), from 0; ImageJ has a colour for each, and counts them.
    """
    points = positions[:, ::-1].astype(np.float32)
    roi = ImagejRoi.frompoints(points, name="spots")
    roi.roitype = ROI_TYPE.POINT
    roi.options = ROI_OPTIONS.SUB_PIXEL_RESOLUTION
    if frames is not None or groups is not None:
        nothing = np.zeros(len(points), np.uint32)
        group = nothing if groups is None else np.minimum(groups, _MOST_GROUPS - 1)
        roi.counters = group.astype(np.uint8)
        roi.counter_positions = nothing if frames is None else frames.astype(np.uint32) + 1
    data: bytes = roi.tobytes()
    return data


def regions(outlines: Outlines, *, frame: int | None = None) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of each cell's region; see `RoiZip.add_all`.

    It is a traced polygon where the cell is one without holes, else a path of all rings.
    """
    end, position = ("", 0) if frame is None else (f"_frame_{frame}", frame + 1)
    names = [f"{label}{end}" for label in outlines.label.tolist()]
    ring = outlines.polygons[outlines.cells[:-1]]  # the first of each cell
    begins, beyond = outlines.rings[ring], outlines.rings[ring + 1]
    plain = np.diff(outlines.polygons[outlines.cells]) == 1
    plain &= beyond - begins < _MOST_CORNERS
    corners, upper_left, lower_right = _points(outlines)
    sizes = beyond - begins
    heads = _heads(upper_left[ring], lower_right[ring], sizes, position)
    tails = _tails(sizes, [*map(len, names)])
    rows = zip(names, plain.tolist(), begins.tolist(), beyond.tolist(), strict=True)
    for number, (name, traced, begin, stop) in enumerate(rows):
        if traced:
            part = slice(_HEADER * number, _HEADER * (number + 1))
            points = corners[_POINT * begin : _POINT * stop]
            yield name, b"".join([heads[part], points, tails[part], name.encode("utf_16_be")])
        else:
            yield name, _path_region(outlines[number], name, position)


def _points(outlines: Outlines) -> tuple[bytes, NDArray[np.int32], NDArray[np.int32]]:
    """Return the corners of each ring as a region has them, and the corners of its box.

    First all x, then all y, from the upper left of the box; big-endian, 16 bits.
    """
    starts, sizes = outlines.rings[:-1], np.diff(outlines.rings)
    if not len(sizes):
        return b"", outlines.corners, outlines.corners
    upper_left = np.minimum.reduceat(outlines.corners, starts)
    lower_right = np.maximum.reduceat(outlines.corners, starts)
    y, x = (outlines.corners - np.repeat(upper_left, sizes, axis=0)).T
    points = np.empty(2 * len(y), ">i2")
    place = np.arange(len(y)) + np.repeat(starts, sizes)
    points[place] = x
    points[place + np.repeat(sizes, sizes)] = y
    return points.tobytes(), upper_left, lower_right


def _heads(
    upper_left: NDArray[np.int32], lower_right: NDArray[np.int32], sizes: Indices, position: int
) -> bytes:
    """Return the header of each region as a traced polygon."""
    heads = np.zeros(len(sizes), _HEAD)
    heads["magic"], heads["version"], heads["type"] = b"Iout", _VERSION, ROI_TYPE.TRACED.value
    heads["box"] = np.concatenate([upper_left, lower_right], axis=1)
    heads["corners"] = sizes  # in 16 bits: those that have more become paths
    heads["position"] = position
    heads["header2"] = _HEADER + _POINT * sizes
    return heads.tobytes()


def _tails(sizes: Indices, name_lengths: list[int]) -> bytes:
    """Return the second header of each region, which comes after the corners."""
    tails = np.zeros(len(sizes), _TAIL)
    tails["name"] = 2 * _HEADER + _POINT * sizes
    tails["name_length"] = name_lengths
    return tails.tobytes()


def _path_region(outline: Outline, name: str, position: int) -> bytes:
    """Return a cell as a path of all its rings."""
    rings = [ring for polygon in outline.polygons for ring in polygon]
    outside = np.concatenate([polygon[0] for polygon in outline.polygons])
    top, left = outside.min(axis=0).tolist()
    bottom, right = outside.max(axis=0).tolist()
    roi = ImagejRoi(top=top, left=left, bottom=bottom, right=right, name=name, position=position)
    roi.options = ROI_OPTIONS(0)
    roi.roitype = ROI_TYPE.RECT
    roi.multi_coordinates = np.concatenate([_path(ring) for ring in rings])
    roi.shape_roi_size = len(roi.multi_coordinates)
    data: bytes = roi.tobytes()
    return data


def _path(ring: NDArray[np.int32]) -> NDArray[np.float32]:
    lines = np.full((len(ring), 3), _LINE, np.float32)
    lines[0, 0] = _MOVE
    lines[:, 1:] = ring[:, ::-1]
    return np.append(lines.ravel(), np.float32(_CLOSE))
