"""Segmenting planes from another job type's stage: the model, the scale, the cells."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from kiosk_tasks.choices import Choices
from kiosk_tasks.errors import InvalidParameter, ModelMismatch
from kiosk_tasks.imaging.image import Image
from kiosk_tasks.imaging.labels import WatershedParams
from kiosk_tasks.imaging.values import Heads, Scale, Tiles
from kiosk_tasks.job import Context, JobType, Limits, Params, new_job
from kiosk_tasks.ports import TensorSpec
from kiosk_tasks.run.local import MemoryReporter
from kiosk_tasks.segmenting import labelling
from kiosk_tasks.segmenting.cells import cell_model, find_scale, segment_planes
from kiosk_tasks.segmenting.labelling import POSTPROCESSING, RAW, label_cells
from kiosk_tasks.segmenting.look import look_with
from kiosk_tasks.segmenting.params import CellParams, Postprocess
from kiosk_tasks.segmenting.sizing import fitting_heads
from kiosk_tasks.settings import choices as settings_choices
from kiosk_tasks.storage.memory import MemoryStorage
from tests.fake_models import FakeModel, FakeModels, deepcell, ours
from tests.synthetic import draw_nuclei

NUCLEI = "NuclearSegmentation"


def context(
    models: dict[str, FakeModel] | None = None,
    params: type[Params] = CellParams,
    choices: Choices | None = None,
    told: list[int] | None = None,
    **fields: Any,
) -> Context[Any]:
    job_type = JobType("frames", "Frames", "frames", params, (lambda value, _ctx: value,))
    job = new_job(job_type, {"input_file_name": "x", **fields})
    report = MemoryReporter(
        lambda _status, percent: (told if told is not None else []).append(percent)
    )
    server: Any = FakeModels(models or {NUCLEI: ours()})
    made = Context(job, job.params, MemoryStorage(), server, report)
    return replace(made, choices=choices or Choices())


def plane(seed: int = 4, *, mpp: float | None = None) -> tuple[Image, NDArray[np.int32]]:
    pixels, truth = draw_nuclei((160, 200), count=15, seed=seed)
    return Image(pixels, "YX", mpp), truth


def test_model_of_a_job_that_says_nothing() -> None:
    cells = cell_model(context(params=Params))
    assert (cells.model.name, cells.model.version) == (NUCLEI, None)
    assert (cells.postprocess, cells.preprocess, cells.label) == ("deep_watershed", None, 0)
    assert (cells.model.tile, cells.model.mpp) == (512, 0.65)


def test_operator_caller_and_job_choose_in_this_order() -> None:
    choices = Choices(cytoplasm_model="Cyto:3", cytoplasm_postprocess="pixelwise")
    ctx = context(choices=choices, label=1)
    assert cell_model(ctx).model.name == "Cyto"
    assert cell_model(ctx).model.version == 3
    assert cell_model(ctx).postprocess == "pixelwise"
    assert cell_model(ctx, label=0).model.name == NUCLEI
    given = cell_model(ctx, model="Frames:2", postprocess="mibi")
    assert (given.model.name, given.model.version, given.postprocess) == ("Frames", 2, "mibi")
    asked = cell_model(context(postprocess="watershed"), postprocess="mibi")
    assert asked.postprocess == "watershed"


@pytest.mark.parametrize(
    ("fields", "mpp", "factor"),
    [
        ({}, 0.325, 0.5),
        ({"scale": 2}, 0.325, 2.0),
        ({"diameter": 48}, None, 0.5),
        ({"diameter": 48}, 0.65, 1.0),
    ],
)
def test_known_scale_asks_no_model(
    fields: dict[str, Any], mpp: float | None, factor: float
) -> None:
    ctx = context(models={}, **fields)
    scale = find_scale(plane(mpp=mpp)[0], ctx, cells=cell_model(ctx))
    assert scale == Scale(factor, measured=True)


def test_unknown_scale_is_found_by_agreement() -> None:
    rows, columns = np.mgrid[:480, :480]
    large = np.hypot(rows % 120 - 60, columns % 120 - 60) <= 40
    image = Image(np.where(large, 3000, 200).astype(np.uint16), "YX")
    ctx = context()
    assert find_scale(image, ctx, cells=cell_model(ctx)).factor == pytest.approx(0.3, rel=0.05)
    usual, _ = plane()
    assert find_scale(usual, ctx, cells=cell_model(ctx)).factor == 1
    cytoplasm = cell_model(ctx, label=1)
    assert find_scale(
        image, context(models={"CytoplasmSegmentation": ours()}), cells=cytoplasm
    ) == (Scale(1.0, measured=False))


def test_what_asks_the_model_may_be_given() -> None:
    ctx, asked = context(), []

    def predict(tiles: Tiles) -> Heads:
        asked.append(tiles.scale.factor)
        nothing = np.zeros((*tiles.layout.shape, 1), np.float32)
        names = ("inner_distance", "outer_distance", "foreground")
        return Heads(dict.fromkeys(names, nothing), tiles.scale, tiles.image)

    scale = find_scale(plane()[0], ctx, cells=cell_model(ctx), predict=predict)
    assert scale.factor == 1
    assert asked == [1, 0.5, 0.25]


def test_planes_are_segmented_one_by_one() -> None:
    drawn: list[int] = []
    told: list[int] = []
    ctx = replace(context(told=told), limits=Limits(max_batch=1))
    images = [plane(seed) for seed in range(4)]

    def frames() -> Iterator[Image]:
        for number, (image, _) in enumerate(images):
            drawn.append(number)
            yield image

    found = segment_planes(
        frames(), ctx, cells=cell_model(ctx), scale=Scale(1.0, measured=True), total=4
    )
    assert drawn == []
    for number, (labels, (_, truth)) in enumerate(zip(found, images, strict=True)):
        assert drawn == list(range(number + 1)), "no frame is drawn before it is needed"
        assert (labels.dtype, labels.shape) == (np.int32, truth.shape)
        assert labels.max() == truth.max()
    assert told == [25, 50, 75, 100]


def test_small_objects_and_empty_planes() -> None:
    pixels = np.full((80, 80), 100, np.uint16)
    pixels[10:15, 10:15] = pixels[40:50, 40:50] = 3000
    empty = Image(np.zeros((80, 80), np.uint16), "YX")
    for fields, count in (({}, 2), ({"min_size": 26}, 1)):
        ctx = context(**fields)
        cells, scale = cell_model(ctx), Scale(1.0, measured=True)
        some, none = segment_planes([Image(pixels, "YX"), empty], ctx, cells=cells, scale=scale)
        assert some.max() == count
        assert not none.any()


def test_many_planes_of_one_value_are_not_held() -> None:
    held: list[weakref.ref[Image]] = []

    def planes() -> Iterator[Image]:
        for number in range(20):
            image = Image(np.full((8, 6), number, np.uint16), "YX")
            held.append(weakref.ref(image))
            yield image
            del image
            assert sum(one() is not None for one in held) <= 1

    ctx, scale = context(), Scale(1.0, measured=True)
    image, truth = plane()
    cells = cell_model(ctx)
    blank = [Image(np.zeros((5, 7), np.uint16), "YX")] * 2
    some = segment_planes([*blank, image, *blank], ctx, cells=cells, scale=scale)
    assert [int(labels.max()) for labels in some] == [0, 0, truth.max(), 0, 0]
    shapes = [labels.shape for labels in segment_planes(planes(), ctx, cells=cells, scale=scale)]
    assert shapes == [(8, 6)] * 20


def test_labels_come_at_the_size_of_the_plane() -> None:
    image, truth = plane()
    ctx = context(scale=2)
    cells = cell_model(ctx)
    (labels,) = segment_planes([image], ctx, cells=cells, scale=Scale(2.0, measured=True))
    assert labels.shape == truth.shape
    assert labels.max() == truth.max()


def test_every_name_is_known_everywhere() -> None:
    assert {*POSTPROCESSING, RAW} == set(get_args(Postprocess))
    assert get_args(Postprocess) == get_args(settings_choices.Postprocess)
    with pytest.raises(InvalidParameter, match="leaves no cells"):
        label_cells(Heads({}, Scale(1.0, measured=True), plane()[0]), RAW)


def test_published_heads_go_into_the_published_watershed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which of the heads is what: the maxima, the interior, and the thresholds."""
    calls: list[tuple[float, float, WatershedParams]] = []

    def spy(maxima: NDArray[Any], interior: NDArray[Any], *, params: WatershedParams) -> Any:
        calls.append((float(maxima[0, 0]), float(interior[0, 0]), params))
        return np.zeros(maxima.shape, np.int32)

    monkeypatch.setattr("kiosk_tasks.segmenting.labelling.deep_watershed", spy)
    flat = Image(np.zeros((2, 2)), "YX")

    def give(**values: list[float]) -> None:
        heads = {
            n: np.array(v, np.float32) * np.ones((2, 2, 1), np.float32) for n, v in values.items()
        }
        label_cells(Heads(heads, Scale(1.0, measured=True), flat), "deep_watershed")

    give(semantic_0=[1], semantic_1=[2])
    give(semantic_0=[1], semantic_1=[2], semantic_2=[3, 4, 5])
    give(semantic_0=[1], semantic_1=[2, 3, 4, 5])
    give(foreground=[4], inner_distance=[1], outer_distance=[2])
    assert [call[:2] for call in calls] == [(1, 2), (1, 2), (1, 4), (1.5, 4)]
    assert [call[2].interior_threshold for call in calls] == [0.01, 0.01, 0.2, 0.55]
    assert [call[2].radius for call in calls] == [10, 10, 10, 1]


