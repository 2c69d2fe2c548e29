"""The job `polaris`: spots and the cells they lie in, with children in this process."""

from __future__ import annotations

import csv
import zipfile
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray

from kiosk_tasks.errors import InvalidAxes, InvalidParameter, MissingChannel, PartFailed
from kiosk_tasks.fan_out import FanOut, Gathered, Outcome
from kiosk_tasks.imaging import io
from kiosk_tasks.imaging.io import write_labels
from kiosk_tasks.imaging.labels import LabelImage
from kiosk_tasks.imaging.picture import PALETTE
from kiosk_tasks.imaging.spot_values import SpotsInCells, cells_of_spots
from kiosk_tasks.imaging.spots import Spots
from kiosk_tasks.job import Context, new_job
from kiosk_tasks.jobs import find
from kiosk_tasks.outputs import parts_folder
from kiosk_tasks.run.local import MemoryReporter, run_local
from kiosk_tasks.scoring.spots import score_spots
from kiosk_tasks.stages import check_job, run_stages
from kiosk_tasks.wiring import make_context
from kiosk_tasks.workspace import decode, encode
from tests.fakes import FakeModelServer, fake_adapters, labels_of, tiff_bytes
from tests.simulated_spots import Culture, draw_culture

SHAPE = (192, 224)
SEGMENT = ("download", "preprocess", "predict", "segment")


class Result:
    """What a local run left."""

    def __init__(self, pixels: NDArray[Any], **fields: Any) -> None:
        models = FakeModelServer(
            versions={"NuclearSegmentation": (1,), "CytoplasmSegmentation": (1,)}
        )
        self.storage_adapters = fake_adapters(models=models, key=data(pixels))
        self.report = MemoryReporter()
        job = new_job(find("polaris"), given(**fields))
        answer = run_local(job, given=self.storage_adapters, report=self.report)
        self.storage = self.storage_adapters.storage
        packed = self.storage.get(answer["output_file_name"])
        with zipfile.ZipFile(BytesIO(packed)) as archive:
            self.files = {name: archive.read(name) for name in archive.namelist()}

    @property
    def notes(self) -> dict[str, Any]:
        return dict(self.report.notes())

    def rows(self, name: str = "field_spots.csv") -> list[dict[str, str]]:
        return list(csv.DictReader(StringIO(self.files[name].decode())))


def data(pixels: NDArray[Any]) -> bytes:
    return tiff_bytes(pixels, photometric="minisblack")


def given(**fields: Any) -> dict[str, Any]:
    return {"input_file_name": "key", "original_name": "field.tif", "axes": "YXC", **fields}


def context(pixels: NDArray[Any], **fields: Any) -> Context[Any]:
    job = new_job(find("polaris"), given(**fields))
    return make_context(job, MemoryReporter(), given=fake_adapters(key=data(pixels)))


def stages(*names: str) -> list[Any]:
    return [step for step in find("polaris").steps if step.name in names]


@pytest.fixture(scope="module")
def culture() -> Culture:
    return draw_culture(seed=3, shape=SHAPE, nuclei=14, spots=700)


# --- spots only


def test_without_cells_there_are_spots_only_and_no_children(culture: Culture) -> None:
    result = Result(culture.image, mpp=0.1)
    assert set(result.files) == {
        *("field_spots.csv", "field_spots.geojson", "field_spots.roi"),
        *("field_overlay.png", "field_job.json"),
    }
    rows = result.rows()
    assert list(rows[0]) == [*("x", "y", "channel", "y_um", "x_um", "intensity", "signal_to_noise")]
    found = np.array([[float(row["y"]), float(row["x"])] for row in rows])
    assert score_spots(culture.spots, found).f1 > 0.9
    assert result.notes["spots"] == len(rows)
    assert len(list(result.storage.list("output/"))) == 1


def test_several_spot_channels_are_searched_one_by_one(culture: Culture) -> None:
    other = draw_culture(seed=8, shape=SHAPE, nuclei=3, spots=250)
    both = np.stack([culture.image[..., 0], culture.image[..., 1], other.image[..., 0]], axis=-1)
    result = Result(both, spot_channels="0,2", nuclear_channel=1)
    for channel, truth in ((0, culture.spots), (2, other.spots)):
        rows = [row for row in result.rows() if row["channel"] == str(channel)]
        found = np.array([[float(row["y"]), float(row["x"])] for row in rows])
        assert score_spots(truth, found).f1 > 0.9
    counts = result.rows("field_nuclear_counts.csv")
    for row in counts:
        total = int(row["spots_channel_0"]) + int(row["spots_channel_2"])
        assert int(row["spots"]) == total


# --- cells of a culture


