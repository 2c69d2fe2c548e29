"""Inputs of one object and of many, in a bucket."""

from __future__ import annotations

from pathlib import Path

import pytest

from kiosk_tasks.archive_jobs import is_archive
from kiosk_tasks.cli.images import find_images, result_names
from kiosk_tasks.errors import MissingObject, StorageFull
from kiosk_tasks.imaging.zarr_names import is_zarr_input
from kiosk_tasks.inputs import bytes_of, delete_input, has_input, input_bytes, put_input
from kiosk_tasks.outputs import numbered, stem_of
from kiosk_tasks.storage.memory import MemoryStorage
from tests.ome_zarr import noise, write_ome_zarr

KEY = "uploads/1/tissue.ome.zarr"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_ome_zarr(tmp_path / "tissue.ome.zarr", noise(40, 50), "yx")


def test_a_folder_comes_and_goes_as_one(folder: Path) -> None:
    bucket = MemoryStorage()
    bucket.put("uploads/1/tissue.ome.zarr.zip", b"another")
    assert not has_input(bucket, KEY)
    put_input(bucket, KEY, folder)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(list(bucket.list(f"{KEY}/"))) == len(files)
    assert bytes_of(folder) == sum(path.stat().st_size for path in files)
    assert has_input(bucket, KEY)
    assert input_bytes(bucket, KEY) is None
    delete_input(bucket, KEY)
    assert list(bucket.list()) == ["uploads/1/tissue.ome.zarr.zip"]
    with pytest.raises(MissingObject, match="no folder"):
        input_bytes(bucket, KEY)


def test_a_file_is_one_object(tmp_path: Path) -> None:
    path, bucket = tmp_path / "x.tif", MemoryStorage()
    path.write_bytes(b"abc")
    put_input(bucket, "uploads/x.tif", path)
    assert bytes_of(path) == input_bytes(bucket, "uploads/x.tif") == 3
    assert has_input(bucket, "uploads/x.tif")
    delete_input(bucket, "uploads/x.tif")
    assert not has_input(bucket, "uploads/x.tif")


def test_a_folder_that_does_not_fit_leaves_nothing(folder: Path) -> None:
    class Full(MemoryStorage):
        def upload(self, key: str, source: Path) -> None:
            if len(self.objects) >= 3:
                raise StorageFull("the bucket is full.")
            super().upload(key, source)

    bucket = Full()
    with pytest.raises(StorageFull):
        put_input(bucket, KEY, folder)
    assert not list(bucket.list())


@pytest.mark.parametrize(
    ("key", "name", "zarr", "archive"),
    [
        ("uploads/a.zip", "", False, True),
        ("uploads/a.tif", "a.zip", False, True),
        ("uploads/a.ome.zarr.zip", "", True, False),
        ("uploads/a.OZX", "whatever", True, False),
        ("uploads/a.ome.zarr", "a", True, False),
        ("uploads/a.ome.zarr.zip", "a-2.zip", True, False),
        ("uploads/aaaaaaaaaaa.zip", "aaaaaaaaaaaaaaaaaa.zarr.zip", True, False),
        ("parts/1/nuclei.tif", "a.ome.zarr", False, False),
        ("parts/1/nuclei.tif", "a.ome.zarr.zip", False, False),
    ],
)
def test_archives_and_zipped_images_are_told_apart(
    key: str, name: str, zarr: bool, archive: bool
) -> None:
    assert is_zarr_input(key, name) is zarr
    assert is_archive({"input_file_name": key, "original_name": name}) is archive


def test_results_are_named_after_the_image() -> None:
    names = ("a.ome.zarr", "a.ome.zarr.zip", "a.zarr.zip", "a.ozx", "a.OME.ZARR")
    assert {stem_of(name) for name in names} == {"a"}
    assert numbered("a.ome.zarr.zip", 2) == "a-2.zarr.zip"
    assert result_names([Path("x/a.ome.zarr"), Path("y/a.ome.zarr")]) == [
        "a.ome.zarr",
        "a-2.zarr",
    ]


def test_the_command_line_takes_folders(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder.parent / "b.ome.zarr.zip").write_bytes(b"PK")
    monkeypatch.chdir(folder.parent)
    assert find_images(["tissue.ome.zarr"]) == [Path("tissue.ome.zarr")]
    assert find_images(["tissue.ome.zarr/"]) == [Path("tissue.ome.zarr")]
    both = [folder.parent / "b.ome.zarr.zip", folder]
    assert find_images([str(folder.parent)]) == both
    assert find_images([f"{folder.parent}/**"]) == both
