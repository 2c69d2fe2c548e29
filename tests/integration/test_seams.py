"""The bundled model on a large image: cut into tiles, it gives the cells of the untiled run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import tifffile

from kiosk_tasks.imaging.image import Image
from kiosk_tasks.imaging.labels import Labels
from kiosk_tasks.imaging.tiling import TileLayout
from kiosk_tasks.job import Context, Limits, new_job
from kiosk_tasks.jobs.predict import job_type
from kiosk_tasks.run.local import MemoryReporter
from kiosk_tasks.segmenting.cells import cell_model, to_image
from kiosk_tasks.segmenting.labelling import label_cells
from kiosk_tasks.segmenting.models import prepare
from kiosk_tasks.segmenting.sizing import find_scale
from kiosk_tasks.serving.client import TensorFlowServing
from kiosk_tasks.serving.launch import ModelServerProcess
from kiosk_tasks.stages import predictor, served
from kiosk_tasks.storage.memory import MemoryStorage

SAMPLE = Path(__file__).parents[2] / "samples" / "nuclei_512.tif"
SIDE = 2048


@pytest.fixture(scope="module")
def bundled_model() -> Iterator[TensorFlowServing]:
    with ModelServerProcess([Path(str(files("kiosk_tasks.serving") / "models"))]) as server:
        client = TensorFlowServing(server.target)
        yield client
        client.close()


def mosaic() -> Image:
    """A real field of nuclei, mirrored until it is 2048 px wide: no border shows inside."""
    field = tifffile.imread(SAMPLE)
    half = np.concatenate([field, field[:, ::-1]], axis=1)
    block = np.concatenate([half, half[::-1]], axis=0)
    repeats = SIDE // block.shape[0]
    return Image(np.tile(block, (repeats, repeats)), "YX", mpp=0.65)


def test_tiles_give_the_cells_of_the_untiled_run(bundled_model: TensorFlowServing) -> None:
    job = new_job(job_type, {"input_file_name": "mosaic.tif"})
    ctx = Context(
        job, job.params, MemoryStorage(), bundled_model, MemoryReporter(), Limits(max_batch=4)
    )
    image, cells = mosaic(), cell_model(ctx)
    signature = served(cells.model, ctx)
    predict = predictor(signature, ctx)
    tiles = prepare(image, find_scale(image, ctx, cells=cells), cells=cells, signature=signature)
    assert len(tiles.layout) > 9
    untiled = replace(tiles, layout=TileLayout((SIDE, SIDE), SIDE, 0))

    cut, whole = (
        to_image(label_cells(predict(value), cells.postprocess), image, ctx)
        for value in (tiles, untiled)
    )

    total = int(whole.max())
    assert total > 1500
    differing = total - equal_cells(whole, cut, least_iou=0.9)
    differing += int(cut.max()) - equal_cells(cut, whole, least_iou=0.9)
    assert differing / total <= 0.005, f"{differing} of {total} cells differ"


def equal_cells(truth: Labels, other: Labels, *, least_iou: float) -> int:
    """Return how many cells of `truth` the other label image has, at that overlap."""
    pairs = np.stack([truth.ravel(), other.ravel()], axis=1).astype(np.int64)
    codes, shared = np.unique(pairs[:, 0] * (other.max() + 1) + pairs[:, 1], return_counts=True)
    ours, theirs = np.divmod(codes, other.max() + 1)
    union = np.bincount(truth.ravel())[ours] + np.bincount(other.ravel())[theirs] - shared
    same = (ours > 0) & (theirs > 0) & (shared / union >= least_iou)
    return int(np.unique(ours[same]).size)
