"""What a finished job leaves."""

from __future__ import annotations

import io
import json
import zipfile

import pytest

from kiosk_tasks.errors import InternalError
from kiosk_tasks.outputs import OutputFile, archive, output_files, stem_of

FILES = [OutputFile("a_labels.ome.tif", b"pixels"), OutputFile("a_cells.csv", b"")]


def test_same_result_is_the_same_bytes() -> None:
    assert archive(FILES, "a_job.json", {"b": 1, "a": "µ"}) == archive(
        FILES, "a_job.json", {"a": "µ", "b": 1}
    )


def test_record_lists_what_is_beside_it() -> None:
    with zipfile.ZipFile(io.BytesIO(archive(FILES, "a_job.json", {"a": "µ"}))) as packed:
        assert packed.testzip() is None
        assert packed.namelist() == ["a_labels.ome.tif", "a_cells.csv", "a_job.json"]
        assert {info.date_time[0] for info in packed.infolist()} == {1980}
        record = json.loads(packed.read("a_job.json"))
    assert record["a"] == "µ"
    assert record["outputs"]["a_labels.ome.tif"] == FILES[0].describe()
    assert FILES[0].describe()["bytes"] == 6


def test_result_without_files_is_a_bug() -> None:
    with pytest.raises(InternalError, match="int"):
        output_files(3, "stem")


@pytest.mark.parametrize(
    ("name", "stem"),
    [
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