def test_spots_get_the_cell_they_lie_in(culture: Culture, tmp_path: Path) -> None:
    result = Result(culture.image, nuclear_channel=1, segmentation_type="cell culture")
    assert set(result.files) == {
        *("field_spots.csv", "field_spots.geojson", "field_spots.roi"),
        *("field_nuclear_labels.ome.tif", "field_nuclear_counts.csv"),
        *("field_nuclear_cells.geojson", "field_nuclear_rois.zip"),
        *("field_overlay.png", "field_job.json"),
    }
    labels = labels_of(result.files["field_nuclear_labels.ome.tif"], tmp_path)
    assert labels.max() == culture.cells.max() == result.notes["cells"]
    rows = result.rows()
    assert list(rows[0])[:4] == ["x", "y", "cellID0", "channel"]
    for row in rows:
        y, x = (min(max(round(float(row[c])), 0), n - 1) for c, n in zip("yx", SHAPE, strict=True))
        assert int(row["cellID0"]) == labels[y, x]
    inside = [row["cellID0"] for row in rows if row["cellID0"] != "0"]
    counts = result.rows("field_nuclear_counts.csv")
    assert [int(row["label"]) for row in counts] == list(range(1, labels.max() + 1))
    assert sum(int(row["spots"]) for row in counts) == len(inside) > 20
    for row in counts:
        assert int(row["spots"]) == inside.count(row["label"])
    assert result.notes["spots_in_cells"] == len(inside)
    assert result.notes["cell_columns"] == {"cellID0": "nuclear"}


def test_nuclei_and_cytoplasm_give_two_columns(culture: Culture) -> None:
    result = Result(culture.image, channels="0,1,2", segmentation_type="culture")
    rows = result.rows()
    assert list(rows[0])[:4] == ["x", "y", "cellID0", "cellID1"]
    assert result.notes["cell_columns"] == {"cellID0": "nuclear", "cellID1": "cytoplasm"}
    nuclear, cytoplasm = (sum(row[c] != "0" for row in rows) for c in ("cellID0", "cellID1"))
    assert cytoplasm > nuclear > 0
    assert {"field_nuclear_labels.ome.tif", "field_cytoplasm_labels.ome.tif"} <= set(result.files)


def test_only_the_main_result_stays_in_the_bucket(culture: Culture) -> None:
    result = Result(culture.image, nuclear_channel=1)
    assert list(result.storage.list("parts/")) == []
    assert len(list(result.storage.list("output/"))) == 1


def test_rings_tell_inside_from_outside(culture: Culture) -> None:
    result = Result(culture.image, nuclear_channel=1)
    picture = imagecodecs.png_decode(result.files["field_overlay.png"])
    colours = {tuple(c) for c in np.unique(picture.reshape(-1, 3), axis=0).tolist()}
    assert {tuple(PALETTE[i].tolist()) for i in (1, 2, 4)} <= colours  # outline, inside, outside


def test_no_spot_in_any_cell_is_no_error(culture: Culture) -> None:
    quiet = culture.image.copy()
    quiet[..., 0] = np.random.default_rng(0).normal(100, 3, SHAPE)
    result = Result(quiet, nuclear_channel=1)
    assert result.rows() == []
    assert {row["spots"] for row in result.rows("field_nuclear_counts.csv")} == {"0"}


# --- what the children get


def test_culture_children_get_their_plane_and_its_pixel_size(culture: Culture) -> None:
    ctx = context(culture.image, channels="0,1,2", mpp=0.5)
    work = run_stages(stages(*SEGMENT), None, ctx)
    assert isinstance(work, FanOut)
    assert [child.type_name for child in work.children] == ["predict", "predict"]
    nuclear, cytoplasm = (dict(child.fields) for child in work.children)
    assert (nuclear["label"], cytoplasm["label"]) == (0, 1)
    assert nuclear["labels_only"] is True
    assert (nuclear["mpp"], nuclear["axes"]) == (0.5, "YX")
    assert nuclear["original_name"] == "field_nuclear.tif"
    assert nuclear["input_file_name"].startswith(parts_folder(ctx.job.id))
    for child in work.children:
        new_job(find(child.type_name), child.fields)  # they have such parameters


def test_tissue_is_one_child_of_both_channels(culture: Culture, tmp_path: Path) -> None:
    ctx = context(culture.image, channels="0,1,2", segmentation_type="tissue", compartment="both")
    work = run_stages(stages(*SEGMENT), None, ctx)
    (child,) = work.children
    assert child.type_name == "mesmer"
    assert child.fields["channels"] == "0,1"
    assert child.fields["compartment"] == "both"
    new_job(find("mesmer"), child.fields)
    (tmp_path / "x.tif").write_bytes(ctx.storage.get(child.fields["input_file_name"]))
    image = io.read(tmp_path / "x.tif", name="x.tif", axes=child.fields["axes"])
    assert np.array_equal(image.data, culture.image[..., 1:].transpose(2, 0, 1))


