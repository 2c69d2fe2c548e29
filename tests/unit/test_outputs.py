"""What a finished job leaves."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from kiosk_tasks.errors import InternalError, UnreadableArchive
from kiosk_tasks.imaging.labels import LabelImage
from kiosk_tasks.imaging.measure import measure_cells
from kiosk_tasks.outputs import OutputFile, fetch_result, output_files, pack, shapes, stem_of
from kiosk_tasks.storage.memory import MemoryStorage
from tests.unit.imaging.zips import zipped

FILES = [OutputFile("a_labels.ome.tif", b"pixels"), OutputFile("a_cells.csv", b"")]


def test_same_result_is_the_same_bytes(tmp_path: Path) -> None:
    pixels = tmp_path / "pixels"
    pixels.write_bytes(b"pixels")
    one, other = tmp_path / "one.zip", tmp_path / "other.zip"
    pack(FILES, "a_job.json", lambda: {"b": 1, "a": "µ"}, one)
    pack(
        [OutputFile(FILES[0].name, pixels), FILES[1]],
        "a_job.json",
        lambda: {"a": "µ", "b": 1},
        other,
    )
    assert one.read_bytes() == other.read_bytes()


def test_a_result_comes_back_by_name(tmp_path: Path) -> None:
    storage = MemoryStorage()
    pack(FILES, "a_job.json", lambda: {}, tmp_path / "a.zip")
    storage.upload("output/1/a.zip", tmp_path / "a.zip")
    found = fetch_result(storage, "output/1/a.zip", tmp_path / "unpacked")
    assert found["a_labels.ome.tif"].read_bytes() == b"pixels"
    assert sorted(found) == ["a_cells.csv", "a_job.json", "a_labels.ome.tif"]
    assert sorted(path.name for path in (tmp_path / "unpacked").iterdir()) == sorted(found)


def test_files_of_a_result_in_folders_stay_apart(tmp_path: Path) -> None:
    storage = MemoryStorage()
    storage.put("output/1/a.zip", zipped({"x/": b"", "x/a.csv": b"1", "y/a.csv": b"2"}))
    found = fetch_result(storage, "output/1/a.zip", tmp_path / "unpacked")
    assert {name: path.read_bytes() for name, path in found.items()} == {
        "x/a.csv": b"1",
        "y/a.csv": b"2",
    }


def test_a_result_may_not_leave_its_folder(tmp_path: Path) -> None:
    storage = MemoryStorage()
    storage.put("output/1/a.zip", zipped({"../evil": b""}))
    with pytest.raises(UnreadableArchive, match="leaves the archive"):
        fetch_result(storage, "output/1/a.zip", tmp_path / "unpacked")
    assert not (tmp_path / "evil").exists()


def test_a_result_that_is_no_archive_is_one_file(tmp_path: Path) -> None:
    storage = MemoryStorage()
    storage.put("output/1/count.txt", b"4")
    found = fetch_result(storage, "output/1/count.txt", tmp_path / "unpacked")
    assert {name: path.read_bytes() for name, path in found.items()} == {"count.txt": b"4"}


def test_record_lists_what_is_beside_it(tmp_path: Path) -> None:
    pack(FILES, "a_job.json", lambda: {"a": "µ"}, tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as packed:
        assert packed.testzip() is None
        assert packed.namelist() == ["a_labels.ome.tif", "a_cells.csv", "a_job.json"]
        assert {info.date_time[0] for info in packed.infolist()} == {1980}
        record = json.loads(packed.read("a_job.json"))
    assert record["a"] == "µ"
    assert record["outputs"]["a_labels.ome.tif"] == FILES[0].describe()
    assert FILES[0].describe()["bytes"] == 6


def test_outlines_are_packed_and_images_are_not(tmp_path: Path) -> None:
    text = b"[[1,2],[3,4]]" * 1000
    zipped_text = tmp_path / "rois"
    zipped_text.write_bytes(text)
    files = [
        OutputFile("a_cells.geojson", text),
        OutputFile("a_rois.zip", zipped_text),
        OutputFile("a_overlay.png", text),
    ]
    pack(files, "a_job.json", dict, tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as packed:
        assert [packed.read(file.name) for file in files] == [text] * 3
        small, also, whole = (packed.getinfo(file.name).compress_size for file in files)
    assert max(small, also) < 1000 < whole == len(text)


def test_images_wider_than_regions_can_say_have_polygons_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    labels = LabelImage(np.array([[0, 1, 1, 2]], np.int32))
    cells = measure_cells(labels, labels.data)
    both = ["a_cells.geojson", "a_rois.zip"]
    assert [file.name for file in shapes.cell_shapes(labels, cells, "a")] == both
    monkeypatch.setattr(shapes, "LARGEST_SIDE", 3)
    assert [file.name for file in shapes.cell_shapes(labels, cells, "a")] == both[:1]


def test_result_without_files_is_a_bug() -> None:
    with pytest.raises(InternalError, match="int"):
        output_files(3, "stem")


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("..tif", "_"),
        ("...zip", "__"),
        ("a.tif", "a"),
        ("a.TIFF", "a"),
        ("a.ome.tif", "a"),
        ("a.OME.TIF", "a"),
        ("a.b.png", "a.b"),
        ("my image.jpeg", "my image"),
        ("a.zip", "a"),
        ("a.czi", "a.czi"),
        ("noext", "noext"),
        (".tif", ".tif"),
        ("x" * 300 + ".tif", "x" * 150),
    ],
)
def test_stem(name: str, stem: str) -> None:
    assert stem_of(name) == stem
