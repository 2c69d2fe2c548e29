"""`spot` with a SavedModel of the published heads, served by a real gRPC server."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Iterator
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kiosk_tasks.errors import ModelMismatch, UnknownModel
from kiosk_tasks.job import new_job
from kiosk_tasks.jobs import find
from kiosk_tasks.run.local import MemoryReporter, run_local
from kiosk_tasks.scoring.spots import score_spots
from kiosk_tasks.serving.client import TensorFlowServing
from kiosk_tasks.serving.launch import ModelServerProcess
from tests.built_models import built
from tests.fakes import fake_adapters, tiff_bytes
from tests.simulated_spots import Scene, draw_spots
from tests.toy_spot_model import NAME


@pytest.fixture(scope="module")
def served(kept_models: Path) -> Iterator[TensorFlowServing]:
    folders = [built(name, kept_models) for name in ("toy_spot_model", "nuclei_model")]
    with ModelServerProcess(folders, options=["--intra-threads", "1", "--poll-s", "60"]) as server:
        client = TensorFlowServing(server.target)
        yield client
        client.close()


def run(pixels: NDArray[Any], served: Any, **fields: Any) -> tuple[NDArray[Any], dict[str, Any]]:
    given = fake_adapters(models=served, key=tiff_bytes(pixels))
    report = MemoryReporter()
    job = new_job(find("spot"), {"input_file_name": "key", "original_name": "a.tif", **fields})
    answer = run_local(job, given=given, report=report)
    with zipfile.ZipFile(BytesIO(given.storage.get(answer["output_file_name"]))) as archive:
        rows = list(csv.DictReader(StringIO(archive.read("a_spots.csv").decode())))
    found = np.array([[float(row["y"]), float(row["x"])] for row in rows]).reshape(-1, 2)
    return found, dict(report.notes())


def test_a_model_of_the_published_heads_finds_spots(served: TensorFlowServing) -> None:
    """An image of three by two tiles; what lies where tiles overlap is found once."""
    pixels, truth = draw_spots(Scene(spots=250, snr=25, glow=0), seed=5, shape=(1200, 700))
    found, notes = run(pixels, served, model_name=NAME)
    scores = score_spots(truth, found)
    assert scores.f1 > 0.9
    assert scores.rmse_px is not None
    assert scores.rmse_px < 0.35  # half a pixel each way without the offsets: 0.41
    assert notes["model"] == {"name": NAME, "version": 1}
    assert notes["spots"] == len(found)


def test_a_model_of_another_kind_is_refused(served: TensorFlowServing) -> None:
    pixels, _truth = draw_spots(Scene(), seed=1, shape=(64, 64))
    with pytest.raises(ModelMismatch, match="NuclearSegmentation version 1 does not find spots"):
        run(pixels, served, model_name="NuclearSegmentation")
    with pytest.raises(UnknownModel, match="SpotsOfMine"):
        run(pixels, served, model_name="SpotsOfMine")