def test_tissue_gives_a_column_for_each_compartment(culture: Culture) -> None:
    ctx = context(culture.image, channels="0,1,2", segmentation_type="tissue", compartment="both")
    work = run_stages(stages(*SEGMENT), None, ctx)
    whole = LabelImage(culture.cells)
    nuclear = LabelImage(np.where(culture.cells > 2, culture.cells - 2, 0).astype(np.int32))
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("field_nuclear_labels.ome.tif", write_labels(nuclear))
        archive.writestr("field_whole-cell_labels.ome.tif", write_labels(whole))
        archive.writestr("field_whole-cell_cells.csv", b"")
    ctx.storage.put("output/child/field.zip", packed.getvalue())
    outcome = Outcome(
        "c", "field.tif", ok=True, output={"output_file_name": "output/child/field.zip"}
    )
    gathered = Gathered(decode(encode(work.keep)), (outcome,))  # as it waits between two links
    result = run_stages(stages("postprocess"), gathered, ctx)
    assert isinstance(result, SpotsInCells)
    assert [part.name for part in result.cells] == ["whole-cell", "nuclear"]
    assert np.array_equal(result.cells[1].labels.data, nuclear.data)
    run_stages(stages("upload"), result, ctx)


# --- what is refused


def test_a_failed_child_fails_the_job_with_its_reason(culture: Culture) -> None:
    outside = fake_adapters(key=data(culture.image))
    job = new_job(find("polaris"), given(membrane_channel=2))
    with pytest.raises(PartFailed, match="the cells could not be found: model Cytoplasm"):
        run_local(job, given=outside, report=MemoryReporter())


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"segmentation_type": "cell culture"}, "no channel shows cells; give nuclear_channel"),
        ({"segmentation_type": "tissue", "nuclear_channel": 1}, "tissue needs a nuclear and a"),
    ],
)
def test_missing_channels_are_named_before_any_work(
    culture: Culture, fields: dict[str, Any], says: str
) -> None:
    ctx = context(culture.image, **fields)
    with pytest.raises(InvalidParameter, match=says):
        check_job(find("polaris").steps, ctx)


@pytest.mark.parametrize(
    "fields",
    [
        {"channels": "0,1,2,3"},
        {"channels": "a"},
        {"spot_channels": "0,"},
        {"segmentation_type": "tissues"},
        {"diameter": 0.5},
        {"sensitivity": 0},
    ],
)
def test_parameters_that_mean_nothing(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameter, match=next(iter(fields))):
        new_job(find("polaris"), given(**fields))


def test_a_channel_that_is_not_there(culture: Culture) -> None:
    with pytest.raises(MissingChannel, match="channel 7"):
        Result(culture.image, nuclear_channel=7)


def test_a_movie_is_refused(culture: Culture) -> None:
    movie = np.stack([culture.image[..., 0]] * 2)
    with pytest.raises(InvalidAxes):
        Result(movie, axes="TYX")


# --- parameters


@pytest.mark.parametrize(
    ("fields", "spots", "cells", "kind"),
    [
        ({}, (0,), {}, "none"),
        ({"channels": "2,0,1"}, (2,), {"nuclear": 0, "cytoplasm": 1}, "culture"),
        ({"channels": "1,,0"}, (1,), {"cytoplasm": 0}, "culture"),
        ({"channels": "1,0"}, (1,), {"nuclear": 0}, "culture"),
        ({"channels": "0,,"}, (0,), {}, "none"),
        ({"channels": ",1"}, (0,), {"nuclear": 1}, "culture"),
        ({"channels": "0,1", "nuclear_channel": 3}, (0,), {"nuclear": 3}, "culture"),
        ({"spot_channels": "2,2,0"}, (2, 0), {}, "none"),
        ({"nuclear_channel": 1, "segmentation_type": "none"}, (0,), {"nuclear": 1}, "none"),
        ({"segmentation_type": "Cell_Culture"}, (0,), {}, "culture"),
        ({"segmentation_type": "tissue"}, (0,), {}, "tissue"),
    ],
)
def test_channels_and_kind(
    fields: dict[str, Any], spots: tuple[int, ...], cells: dict[str, int], kind: str
) -> None:
    params: Any = new_job(find("polaris"), given(**fields)).params
    assert params.spots_in == spots
    assert params.cells_in == cells
    assert params.segmentation == kind


def test_a_spot_lies_in_the_cell_of_its_nearest_pixel() -> None:
    labels = np.zeros((4, 5), np.int32)
    labels[1, 2], labels[3, 4] = 7, 9
    positions = np.array([[1.4, 1.6], [1.6, 2.0], [3.4, 4.49], [-0.5, 0.0]])
    spots = Spots(positions, np.ones(4), np.ones(4))
    assert cells_of_spots(spots, labels).tolist() == [7, 0, 9, 0]
