"""Cells and spots as regions of interest that ImageJ and Fiji open."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray
from roifile import ROI_OPTIONS, ROI_TYPE, ImagejRoi

from kiosk_tasks.imaging.outlines import Outline

__all__ = ["LARGEST_SIDE", "RoiZip", "cell_rois", "spot_roi"]

LARGEST_SIDE = 60_000
"""Pixels; an ImageJ region begins at most so far from the image's corner (16 bits)."""

_MOST_CORNERS = 2**16  # of a plain polygon; a path has no such limit
_MOST_GROUPS = 100
_MOVE, _LINE, _CLOSE = 0.0, 1.0, 4.0
_EPOCH = (1980, 1, 1, 0, 0, 0)


class RoiZip:
    """A context that writes a zip of regions, as ImageJ's ROI Manager saves them.

    Equal calls give equal bytes. Nothing is packed: that is quicker, and smaller, for all at once.
    """

    def __init__(self, target: Path | io.BytesIO) -> None:
        self._zip = zipfile.ZipFile(target, "w", zipfile.ZIP_STORED)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._zip.close()

    def add_all(self, outlines: Iterable[Outline], *, frame: int | None = None) -> None:
        """Add cells, each named after its number: `7`, or of a movie's frame 0 `7_frame_0`.

        frame: from 0; the regions show on that one only. None: on all.
        """
        for outline in outlines:
            roi = _region(outline)
            roi.name = str(outline.label) if frame is None else f"{outline.label}_frame_{frame}"
            roi.position = 0 if frame is None else frame + 1
            entry = zipfile.ZipInfo(f"{roi.name}.roi", _EPOCH)
            self._zip.writestr(entry, roi.tobytes())


def cell_rois(outlines: Iterable[Outline]) -> bytes:
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


def _region(outline: Outline) -> ImagejRoi:
    """Return a cell as a polygon where it is one without holes, else as a path of all rings."""
    rings = [ring for polygon in outline.polygons for ring in polygon]
    outside = np.concatenate([polygon[0] for polygon in outline.polygons])
    top, left = outside.min(axis=0).tolist()
    bottom, right = outside.max(axis=0).tolist()
    roi = ImagejRoi(top=top, left=left, bottom=bottom, right=right)
    roi.options = ROI_OPTIONS(0)
    if len(rings) == 1 and len(rings[0]) < _MOST_CORNERS:
        roi.roitype = ROI_TYPE.TRACED
        roi.n_coordinates = len(rings[0])
        roi.integer_coordinates = rings[0][:, ::-1] - (left, top)
        return roi
    roi.roitype = ROI_TYPE.RECT
    roi.multi_coordinates = np.concatenate([_path(ring) for ring in rings])
    roi.shape_roi_size = len(roi.multi_coordinates)
    return roi


def _path(ring: NDArray[np.int32]) -> NDArray[np.float32]:
    lines = np.full((len(ring), 3), _LINE, np.float32)
    lines[0, 0] = _MOVE
    lines[:, 1:] = ring[:, ::-1]
    return np.append(lines.ravel(), np.float32(_CLOSE))
