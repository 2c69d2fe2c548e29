"""Tiles to a model server and back, plane after plane."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kiosk_tasks.errors import ModelMismatch
from kiosk_tasks.imaging.image import Image
from kiosk_tasks.imaging.tiling import TileLayout
from kiosk_tasks.imaging.values import Heads, Scale, Tiles
from kiosk_tasks.job import Context, Limits, Model, new_job
from kiosk_tasks.jobs.predict import job_type
from kiosk_tasks.ports import Signature
from kiosk_tasks.prediction import Predictor, predictor, served
from kiosk_tasks.run.local import MemoryReporter
from kiosk_tasks.storage.memory import MemoryStorage
from tests.fake_models import FakeModel, FakeModels

KNOWN = Scale(1.0, measured=True)


def answer(batch: NDArray[Any]) -> dict[str, NDArray[Any]]:
    return {"double": batch * 2, "both": np.concatenate([batch, -batch], axis=-1)}


def asking(
    model: FakeModel, *outputs: str, limits: Limits | None = None
) -> tuple[Predictor, MemoryReporter]:
    report = MemoryReporter()
    job = new_job(job_type, {"input_file_name": "a.tif"})
    models = FakeModels({"Toy": model})
    ctx: Context[Any] = Context(
        job, job.params, MemoryStorage(), models, report, limits or Limits(max_batch=4)
    )
    return predictor(served(Model("Toy"), ctx), ctx, outputs=outputs), report


def tiles_of(number: int, shape: tuple[int, int], tile: int = 16) -> Tiles:
    pixels = np.random.default_rng(number).random((*shape, 1)).astype(np.float32)
    layout = TileLayout(shape, tile, tile // 4)
    return Tiles(pixels, layout, KNOWN, Image(pixels[..., 0], "YX"))


def assert_same(one: Heads, other: Heads) -> None:
    assert one.image is other.image
    assert one.planes.keys() == other.planes.keys()
    for name, plane in one.planes.items():
        assert plane.tobytes() == other.planes[name].tobytes()


def test_planes_together_give_what_each_gives_alone() -> None:
    shapes = [(16, 16), (40, 30), (16, 16), (5, 16), (100, 17), (16, 16)]
    planes = [tiles_of(number, shape) for number, shape in enumerate(shapes)]
    model = FakeModel(answer)
    predict, _ = asking(model)
    alone = [predict(plane) for plane in planes]
    model.seen.clear()
    together = list(predict.many(planes))
    for one, other in zip(alone, together, strict=True):
        assert_same(one, other)
    sizes = [len(batch) for batch in model.seen]
    total = sum(len(plane.layout) for plane in planes)
    assert sizes == [4] * (total // 4) + [total % 4] * (total % 4 > 0)


def test_small_tiles_fill_requests_as_the_limits_allow() -> None:
    model = FakeModel(answer)
    planes = [tiles_of(number, (16, 16)) for number in range(50)]
    predict, _ = asking(model, limits=Limits(max_batch=4, max_items=32))
    assert len(list(predict.many(planes))) == 50
    assert [len(batch) for batch in model.seen] == [32, 18]


def test_planes_are_drawn_a_few_requests_ahead() -> None:
    drawn = 0

    def planes() -> Iterator[Tiles]:
        nonlocal drawn
        for number in range(100):
            drawn += 1
            yield tiles_of(number, (16, 16))

    predict, _ = asking(FakeModel(answer))
    for done, _heads in enumerate(predict.many(planes()), start=1):
        assert drawn - done <= 4
    assert drawn == 100


def test_planes_of_other_tiles_start_requests_of_their_own() -> None:
    model = FakeModel(answer)
    planes = [tiles_of(1, (16, 16)), tiles_of(2, (8, 8), 8), tiles_of(3, (8, 8), 8)]
    predict, _ = asking(model)
    assert [heads.planes["double"].shape for heads in predict.many(planes)] == [
        (16, 16, 1),
        (8, 8, 1),
        (8, 8, 1),
    ]
    assert [len(batch) for batch in model.seen] == [1, 2]


def test_all_outputs_are_asked_for_and_those_that_are_wanted_stitched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """TensorFlow Serving batches only requests for all outputs of a signature."""
    asked: list[set[str]] = []
    plain = FakeModels.predict

    def spy(self: FakeModels, signature: Signature, *args: Any, **named: Any) -> Any:
        asked.append(set(signature.outputs))
        return plain(self, signature, *args, **named)

    monkeypatch.setattr(FakeModels, "predict", spy)
    predict, _ = asking(FakeModel(answer), "double")
    assert set(predict(tiles_of(1, (20, 20))).planes) == {"double"}
    assert asked == [{"double", "both"}]


def test_a_model_that_loses_tiles_is_found_out() -> None:
    predict, _ = asking(
        FakeModel(lambda batch: {"double": batch[1:] * 2} if len(batch) > 1 else {"double": batch})
    )
    with pytest.raises(ModelMismatch, match="4 tiles were sent; of output double 3 came back"):
        list(predict.many([tiles_of(number, (16, 16)) for number in range(4)]))


def test_replies_are_let_go_before_the_next_are_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[weakref.ref[Any]] = []

    def watched(*given_to: Any, **_: Any) -> Iterator[Any]:
        for batch in given_to[-1]:
            assert not any(one() is not None for one in given)
            reply = answer(batch["image"])
            given.append(weakref.ref(reply["double"]))
            yield reply
            del reply

    monkeypatch.setattr(FakeModels, "predict", watched)
    predict, _ = asking(FakeModel(answer))
    assert len(list(predict.many([tiles_of(1, (60, 60)), tiles_of(2, (20, 20))]))) == 2
    assert len(given) > 3


@pytest.mark.parametrize(
    ("first", "soon", "in_flight"),
    [((16, 16), True, 1), ((28, 28), True, 1), ((64, 64), True, None), ((16, 16), False, None)],
)
def test_a_plane_of_one_request_is_not_held_up_by_the_next(
    monkeypatch: pytest.MonkeyPatch, first: tuple[int, int], soon: bool, in_flight: int | None
) -> None:
    asked, plain = [], FakeModels.predict

    def watched(models: FakeModels, *args: Any, **named: Any) -> Any:
        asked.append(named["in_flight"])
        return plain(models, *args, **named)

    monkeypatch.setattr(FakeModels, "predict", watched)
    ask, _ = asking(FakeModel(answer))
    planes = [tiles_of(1, first), tiles_of(2, (8, 8), tile=8)]
    for heads, tiles in zip(ask.many(planes, soon=soon), planes, strict=True):
        assert heads.image is tiles.image
    assert asked == [in_flight]
