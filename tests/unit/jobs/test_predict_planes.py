"""The job `predict` on stacks, several channels, other models and other postprocessings."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from scipy import ndimage

from kiosk_tasks.choices import Choices
from kiosk_tasks.errors import InvalidParameter, ModelMismatch, UnknownModel, UnusableImage
from kiosk_tasks.imaging.io import read
from kiosk_tasks.job import new_job
from kiosk_tasks.jobs import find
from kiosk_tasks.run.local import MemoryReporter, run_local
from kiosk_tasks.stages import run_stages
from kiosk_tasks.workspace import decode, encode
from tests.fake_models import FakeModel, FakeModels, deepcell, ours, says
from tests.fakes import fake_adapters, tiff_bytes

NUCLEI, CYTOPLASM, PHASE = "NuclearSegmentation", "CytoplasmSegmentation", "PhaseSegmentation"


@dataclass
class Done:
    """What a run left: label images by the name of their file, all files, facts."""

    labels: dict[str, NDArray[np.int32]]
    files: dict[str, bytes]
    notes: dict[str, Any]
    told: list[tuple[str, int]]


def run(
    pixels: NDArray[Any],
    folder: Path,
    models: dict[str, FakeModel] | None = None,
    choices: Choices | None = None,
    **fields: Any,
) -> Done:
    told: list[tuple[str, int]] = []
    report = MemoryReporter(lambda status, percent: told.append((status, percent)))
    server: Any = FakeModels(models or {NUCLEI: ours()})
    data = tiff_bytes(pixels, photometric="minisblack")
    given = replace(fake_adapters(models=server, key=data), choices=choices or Choices())
    job = new_job(find("predict"), {"input_file_name": "key", "original_name": "a.tif", **fields})
    answer = run_local(job, given=given, report=report)
    with zipfile.ZipFile(BytesIO(given.storage.get(answer["output_file_name"]))) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    labels = {}
    for name, content in files.items():
        if name.endswith("_labels.ome.tif"):
            (folder / name).write_bytes(content)
            image = read(folder / name, name=name)
            assert (image.axes, image.data.dtype) == ("YX", np.int32)
            labels[name.removeprefix("a_").removesuffix("_labels.ome.tif")] = image.data
    return Done(labels, files, dict(report.notes()), told)


def discs(count: int, *, step: int = 40, radius: float = 9, size: int = 160) -> NDArray[np.uint16]:
    """The first `count` discs of a grid, 16 in all."""
    rows, columns = np.mgrid[:size, :size]
    near = np.hypot(rows % step - step // 2, columns % step - step // 2) <= radius
    first = rows // step * (size // step) + columns // step < count
    image = np.where(near & first, 3000, 200)
    image[0, 0] = 3000  # no plane is empty
    return image.astype(np.uint16)


@pytest.mark.parametrize("axes", ["XYB", "BXY", "YXB", "BYX", "TYX", "ZYX"])
def test_stacks_give_one_label_image_per_plane(axes: str, tmp_path: Path) -> None:
    stack = np.stack([discs(count) for count in (16, 3, 7)])
    pixels = np.moveaxis(stack, 0, -1) if axes[0] in "XY" else stack
    done = run(pixels, tmp_path, axes=axes.replace("XY", "YX"), mpp=0.65)
    assert {name: labels.max() for name, labels in done.labels.items()} == {
        **{"batch_0": 16, "batch_1": 3, "batch_2": 7}
    }
    np.testing.assert_array_equal(
        done.labels["batch_1"] > 0, (stack[1] > 1000) & (stack[1] < 4000) & ~_corner(stack[1])
    )
    assert done.notes["cells"] == 26
    assert "a_batch_2_overlay.png" in done.files
    assert "a_batch_2_cells.csv" in done.files
    percents = [percent for status, percent in done.told if status == "predicting"]
    assert percents == sorted(percents)
    assert percents[-1] == 100


def _corner(plane: NDArray[Any]) -> NDArray[np.bool_]:
    corner = np.zeros(plane.shape, np.bool_)
    corner[0, 0] = True
    return corner


@pytest.mark.parametrize("axes", ["CYX", "YXC"])
def test_each_channel_is_seen_by_its_own_model(axes: str, tmp_path: Path) -> None:
    channels = np.stack([discs(16), discs(5)])
    models = {NUCLEI: ours(), CYTOPLASM: ours()}
    pixels = np.moveaxis(channels, 0, -1) if axes == "YXC" else channels
    done = run(pixels, tmp_path, models, axes=axes, channels="1,0", mpp=0.65)
    assert {name: labels.max() for name, labels in done.labels.items()} == {
        **{"channel_1": 5, "channel_0": 16}
    }
    assert [len(models[name].seen) for name in (NUCLEI, CYTOPLASM)] == [1, 1]
    assert done.notes["models"] == {
        "nuclear": {"name": NUCLEI, "version": 1},
        "cytoplasm": {"name": CYTOPLASM, "version": 1},
    }
    assert done.notes["channels"] == {"nuclear": 1, "cytoplasm": 0}


def test_batch_and_channels_at_once(tmp_path: Path) -> None:
    pixels = np.stack([np.stack([discs(2), discs(3)]), np.stack([discs(4), discs(5)])])
    models = {NUCLEI: ours(), CYTOPLASM: ours()}
    pixels = pixels.transpose(1, 2, 3, 0)
    done = run(pixels, tmp_path, models, axes="CYXB", channels="0,1", mpp=0.65)
    assert {name: labels.max() for name, labels in done.labels.items()} == {
        "batch_0_channel_0": 2,
        "batch_1_channel_0": 4,
        "batch_0_channel_1": 3,
        "batch_1_channel_1": 5,
    }


@pytest.mark.parametrize(
    ("fields", "model"),
    [
        ({}, NUCLEI),
        ({"label": 0}, NUCLEI),
        ({"label": 1}, CYTOPLASM),
        ({"label": "2"}, PHASE),
        ({"channels": "0,,"}, NUCLEI),
        ({"channels": ",0"}, CYTOPLASM),
        ({"channels": ",,"}, NUCLEI),
        ({"label": 1, "model_name": "Mine"}, "Mine"),
    ],
)
def test_the_label_chooses_the_model(fields: dict[str, Any], model: str, tmp_path: Path) -> None:
    models = {name: ours() for name in (NUCLEI, CYTOPLASM, PHASE, "Mine")}
    done = run(discs(4), tmp_path, models, mpp=0.65, **fields)
    assert done.notes["model"]["name"] == model
    assert [labels.max() for labels in done.labels.values()] == [4]


def test_an_operator_chooses_models_and_postprocessing(tmp_path: Path) -> None:
    models = {"Nucs": deepcell("classes3")}
    choices = Choices(nuclear_model="Nucs:1", nuclear_postprocess="pixelwise")
    done = run(discs(6), tmp_path, models, choices, mpp=0.65)
    assert done.notes["cells"] == 6
    with pytest.raises(UnknownModel):
        run(discs(6), tmp_path, models, Choices(nuclear_model="Nucs:2"), mpp=0.65)


@pytest.mark.parametrize(("scale", "side"), [(0.5, 128), (2.0, 320), (1, 192)])
def test_scale_is_taken_as_it_is(scale: float, side: int, tmp_path: Path) -> None:
    models = {NUCLEI: ours()}
    done = run(discs(16), tmp_path, models, scale=scale, mpp=0.3)
    assert done.notes["scale"] == scale
    assert {images.shape[1] for images in models[NUCLEI].seen} == {side}
    assert done.notes["cells"] == 16


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"scale": 0.05}, "'scale' is 0.05, but should be greater than or equal to 0.1"),
        ({"scale": "11"}, "'scale' is '11', but should be less than or equal to 10"),
        ({"label": 3}, "'label' is 3, but should be less than or equal to 2"),
        ({"postprocess": "magic"}, "'postprocess' is 'magic', but should be 'deep_watershed', "),
        ({"channels": "0,1,2,3"}, "up to three numbers from 0"),
        ({"channels": "0", "channel": 1}, "not both"),
    ],
)
def test_parameters_out_of_range_are_told(
    fields: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidParameter) as caught:
        run(discs(1), tmp_path, **fields)
    assert said in str(caught.value)


POSTPROCESSED = {
    "deep_watershed": deepcell("inner", "outer"),
    "watershed": deepcell("classes3"),
    "pixelwise": deepcell("classes4"),
    "mibi": deepcell("classes3"),
}


@pytest.mark.parametrize("name", POSTPROCESSED)
@pytest.mark.parametrize("preprocess", ["percentile", "clahe", "none"])
def test_postprocess_by_name(name: str, preprocess: str, tmp_path: Path) -> None:
    image = discs(9).astype(np.float32) / 3000
    models = {"Mine": POSTPROCESSED[name]}
    fields = {"model_name": "Mine", "postprocess": name, "preprocess": preprocess}
    done = run(image, tmp_path, models, mpp=0.65, **fields)
    assert done.notes["cells"] == 9


def test_intensities_are_what_the_model_was_trained_with(tmp_path: Path) -> None:
    """Ours: percentiles, above 1 for the brightest. Others: CLAHE, from 0 to 1. None: as it is."""
    image = discs(9)
    image[80, 80] = 60000
    ranges = {}
    for name, model, fields in (
        ("ours", ours(), {}),
        ("theirs", deepcell("inner", "outer"), {}),
        ("none", ours(1000), {"preprocess": "none"}),
    ):
        run(image, tmp_path, {NUCLEI: model}, mpp=0.65, **fields)
        seen = model.seen[0][:, :160, :160]
        ranges[name] = (float(seen.min()), float(seen.max()))
    assert ranges["ours"][1] == pytest.approx(1.6)
    assert ranges["theirs"] == (0.0, 1.0)
    assert ranges["none"] == (200.0, 60000.0)


def test_none_gives_the_models_outputs(tmp_path: Path) -> None:
    image = np.stack([discs(9), discs(2)])
    models = {NUCLEI: deepcell("inner", "classes3")}
    done = run(image, tmp_path, models, axes="BYX", postprocess="none", mpp=0.65)
    assert set(done.files) == {
        *("a_batch_0_heads.ome.tif", "a_batch_1_heads.ome.tif", "a_job.json")
    }
    file = tmp_path / "heads.ome.tif"
    file.write_bytes(done.files["a_batch_0_heads.ome.tif"])
    with tifffile.TiffFile(file) as tiff:
        (series,) = tiff.series
        assert series.axes == "CYX"
        pixels = series.asarray()
        description = tiff.ome_metadata or ""
    assert (pixels.dtype, pixels.shape) == (np.float32, (4, 160, 160))
    seen = models[NUCLEI].seen[0]
    expected = models[NUCLEI].answer(seen)
    np.testing.assert_allclose(pixels[0], expected["semantic_0"][0, :160, :160, 0], atol=1e-6)
    np.testing.assert_allclose(pixels[2], expected["semantic_1"][0, :160, :160, 1], atol=1e-6)
    assert all(f'Name="{n}"' in description for n in ("semantic_0", "semantic_1 2"))
    assert 'PhysicalSizeX="0.65"' in description


def test_boxes_alone_are_no_image(tmp_path: Path) -> None:
    def answer(images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        shape = (len(images), 2)
        return {"boxes": np.zeros((*shape, 4), np.float32), "scores": np.zeros(shape, np.float32)}

    models = {NUCLEI: FakeModel(answer)}
    with pytest.raises(ModelMismatch, match=r"an output of the image's size\. It gives .* boxes"):
        run(discs(1), tmp_path, models, postprocess="none", mpp=0.65)
    with pytest.raises(ModelMismatch, match=r"needs: masks\. It gives"):
        run(discs(1), tmp_path, models, postprocess="retinanet", mpp=0.65)
    with pytest.raises(ModelMismatch, match="pixelwise classes"):
        run(discs(1), tmp_path, models, postprocess="retinanet-semantic", mpp=0.65)


def test_labels_only(tmp_path: Path) -> None:
    one = run(discs(3), tmp_path, labels_only=True, mpp=0.65)
    assert set(one.files) == {"a_labels.ome.tif", "a_job.json"}
    two = run(np.stack([discs(3), discs(4)]), tmp_path, labels_only=True, axes="TYX", mpp=0.65)
    assert set(two.files) == {
        *("a_batch_0_labels.ome.tif", "a_batch_1_labels.ome.tif", "a_job.json")
    }
    assert two.notes["cells"] == 7


def test_one_scale_for_all_planes_from_a_few(tmp_path: Path) -> None:
    """Ten planes of nuclei of 80 px: three are looked at, and all are seen at 24 / 80."""
    plane = discs(16, step=120, radius=40, size=480)
    models = {NUCLEI: ours()}
    done = run(np.stack([plane] * 10), tmp_path, models, axes="ZYX", labels_only=True)
    assert done.notes["diameter"] == pytest.approx(80, rel=0.05)
    assert done.notes["scale"] == pytest.approx(0.3, rel=0.05)
    sides = [images.shape[1] for images in models[NUCLEI].seen]
    assert sides.count(512) == 3, "the first look at each sample"
    assert sides[-10:] == [192] * 10
    assert all(labels.max() == 16 for labels in done.labels.values())


def test_empty_planes_among_others(tmp_path: Path) -> None:
    stack = np.stack([discs(4), np.full((160, 160), 7, np.uint16), discs(5)])
    done = run(stack, tmp_path, axes="TYX")
    assert [labels.max() for labels in done.labels.values()] == [4, 0, 5]
    with pytest.raises(UnusableImage, match=r"every pixel of a\.tif has the value 7"):
        run(np.full((3, 64, 64), 7, np.uint16), tmp_path, axes="TYX")
    broken = stack.astype(np.float32)
    broken[2, 5, 5] = np.nan
    with pytest.raises(UnusableImage, match=r"a\.tif \(batch_2\) has 1 pixel that is NaN"):
        run(broken, tmp_path, axes="TYX")


def test_no_cells_at_all(tmp_path: Path) -> None:
    done = run(discs(4), tmp_path, {NUCLEI: ours(99)})
    (labels,) = done.labels.values()
    assert not labels.any()
    assert done.notes["cells"] == 0
    assert done.files["a_cells.csv"].decode().count("\n") == 1


@pytest.mark.parametrize(
    ("model", "postprocess", "missing"),
    [
        (deepcell("inner"), "deep_watershed", "an outer distance (1 channel) or pixelwise classes"),
        (deepcell("classes3"), "deep_watershed", "an inner distance (1 channel)"),
        (deepcell("inner", "outer"), "watershed", "pixelwise classes (2 to 4 channels)"),
        (deepcell("inner", "outer"), "mibi", "pixelwise classes (2 to 4 channels)"),
        (deepcell("classes3"), "retinanet", "boxes (N, 4) with scores"),
        (deepcell("classes3"), "retinanet-semantic", "boxes (N, 4) with scores"),
    ],
)
def test_missing_heads_are_named(
    model: FakeModel, postprocess: str, missing: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelMismatch) as caught:
        run(discs(4), tmp_path, {NUCLEI: model}, postprocess=postprocess)
    message = str(caught.value)
    assert missing in message
    assert "semantic_0 (" in message, "what the model gives"
    assert "\n" not in message


def test_detection_is_off_by_default(tmp_path: Path) -> None:
    run(discs(4), tmp_path, {NUCLEI: ours()})  # no detecting model is served


def test_label_and_scale_are_detected(tmp_path: Path) -> None:
    stack = np.stack([discs(n + 1) for n in range(12)])
    models = {CYTOPLASM: ours(), "LabelDetection": says(0.1, 0.7, 0.2), "ScaleDetection": says(0.5)}
    choices = Choices(detect_label=True, detect_scale=True)
    done = run(stack, tmp_path, models, choices, axes="TYX", labels_only=True)
    assert done.notes["detected_label"] == "cytoplasm"
    assert done.notes["detected_scale"] == done.notes["scale"] == 0.5
    assert {images.shape[1] for images in models[CYTOPLASM].seen} == {128}
    for name in ("LabelDetection", "ScaleDetection"):
        shown = np.concatenate(models[name].seen)
        assert shown.shape == (10, 216, 216, 1), "ten samples of twelve planes"
        assert shown.dtype == np.float32
        np.testing.assert_allclose(shown.mean(axis=(1, 2, 3)), 0, atol=1e-4)
        np.testing.assert_allclose(shown.std(axis=(1, 2, 3)), 1, atol=1e-4)


def test_what_the_job_says_is_not_detected(tmp_path: Path) -> None:
    choices = Choices(detect_label=True, detect_scale=True)
    models = {CYTOPLASM: ours(), "LabelDetection": says(1, 0, 0), "ScaleDetection": says(3.0)}
    run(discs(4), tmp_path, models, choices, label=1, mpp=0.65)
    assert not models["LabelDetection"].seen
    assert not models["ScaleDetection"].seen
    run(discs(4), tmp_path, {CYTOPLASM: ours()}, choices, channels=",0", scale=1)  # nor served


def test_detecting_models_that_do_not_fit(tmp_path: Path) -> None:
    choices = Choices(detect_label=True)
    with pytest.raises(UnknownModel, match="LabelDetection"):
        run(discs(4), tmp_path, {NUCLEI: ours()}, choices)
    with pytest.raises(ModelMismatch, match="one score for each of nuclear, cytoplasm, phase"):
        run(discs(4), tmp_path, {NUCLEI: ours(), "LabelDetection": says(1, 0)}, choices)
    models = {NUCLEI: ours(), "ScaleDetection": says(17.0)}
    with pytest.raises(ModelMismatch, match=r"a scale of 17; this job takes 0\.1 to 10"):
        run(discs(4), tmp_path, models, Choices(detect_scale=True))


@pytest.mark.parametrize("said", [np.nan, np.inf])
def test_detecting_models_that_say_no_number(said: float, tmp_path: Path) -> None:
    both = {NUCLEI: ours(), "LabelDetection": says(0, said, 1), "ScaleDetection": says(said)}
    with pytest.raises(ModelMismatch, match="LabelDetection answers with NaN or infinity"):
        run(discs(4), tmp_path, both, Choices(detect_label=True))
    with pytest.raises(ModelMismatch, match="ScaleDetection answers with NaN or infinity"):
        run(discs(4), tmp_path, both, Choices(detect_scale=True))


@pytest.mark.parametrize("diameter", [1.5, 241, "inf"])
def test_a_diameter_does_not_resize_more_than_a_scale_may(diameter: float) -> None:
    with pytest.raises(InvalidParameter, match=r"'diameter' is .*equal to 2(40|\.4)"):
        new_job(find("predict"), {"input_file_name": "key", "diameter": diameter})


def test_more_than_65536_cells(tmp_path: Path) -> None:
    """No number is used twice, none is lost: not in the watershed, nor in the file."""
    across, step = 257, 6
    cell = np.zeros((step, step), np.uint16)
    cell[1:5, 1:5] = 3000
    image = np.tile(cell, (across, across))

    def answer(images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        inside = (images > 0.5).astype(np.float32)
        middle = ndimage.uniform_filter(inside, (1, 3, 3, 1))
        return {"inner_distance": middle, "outer_distance": middle, "foreground": inside}

    done = run(image, tmp_path, {NUCLEI: FakeModel(answer)}, mpp=0.65, labels_only=True)
    (labels,) = done.labels.values()
    assert done.notes["cells"] == labels.max() == across**2 == 66049
    np.testing.assert_array_equal(np.bincount(labels.ravel())[1:], 16)
    np.testing.assert_array_equal(labels > 0, image > 0)


@pytest.mark.parametrize(
    ("pixels", "fields"),
    [
        (discs(9), {}),
        (discs(9, step=120, radius=40, size=480), {}),
        (np.stack([discs(4), discs(2)]), {"axes": "TYX"}),
        (np.stack([discs(4), discs(2)]), {"axes": "CYX", "channels": "1,0"}),
        (np.stack([discs(4), discs(2)]), {"axes": "BYX", "labels_only": True}),
        (discs(3), {"postprocess": "none"}),
    ],
)
def test_values_that_waited_between_stages_give_the_same_files(
    pixels: NDArray[Any], fields: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = {NUCLEI: ours(), CYTOPLASM: ours()}
    fused = run(pixels, tmp_path, models, **fields).files
    through = []

    def waiting(steps: Any, value: Any, ctx: Any) -> Any:
        through.append(type(value))
        return run_stages(steps, decode(encode(value)), ctx)

    monkeypatch.setattr("kiosk_tasks.run.local.run_stages", waiting)
    chained = run(pixels, tmp_path, models, **fields).files
    assert len(through) == 5
    for files in (fused, chained):
        del files["a_job.json"]  # it tells how long each stage took
    assert chained == fused
