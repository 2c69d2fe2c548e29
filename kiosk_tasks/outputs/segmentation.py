"""The files of a segmentation: label image, overlay, table, outlines; or a model's raw outputs."""

from __future__ import annotations

from collections.abc import Iterator

from kiosk_tasks.imaging._tiff_write import write_planes
from kiosk_tasks.imaging.io import write_labels
from kiosk_tasks.imaging.measure import measure_cells, to_csv
from kiosk_tasks.imaging.overlay import overlay_png
from kiosk_tasks.imaging.runs import runs_of
from kiosk_tasks.imaging.scale import resize_to
from kiosk_tasks.imaging.values import LabelsOnly, RawHeads, Segmentation, Segmentations
from kiosk_tasks.outputs.files import OutputFile, output_files
from kiosk_tasks.outputs.shapes import cell_shapes

__all__: list[str] = []


@output_files.register
def _of_segmentation(result: Segmentation, stem: str) -> Iterator[OutputFile]:
    name, plane, labels = _named(stem, result.part), result.image.data, result.labels
    runs = runs_of(labels.data)
    cells = measure_cells(labels, plane, runs=runs)
    yield OutputFile(f"{name}_labels.ome.tif", write_labels(labels))
    yield OutputFile(f"{name}_overlay.png", overlay_png(plane, labels, runs=runs))
    yield OutputFile(f"{name}_cells.csv", to_csv(cells))
    yield from cell_shapes(labels, cells, name, runs=runs)


@output_files.register
def _of_segmentations(result: Segmentations, stem: str) -> Iterator[OutputFile]:
    return (file for part in result.parts for file in output_files(part, stem))


@output_files.register
def _of_labels(result: LabelsOnly, stem: str) -> list[OutputFile]:
    name = _named(stem, result.part)
    return [OutputFile(f"{name}_labels.ome.tif", write_labels(result.labels))]


@output_files.register
def _of_raw_heads(result: RawHeads, stem: str) -> list[OutputFile]:
    image = result.heads.image
    height, width = image.data.shape
    planes = {n: resize_to(plane, (height, width)) for n, plane in result.heads.planes.items()}
    name = _named(stem, result.part)
    return [OutputFile(f"{name}_heads.ome.tif", write_planes(planes, image.mpp))]


def _named(stem: str, part: str) -> str:
    return f"{stem}_{part}" if part else stem
