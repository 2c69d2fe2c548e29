"""Many small files of an archive, done together: each as it would have been alone."""

from __future__ import annotations

import csv
import json
import zipfile
from io import BytesIO, StringIO
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kiosk_tasks.archive_jobs import unpacking
from kiosk_tasks.job import new_job
from kiosk_tasks.jobs import find_for
from kiosk_tasks.run.local import MemoryReporter, run_local
from tests.fakes import FakeModelServer, fake_adapters, png_bytes, tiff_bytes
from tests.synthetic import draw_nuclei
from tests.unit.imaging.zips import zipped

FILES = 40


def drawn(side: int, seed: int, count: int = 3) -> NDArray[Any]:
    image, _ = draw_nuclei((side, side), count=count, seed=seed)
    return np.asarray(image)


def small_files() -> dict[str, bytes]:
    """Images of several sizes, kinds and pixel sizes, with some that no model can be shown."""
    files = {
        f"a/{seed:02d}.tif": tiff_bytes(drawn((64, 80, 100)[seed % 3], seed))
        for seed in range(FILES)
    }
    large = drawn(400, 90, 30)
    files |= {
        "a/00.png": png_bytes((drawn(64, 70) * 255).astype(np.uint8)),
        "b/colour.png": png_bytes(
            (np.stack([drawn(64, s) for s in (71, 72, 73)], -1) * 255).astype(np.uint8)
        ),
        "b/known.tif": tiff_bytes(drawn(96, 74), resolution=(20_000, 20_000), resolutionunit=3),
        "b/stack.tif": tiff_bytes(
            np.stack([drawn(64, s) for s in (75, 76, 77)]),
            photometric="minisblack",
            metadata={"axes": "ZYX"},
        ),
        "b/wide.tif": tiff_bytes(drawn(200, 78, 12)[:90]),
        "big.tif": tiff_bytes(large),
        "bad/constant.tif": tiff_bytes(np.full((64, 64), 7, np.uint8)),
        "bad/nan.tif": tiff_bytes(
            np.where(np.eye(64) > 0, np.nan, drawn(64, 79)).astype(np.float32)
        ),
        "bad/cut.tif": tiff_bytes(drawn(64, 80))[:-900],
        "bad/words.txt": b"these are only words",
        "bad/empty.png": b"",
        "bad/inner.zip": zipped({"x": b"y"}),
        "last.tif": tiff_bytes(drawn(64, 81)),
    }
    return files


class Done:
    """What a local run of an archive left."""

    def __init__(self, data: bytes, models: Any = None, **fields: Any) -> None:
        self.models = models or FakeModelServer()
        self.outside = fake_adapters(models=self.models, key=data)
        given = {"input_file_name": "key", "original_name": "photos.zip", **fields}
        self.percents: list[int] = []
        report = MemoryReporter(lambda _, percent: self.percents.append(percent))
        self.answer = run_local(
            new_job(find_for("predict", given), given), given=self.outside, report=report
        )
        self.notes = report.notes()
        packed = self.outside.storage.get(self.answer["output_file_name"])
        with zipfile.ZipFile(BytesIO(packed)) as archive:
            assert archive.testzip() is None
            self.order = archive.namelist()
            self.files = {name: archive.read(name) for name in self.order}

    def table(self, name: str) -> list[dict[str, str]]:
        rows = list(csv.DictReader(StringIO(self.files[name].decode())))
        return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]

    def record(self, name: str) -> dict[str, Any]:
        """A file's record, without what differs between any two runs of a job."""
        facts = json.loads(self.files[name])
        facts["outputs"] = {k: v for k, v in facts["outputs"].items() if not _is_record(k)}
        facts["outputs"].pop("summary.csv", None)
        for times in ("seconds", "job"):
            del facts[times]
        facts["input"].pop("key")
        return facts


def _is_record(name: str) -> bool:
    return name.endswith("_job.json")


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs an archive of which each file gets a job of its own."""

    def run(*given: Any, **fields: Any) -> Done:
        with monkeypatch.context() as patch:
            patch.setattr(unpacking, "_FEWEST", 10**9)
            return Done(*given, **fields)

    return run


@pytest.mark.parametrize("fields", [{}, {"mpp": 0.5, "min_size": 30}, {"labels_only": True}])
def test_many_small_files_have_the_results_of_each_alone(
    alone: Any, fields: dict[str, Any]
) -> None:
    files = zipped(small_files())
    together, one_by_one = Done(files, **fields), alone(files, **fields)
    assert len(together.models.shapes) < len(one_by_one.models.shapes) / 2
    assert together.order == one_by_one.order
    for name, data in one_by_one.files.items():
        if _is_record(name):
            assert together.record(name) == one_by_one.record(name)
        elif name == "summary.csv":
            assert together.table(name) == one_by_one.table(name)
        else:
            assert together.files[name] == data, name
    assert together.answer["failures"] == one_by_one.answer["failures"]
