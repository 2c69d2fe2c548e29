"""The shared stages with stages of one's own between them."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kiosk_tasks.errors import (
    FileTooLarge,
    ImageTooLarge,
    MissingObject,
    ModelMismatch,
    StorageFull,
)
from kiosk_tasks.imaging.limits import ImageLimits
from kiosk_tasks.job import ImageParams, JobType, Limits, Model, Stage, Status, new_job, stage
from kiosk_tasks.ports import Signature, TensorSpec
from kiosk_tasks.run.local import MemoryReporter
from kiosk_tasks.stages import check_job, download, grpc_predict, run_stages
from kiosk_tasks.wiring import make_context
from tests.fakes import fake_adapters, tiff_bytes

IMAGE = tiff_bytes(np.arange(20, dtype=np.uint16).reshape(4, 5))


def context(limits: Limits | None = None, **objects: bytes) -> tuple[Any, MemoryReporter]:
    job_type = JobType("toy", "Toy", "toy", ImageParams, (download,))
    report = MemoryReporter()
    job = new_job(job_type, {"input_file_name": "key", "mpp": 0.5, "original_name": "a.tif"})
    return make_context(job, report, given=fake_adapters(limits=limits, **objects)), report


def test_values_pass_from_stage_to_stage() -> None:
    ctx, report = context()
    steps = [
        stage(lambda value, _ctx: value + 1, name="one"),
        stage(lambda value, _ctx: value * 10, name="two"),
    ]
    assert run_stages(steps, 1, ctx) == 20
    assert set(report.seconds) == {"one", "two"}


def test_download_reads_and_notes() -> None:
    ctx, report = context(key=IMAGE)
    image = download(None, ctx)
    assert (image.axes, image.mpp, image.data.shape) == ("YX", 0.5, (4, 5))
    notes: dict[str, Any] = dict(report.notes())
    assert notes["input"]["bytes"] == len(IMAGE)
    assert notes["input"]["name"] == "a.tif"
    assert notes["image"] == {"axes": "YX", "shape": [4, 5], "dtype": "uint16", "mpp": 0.5}


def test_download_minds_the_limit_and_leaves_no_file(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ctx, _ = context(Limits(max_pixels=19), key=IMAGE)
    with pytest.raises(ImageTooLarge, match=r"a\.tif"):
        download(None, ctx)
    assert list(tmp_path.iterdir()) == []


def test_download_minds_the_file_size_and_uses_its_own_folder(tmp_path: Path) -> None:
    limits = Limits(max_file_bytes=len(IMAGE) - 1, scratch=tmp_path / "scratch")
    ctx, report = context(limits, key=IMAGE)
    with pytest.raises(FileTooLarge, match=r"a\.tif has .* bytes; .*KIOSK_MAX_FILE_BYTES"):
        download(None, ctx)
    assert list((tmp_path / "scratch").iterdir()) == []
    assert "input" not in report.notes()


def test_limits_reach_the_readers() -> None:
    limits = Limits(max_pixels=1, max_frames=2, max_file_bytes=3, max_archive_members=4)
    assert limits.image == ImageLimits(1, 2, 3)
    assert limits.archive.max_members == 4


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_scratch_disk_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    ctx, _ = context(Limits(scratch=tmp_path), key=IMAGE)

    def full(_key: str, target: Path, **_: object) -> None:
        target.write_bytes(IMAGE[:100])
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(ctx.storage, "download", full)
    with pytest.raises(StorageFull, match=r"scratch folder .* is full") as caught:
        download(None, ctx)
    assert caught.value.retry
    assert list(tmp_path.iterdir()) == []


def test_missing_input_is_named() -> None:
    ctx, _ = context()
    with pytest.raises(MissingObject, match="key"):
        download(None, ctx)


def test_checks_run_in_order_without_the_stages() -> None:
    ctx, _ = context()
    seen: list[str] = []
    steps = [
        Stage(name, lambda *_: seen.append("run"), Status.STARTED, check=check)
        for name, check in (
            ("a", lambda _ctx: seen.append("a")),
            ("b", None),
            ("c", lambda _ctx: seen.append("c")),
        )
    ]
    check_job(steps, ctx)
    assert seen == ["a", "c"]


def test_model_with_two_inputs_is_refused_before_any_work() -> None:
    ctx, _ = context(key=IMAGE)
    spec = TensorSpec("x", np.dtype(np.float32), (-1, -1, -1, 1))
    ctx.models.signature = lambda *_: Signature("Two", 3, {"x": spec, "y": spec}, {"z": spec})
    with pytest.raises(ModelMismatch, match=r"model Two version 3 takes 2 inputs \(x, y\)"):
        check_job([grpc_predict(Model("Two"))], ctx)
