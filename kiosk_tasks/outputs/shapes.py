"""The files that Fiji and QuPath open: outlines of cells, and spots as points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.imaging.geojson import cells_geojson, spots_geojson
from kiosk_tasks.imaging.labels import LabelImage
from kiosk_tasks.imaging.measure import CellTable
from kiosk_tasks.imaging.outlines import trace
from kiosk_tasks.imaging.rois import LARGEST_SIDE, cell_rois, spot_roi
from kiosk_tasks.imaging.runs import Runs
from kiosk_tasks.imaging.spots import Spots
from kiosk_tasks.outputs.files import OutputFile

__all__ = ["cell_shapes", "spot_points", "spot_regions"]


def cell_shapes(
    labels: LabelImage, cells: CellTable, name: str, *, runs: Runs | None = None
) -> list[OutputFile]:
    """Return the outlines of cells: regions for Fiji, and polygons with what was measured.

    cells: of the same labels. name: what the files' names begin with.
    runs: of the same labels, where they are known already.
    """
    outlines = trace(labels.data, runs=runs)
    files = [OutputFile(f"{name}_cells.geojson", cells_geojson(outlines, cells))]
    if max(labels.data.shape) <= LARGEST_SIDE:
        files.append(OutputFile(f"{name}_rois.zip", cell_rois(outlines)))
    return files


def spot_regions(
    spots: Sequence[Spots], stem: str, *, frames: bool = False
) -> Iterator[OutputFile]:
    """Yield all spots as one multi-point region for Fiji; nothing where there are none.

    spots: of each plane, in order. frames: whether these are planes of a stack, on which the
        points show; else they are channels of one plane, which colours and counts tell apart.
    """
    positions = np.concatenate([one.positions for one in spots])
    if len(positions):
        plane = np.repeat(np.arange(len(spots)), [len(one) for one in spots])
        groups = {"frames": plane} if frames else {"groups": plane} if spots[1:] else {}
        yield OutputFile(f"{stem}_spots.roi", spot_roi(positions, **groups))


def spot_points(
    spots: Sequence[Spots], stem: str, more: Mapping[str, NDArray[Any]] | None = None
) -> OutputFile:
    """Return the spots of one plane as points for QuPath, with what was measured.

    spots: of each channel. more: by name, a number for each spot of all channels.
    """
    positions = np.concatenate([one.positions for one in spots])
    measured = {
        "Intensity": np.concatenate([one.intensity for one in spots]),
        "Signal to noise": np.concatenate([one.snr for one in spots]),
        **(more or {}),
    }
    return OutputFile(f"{stem}_spots.geojson", spots_geojson(positions, measured))