def test_a_model_with_two_inputs_is_refused() -> None:
    class Two(FakeModels):
        def signature(self, name: str, version: int | None = None) -> Any:
            found = super().signature(name, version)
            return replace(found, inputs={**found.inputs, "more": found.inputs["image"]})

    ctx = replace(context(), models=Two({NUCLEI: deepcell("inner", "outer")}))
    with pytest.raises(ModelMismatch, match="takes 2 inputs"):
        list(
            segment_planes(
                [plane()[0]], ctx, cells=cell_model(ctx), scale=Scale(1.0, measured=True)
            )
        )


@pytest.mark.parametrize(
    ("shape", "fits"),
    [
        (None, True),
        ((-1, -1, -1, 1), True),
        ((1, 512, 512, -1), True),
        ((-1, 256, 256, 2), False),
        ((-1, 512, 256, 1), False),
        ((-1, 28, 28), False),
    ],
)
def test_a_model_of_other_images_is_told_at_once(shape: tuple[int, ...] | None, fits: bool) -> None:
    class Odd(FakeModels):
        def signature(self, name: str, version: int | None = None) -> Any:
            found = super().signature(name, version)
            return replace(found, inputs={"image": TensorSpec("image", np.dtype("f4"), shape)})

    ctx = replace(context(), models=Odd({NUCLEI: ours()}))
    if fits:
        look_with(cell_model(ctx), ctx)
    else:
        with pytest.raises(ModelMismatch, match="square tiles of one channel"):
            look_with(cell_model(ctx), ctx)


