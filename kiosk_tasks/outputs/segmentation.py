"""The files of a segmentation: label image, overlay, table of cells."""

from __future__ import annotations

from kiosk_tasks.imaging.io import write_labels
from kiosk_tasks.imaging.measure import measure_cells, to_csv
from kiosk_tasks.imaging.overlay import overlay_png
from kiosk_tasks.imaging.values import Segmentation, Segmentations
from kiosk_tasks.outputs.files import OutputFile, output_files

__all__: list[str] = []


@output_files.register
def _of_segmentation(result: Segmentation, stem: str) -> list[OutputFile]:
    name = f"{stem}_{result.part}" if result.part else stem
    cells = measure_cells(result.labels, result.image.data)
    return [
        OutputFile(f"{name}_labels.ome.tif", write_labels(result.labels)),
        OutputFile(f"{name}_overlay.png", overlay_png(result.image.data, result.labels)),
        OutputFile(f"{name}_cells.csv", to_csv(cells)),
    ]


@output_files.register
def _of_segmentations(result: Segmentations, stem: str) -> list[OutputFile]:
    return [file for part in result.parts for file in output_files(part, stem)]
