"""The files of spots: tables for people, for napari and for the old Kiosk's readers; pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.imaging.io import write_labels
from kiosk_tasks.imaging.measure import CellTable, measure_cells
from kiosk_tasks.imaging.runs import runs_of
from kiosk_tasks.imaging.spot_overlay import spots_png
from kiosk_tasks.imaging.spot_values import CellPart, SpotPlanes, SpotsInCells, cells_of_spots
from kiosk_tasks.imaging.spots import Spots
from kiosk_tasks.outputs.files import OutputFile, output_files
from kiosk_tasks.outputs.shapes import cell_shapes, spot_points, spot_regions

__all__: list[str] = []

_MOST_PICTURES = 16  # of a movie; they are spread evenly over it
_AXIS_NAMES = {"T": "frame", "B": "batch"}
_SPOT_COLUMNS = ("y", "x", "y_um", "x_um", "intensity", "signal_to_noise")


@output_files.register
def _of_planes(result: SpotPlanes, stem: str) -> Iterator[OutputFile]:
    axes, mpp = result.image.axes, result.image.mpp
    several = axes != "YX"
    rows = (
        [*([str(number)] if several else []), *fields]
        for number, spots in enumerate(result.spots)
        for fields in _fields(spots, mpp)
    )
    first = [_AXIS_NAMES[axes[0]]] if several else []
    yield OutputFile(f"{stem}_spots.csv", _csv([*first, *_SPOT_COLUMNS], rows))
    yield OutputFile(f"{stem}_spots_napari.csv", _napari(result.spots, several=several))
    yield from spot_regions(result.spots, stem, frames=several)
    if not several:
        yield spot_points(result.spots, stem)
    planes = result.image.data if several else result.image.data[np.newaxis]
    chosen = np.linspace(0, len(planes) - 1, min(_MOST_PICTURES, len(planes))).round()
    for number in map(int, chosen):
        name = f"{stem}_{first[0]}_{number}" if several else stem
        positions = result.spots[number].positions
        picture = spots_png(planes[number], positions, diameter=result.diameter)
        yield OutputFile(f"{name}_overlay.png", picture)


@output_files.register
def _of_cells(result: SpotsInCells, stem: str) -> list[OutputFile]:
    owners = [
        [cells_of_spots(spots, part.labels.data) for part in result.cells] for spots in result.spots
    ]
    files = [
        OutputFile(f"{stem}_spots.csv", _assignments(result, owners)),
        *spot_regions(result.spots, stem),
        spot_points(result.spots, stem, _numbers(result, owners)),
    ]
    for index, part in enumerate(result.cells):
        files += _part_files(part, [cells[index] for cells in owners], result, stem)
    positions = np.concatenate([spots.positions for spots in result.spots])
    inside = None
    if result.cells:
        inside = np.concatenate([np.any(cells, axis=0) for cells in owners])
    picture = spots_png(
        result.image.data,
        positions,
        diameter=result.diameter,
        cells=tuple(part.labels.data for part in result.cells),
        inside=inside,
    )
    return [*files, OutputFile(f"{stem}_overlay.png", picture)]


def _part_files(
    part: CellPart, owners: Sequence[NDArray[np.int32]], result: SpotsInCells, stem: str
) -> list[OutputFile]:
    runs = runs_of(part.labels.data)
    cells = measure_cells(part.labels, result.image.data, runs=runs)
    name = f"{stem}_{part.name}"
    return [
        OutputFile(f"{name}_labels.ome.tif", write_labels(part.labels)),
        OutputFile(f"{name}_counts.csv", _counts(cells, owners, result)),
        *cell_shapes(part.labels, cells, name, runs=runs),
    ]


def _numbers(
    result: SpotsInCells, owners: Sequence[Sequence[NDArray[np.int32]]]
) -> dict[str, NDArray[np.int64]]:
    """Return each spot's channel, and the cell of each part that it lies in, by name."""
    lengths = [len(spots) for spots in result.spots]
    numbers = {"Channel": np.repeat(np.array(result.channels, np.int64), lengths)}
    for index, part in enumerate(result.cells):
        of_part = np.concatenate([cells[index] for cells in owners])
        numbers[f"Cell ({part.name})"] = of_part.astype(np.int64)
    return numbers


def _assignments(result: SpotsInCells, owners: Sequence[Sequence[NDArray[np.int32]]]) -> bytes:
    """One line for each spot: what the old Kiosk's readers expect first, then the rest."""
    ids = [f"cellID{index}" for index in range(len(result.cells))]

    def rows() -> Iterator[list[str]]:
        for channel, spots, cells in zip(result.channels, result.spots, owners, strict=True):
            columns = np.array(cells, np.int32).reshape(len(cells), len(spots)).T.tolist()
            for (y, x, *rest), own in zip(_fields(spots, result.image.mpp), columns, strict=True):
                yield [x, y, *map(str, own), str(channel), *rest]

    return _csv(["x", "y", *ids, "channel", *_SPOT_COLUMNS[2:]], rows())


def _counts(cells: CellTable, owners: Sequence[NDArray[np.int32]], result: SpotsInCells) -> bytes:
    """One line for each cell: where it is, how large, and how many spots of each channel."""
    most = int(cells.label.max(initial=0)) + 1
    counts = np.stack([np.bincount(own, minlength=most)[cells.label] for own in owners], axis=1)
    per_channel = [f"spots_channel_{channel}" for channel in result.channels]
    areas = [""] * len(cells)
    if cells.area_um2 is not None:
        areas = [f"{area:.6g}" for area in cells.area_um2.tolist()]
    rows = (
        [str(label), f"{y:.2f}", f"{x:.2f}", str(area), um2, str(all_), *map(str, each)]
        for label, y, x, area, um2, all_, each in zip(
            cells.label.tolist(),
            cells.y.tolist(),
            cells.x.tolist(),
            cells.area_px.tolist(),
            areas,
            counts.sum(axis=1).tolist(),
            counts.tolist(),
            strict=True,
        )
    )
    return _csv(["label", "y", "x", "area_px", "area_um2", "spots", *per_channel], rows)


def _fields(spots: Spots, mpp: float | None) -> Iterator[list[str]]:
    """Yield the fields of `_SPOT_COLUMNS`; µm are empty where the pixel size is unknown."""
    for (y, x), intensity, snr in zip(
        spots.positions.tolist(), spots.intensity.tolist(), spots.snr.tolist(), strict=True
    ):
        um = ["", ""] if mpp is None else [f"{y * mpp:.4f}", f"{x * mpp:.4f}"]
        yield [f"{y:.3f}", f"{x:.3f}", *um, f"{intensity:.6g}", f"{snr:.4g}"]


def _napari(planes: Sequence[Spots], *, several: bool) -> bytes:
    """Write spots as napari's points layer saves them: it opens the file by drag and drop."""
    axes = 3 if several else 2
    positions = (
        [*([str(number)] if several else []), f"{y:.3f}", f"{x:.3f}"]
        for number, spots in enumerate(planes)
        for y, x in spots.positions.tolist()
    )
    rows = ([str(index), *position] for index, position in enumerate(positions))
    return _csv(["index", *(f"axis-{axis}" for axis in range(axes))], rows)


def _csv(header: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    r"""Write a header and rows, "\n" at the end of each; equal tables give equal bytes."""
    return ("\n".join([",".join(header), *(",".join(row) for row in rows)]) + "\n").encode("ascii")
