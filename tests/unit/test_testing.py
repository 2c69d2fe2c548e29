"""What package authors test their job types with behaves as the real thing."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from kiosk_tasks.errors import MissingChannel, UnknownModel, UnreadableImage
from kiosk_tasks.fan_out import Child, FanOut
from kiosk_tasks.job import Context, JobType, Params, stage
from kiosk_tasks.jobs import find
from kiosk_tasks.testing import PretendModel, run_job
from tests.unit.test_docs import EXAMPLE


def clumps() -> JobType[Params]:
    """The job type of docs/examples/clumps.py."""
    names: dict[str, object] = {"__name__": "clumps"}
    exec(compile(EXAMPLE.read_text(), EXAMPLE, "exec", dont_inherit=True), names)  # noqa: S102
    found = names["job_type"]
    assert isinstance(found, JobType)
    return found


def two_blobs() -> np.ndarray[tuple[int, ...], np.dtype[np.uint16]]:
    pixels = np.full((90, 700), 100, np.uint16)
    pixels[10:30, 10:30] = pixels[60:80, 570:690] = 900
    return pixels


def bright(images: np.ndarray) -> dict[str, np.ndarray]:
    return {"foreground": images > 0.4}


def test_a_job_runs_with_a_function_for_a_model() -> None:
    ran = run_job(clumps(), two_blobs(), answer=bright, threshold=0.3)
    assert int(str(ran.notes["cells"])) >= 2
    ends = ("labels.ome.tif", "overlay.png", "cells.csv", "cells.geojson", "rois.zip", "job.json")
    names = {f"image_{end}" for end in ends}
    assert set(ran.files) == names


def test_errors_are_those_of_the_job() -> None:
    with pytest.raises(MissingChannel):
        run_job(clumps(), two_blobs(), answer=bright, channel=3)
    with pytest.raises(UnreadableImage):
        run_job(clumps(), b"", answer=bright)


def test_a_model_of_one_name_answers_to_no_other() -> None:
    with pytest.raises(UnknownModel, match="served are Mine"):
        PretendModel(bright, name="Mine").signature("Other")


def test_children_are_not_run() -> None:
    def split(_: None, _ctx: Context[Params]) -> FanOut:
        return FanOut((Child("many", {}),))

    def gather(_: object, ctx: Context[Params]) -> dict[str, str]:
        raise AssertionError(ctx)

    job_type = JobType("many", "Many", "many", Params, (stage(split, fans_out=True), gather))
    with pytest.raises(ValueError, match="hands work to children"):
        run_job(job_type, two_blobs())


def test_a_job_that_only_may_have_children_is_run() -> None:
    ran = run_job(find("predict"), two_blobs(), answer=heads, mpp=0.65)
    assert int(str(ran.notes["cells"])) >= 2
    assert "image_labels.ome.tif" in ran.files


def heads(images: np.ndarray) -> dict[str, np.ndarray]:
    inside = (images > 0.5).astype(np.float32)
    depth = np.stack([ndimage.distance_transform_edt(one) for one in inside[..., 0]])
    distance = (depth / max(depth.max(), 1)).astype(np.float32)[..., np.newaxis]
    return {"inner_distance": distance, "outer_distance": distance, "foreground": inside}
