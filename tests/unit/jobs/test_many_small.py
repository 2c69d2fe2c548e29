"""Many small files of an archive, done together: each as it would have been alone."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Iterator
from io import BytesIO, StringIO
from typing import Any

import numpy as np
import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from numpy.typing import NDArray

from kiosk_tasks.archive_jobs import unpacking
from kiosk_tasks.archive_jobs.turns import Turns
from kiosk_tasks.errors import (
    Cancelled,
    KioskError,
    ModelMismatch,
    ModelServerUnavailable,
    StorageFull,
)
from kiosk_tasks.fan_out import FanOut
from kiosk_tasks.job import new_job
from kiosk_tasks.jobs import find, find_for
from kiosk_tasks.run.local import MemoryReporter, run_local
from kiosk_tasks.segmenting.cells import to_image
from kiosk_tasks.wiring import make_context
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
        facts: dict[str, Any] = json.loads(self.files[name])
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


def same_sized(count: int = FILES) -> dict[str, bytes]:
    return {f"{seed:02d}.tif": tiff_bytes(drawn(64, seed)) for seed in range(count)}


def test_few_small_files_get_a_job_each() -> None:
    asked = unpacked(zipped(same_sized(31)), {"input_file_name": "key"})
    assert {child.type_name for child in asked.children} == {"predict"}
    assert len(asked.children) == 31


def test_small_files_share_jobs_and_large_ones_have_their_own() -> None:
    files = {**same_sized(300), "large.tif": tiff_bytes(drawn(400, 1))}
    children = unpacked(zipped(files), {"input_file_name": "key"}).children
    assert [child.files for child in children] == [38] * 7 + [34, None]
    assert [child.type_name for child in children] == ["predict_many"] * 8 + ["predict"]
    assert all(len(json.dumps(child.fields)) < 300 for child in children)


def unpacked(data: bytes, given: dict[str, Any]) -> FanOut:
    return unpacked_by(fake_adapters(key=data), {"original_name": "photos.zip", **given})


def test_progress_counts_files() -> None:
    seen = Done(zipped(same_sized(64))).percents
    assert 50 in seen  # after the first of two jobs of 32
    assert seen[-1] == 100


class Moody(FakeModelServer):
    """Refuses a request in which there is a bright image; or has no time."""

    error: KioskError = ModelMismatch("it is too bright.")

    def predict(self, signature: Any, batches: Any, **given: Any) -> Iterator[dict[str, Any]]:
        for batch in batches:
            if batch["image"].shape[1] == 128:
                raise self.error
            yield from super().predict(signature, [batch], **given)


def test_a_model_that_refuses_one_image_is_asked_for_the_others() -> None:
    files = {
        **same_sized(),
        "mood.tif": tiff_bytes(drawn(100, 3)),
        "x.tif": tiff_bytes(drawn(64, 5)),
    }
    done = Done(zipped(files), Moody())
    assert [row["reason"] for row in done.table("failures.csv")] == ["it is too bright."]
    assert done.notes["files"] == FILES + 2


def test_a_request_that_fails_for_one_is_sent_for_each() -> None:
    class Picky(FakeModelServer):
        """Takes the two views of one image."""

        def predict(self, signature: Any, batches: Any, **given: Any) -> Iterator[dict[str, Any]]:
            for batch in batches:
                if len(batch["image"]) > 2:
                    raise ModelMismatch("that is too many.")
                yield from super().predict(signature, [batch], **given)

    done = Done(zipped(same_sized()), Picky())
    assert done.notes["failed"] == 0


def test_a_server_that_is_away_ends_the_batch_and_not_its_files() -> None:
    models = Moody()
    models.error = ModelServerUnavailable("nobody answers.")
    outside = fake_adapters(
        models=models, key=zipped({**same_sized(), "a.tif": tiff_bytes(drawn(100, 3))})
    )
    given = {"input_file_name": "key", "original_name": "photos.zip"}
    fanned = unpacked_by(outside, given)
    with pytest.raises(ModelServerUnavailable):  # so that the whole batch is run again
        run_local(new_job(find("predict_many"), fanned.children[-1].fields), given=outside)


def test_an_image_of_which_a_stage_breaks_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    name, breaks = "kiosk_tasks.jobs.predict.to_image", drawn(64, 7)

    def broken(labels: Any, image: Any, ctx: Any) -> Any:
        if np.array_equal(image.data, breaks):
            raise ZeroDivisionError("a mistake")
        return to_image(labels, image, ctx)

    monkeypatch.setattr(name, broken)
    done = Done(zipped(same_sized()))
    (row,) = done.table("failures.csv")
    assert row["file"] == "07.tif"
    assert row["reason"].startswith("an unforeseen error (ZeroDivisionError")


@pytest.mark.parametrize("error", [StorageFull("the disk is full."), SoftTimeLimitExceeded()])
def test_what_is_not_one_images_fault_ends_the_batch(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def broken(*_: Any) -> Any:
        raise error

    outside = fake_adapters(key=zipped(same_sized()))
    fanned = unpacked_by(outside, {"input_file_name": "key", "original_name": "photos.zip"})
    monkeypatch.setattr("kiosk_tasks.jobs.predict.to_image", broken)
    with pytest.raises(type(error)):
        run_local(new_job(find("predict_many"), fanned.children[0].fields), given=outside)


def test_a_batch_that_is_cancelled_ends_between_images() -> None:
    outside = fake_adapters(key=zipped(same_sized()))
    fanned = unpacked_by(outside, {"input_file_name": "key", "original_name": "photos.zip"})
    report = MemoryReporter()
    looks = iter(range(10**6))

    def check() -> None:
        if next(looks) > 30:
            raise Cancelled("it was cancelled.")

    report.check = check  # type: ignore[method-assign]
    job = new_job(find("predict_many"), fanned.children[0].fields)
    with pytest.raises(Cancelled):
        run_local(job, given=outside, report=report)
    assert not list(outside.storage.list("output/"))


def test_turns_that_are_left_end_what_waits() -> None:
    ended = []

    def waits() -> None:
        try:
            turns.wait()
        finally:
            ended.append(True)

    with Turns([waits, waits, waits], at_once=2) as turns:
        while turns.step():
            pass
        assert not ended
    assert ended == [True, True]


def unpacked_by(outside: Any, given: dict[str, Any]) -> FanOut:
    job_type = find_for("predict", given)
    ctx = make_context(new_job(job_type, given), MemoryReporter(), given=outside)
    fanned: FanOut = job_type.steps[0].run(None, ctx)
    return fanned