def test_cells_that_told_the_size_are_not_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[int, ...]] = []
    plain = POSTPROCESSING["deep_watershed"]

    def counted(heads: Heads) -> Any:
        labels = plain(heads)
        made.append(labels.shape)
        return labels

    image, _ = plane()
    ctx = context()
    look = look_with(cell_model(ctx), ctx)
    again = label_cells(look.at(image, Scale(1.0, measured=False)), "deep_watershed")
    monkeypatch.setattr(labelling, "POSTPROCESSING", {"deep_watershed": counted})
    heads = fitting_heads(image, ctx, look=look, scale=Scale(1.0, measured=False))
    np.testing.assert_array_equal(label_cells(heads, "deep_watershed"), again)
    assert made.count((160, 200)) == 1


def test_what_is_under_way_is_cancelled_when_cells_cannot_be_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed: list[bool] = []

    class Watched(FakeModels):
        def predict(self, *args: Any, **named: Any) -> Any:
            try:
                yield from super().predict(*args, **named)
            finally:
                closed.append(True)

    def fail(_heads: Heads) -> Any:
        raise ModelMismatch("no cells")

    ctx = replace(context(), models=Watched({NUCLEI: ours()}))
    look = look_with(cell_model(ctx), ctx)
    monkeypatch.setattr(labelling, "POSTPROCESSING", {"deep_watershed": fail})
    with pytest.raises(ModelMismatch, match="no cells") as error:
        fitting_heads(plane()[0], ctx, look=look, scale=Scale(1.0, measured=False))
    assert error.tb is not None  # its frames are still there, and hold what they held
    assert closed == [True]
