"""SavedModels with the signatures of published DeepCell applications run through `predict`."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kiosk_tasks.errors import ModelMismatch
from kiosk_tasks.job import new_job
from kiosk_tasks.jobs import find
from kiosk_tasks.run.local import MemoryReporter, run_local
from kiosk_tasks.serving.client import TensorFlowServing
from kiosk_tasks.serving.launch import ModelServerProcess
from tests.built_models import built
from tests.fakes import fake_adapters, labels_of, tiff_bytes

SQUARE, RADIUS = 32, 9


@pytest.fixture(scope="module")
def served(kept_models: Path) -> Iterator[TensorFlowServing]:
    """The exports behind the embedded server."""
    kept = built("deepcell_models", kept_models)
    with ModelServerProcess([kept], options=["--intra-threads", "1", "--poll-s", "60"]) as server:
        client = TensorFlowServing(server.target)
        yield client
        client.close()


def discs(size: tuple[int, int]) -> tuple[NDArray[np.uint16], NDArray[np.bool_]]:
    """Draw a grid of discs, each in the middle of a square; two of each three are there."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    middle = SQUARE // 2
    near = np.hypot(rows % SQUARE - middle, columns % SQUARE - middle) <= RADIUS
    mask = near & ((rows // SQUARE + columns // SQUARE) % 3 > 0)
    return np.where(mask, 3000, 200).astype(np.uint16), mask


def cells_of(model: str, image: NDArray[Any], served: Any, folder: Path, **fields: Any) -> Any:
    given = fake_adapters(models=served, key=tiff_bytes(image))
    report = MemoryReporter()
    params = {"model_name": model, "mpp": 0.65, "labels_only": True, **fields}
    job = new_job(find("predict"), {"input_file_name": "key", "original_name": "a.tif", **params})
    answer = run_local(job, given=given, report=report)
    with zipfile.ZipFile(BytesIO(given.storage.get(answer["output_file_name"]))) as archive:
        labels = labels_of(archive.read("a_labels.ome.tif"), folder)
    assert report.notes()["model"] == {"name": model, "version": 1}
    return labels


@pytest.mark.parametrize(
    ("model", "postprocess", "overlap"),
    [
        ("DeepCellNuclear", None, 0.5),  # the published thresholds are low: cells are wider
        ("DeepCellFixed", None, 0.7),
        ("DeepCellFixed", "watershed", 0.7),
        ("DeepCellFixed", "pixelwise", 0.9),
        ("DeepCellFixed", "mibi", 0.7),
        ("DeepCellRetinaMask", "retinanet", 0.9),
        ("DeepCellRetinaMask", "retinanet-semantic", 0.7),
        ("DeepCellRetinaMask", "pixelwise", 0.9),
    ],
)
@pytest.mark.parametrize("size", [(192, 256), (640, 576)])
def test_an_export_runs_unchanged(
    model: str,
    postprocess: str | None,
    overlap: float,
    size: tuple[int, int],
    served: TensorFlowServing,
    tmp_path: Path,
) -> None:
    """Smaller than the tile of 512 px, and larger: each disc is one cell, and nothing else is."""
    image, mask = discs(size)
    fields = {} if postprocess is None else {"postprocess": postprocess}
    labels = cells_of(model, image, served, tmp_path, **fields)
    assert labels.shape == image.shape
    squares = labels.reshape(size[0] // SQUARE, SQUARE, size[1] // SQUARE, SQUARE)
    inside = {tuple(np.unique(one)) for one in squares.transpose(0, 2, 1, 3).reshape(-1, SQUARE**2)}
    numbers = sorted(number for one in inside for number in one if number)
    drawn = mask.reshape(squares.shape).any(axis=(1, 3)).sum()
    assert numbers == list(range(1, drawn + 1))
    shared = (mask & (labels > 0)).sum() / (mask | (labels > 0)).sum()
    assert shared > overlap


def test_an_export_that_does_not_fit_says_what_is_missing(
    served: TensorFlowServing, tmp_path: Path
) -> None:
    image, _ = discs((192, 256))
    with pytest.raises(ModelMismatch, match=r"boxes .* It gives .* semantic_0 \(1\), semantic_1"):
        cells_of("DeepCellNuclear", image, served, tmp_path, postprocess="retinanet")
    with pytest.raises(ModelMismatch, match=r"takes input_1 .*\(any, 256, 256, 2\)"):
        cells_of("DeepCellMultiplex", image, served, tmp_path)
