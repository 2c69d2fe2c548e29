"""The client sends the folder of an OME-Zarr as one zip file."""

from __future__ import annotations

import gc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from kiosk_tasks.client.errors import CannotSend
from kiosk_tasks.client.images import as_upload, each, many
from kiosk_tasks.imaging.limits import ImageLimits
from kiosk_tasks.imaging.regions import look_at, read_whole
from kiosk_tasks.storage.local import LocalStorage
from tests.ome_zarr import noise, write_ome_zarr


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_folder_is_sent_as_a_stored_zip_file(tmp_path: Path, version: str) -> None:
    folder = write_ome_zarr(tmp_path / "tissue.ome.zarr", noise(40, 50), "yx", version=version)
    assert not many(folder)
    assert each(str(folder)) == [folder]
    upload, _ = as_upload(folder, {})
    assert upload.name == "tissue.ome.zarr.zip"
    assert isinstance(upload.content, Path)
    with zipfile.ZipFile(upload.content) as archive:
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}
        assert archive.namelist()[0] == ("zarr.json" if version == "0.5" else ".zattrs")
    bucket = LocalStorage(upload.content.parent)
    image = look_at(bucket, upload.content.name, name="x.zarr.zip", limits=ImageLimits())
    assert image is not None
    np.testing.assert_array_equal(read_whole(image, bucket).data, noise(40, 50))


def test_the_zip_file_is_always_the_same_and_goes_with_the_upload(tmp_path: Path) -> None:
    folder = write_ome_zarr(tmp_path / "tissue.ome.zarr", noise(40, 50), "yx")
    first, second = (as_upload(str(folder), {}, name="mine")[0] for _ in range(2))
    assert isinstance(first.content, Path)
    assert isinstance(second.content, Path)
    assert first.name == "mine.zarr.zip"
    assert first.content.read_bytes() == second.content.read_bytes()
    places = first.content, second.content
    del first, second
    gc.collect()
    assert not any(place.exists() for place in places)


def test_a_folder_may_hold_images_of_both_kinds(tmp_path: Path) -> None:
    folder = write_ome_zarr(tmp_path / "b.ome.zarr", noise(40, 50), "yx")
    for name in ("a.tif", "c.ozx", "d.ome.zarr.zip", "e.zip", "f.txt"):
        (tmp_path / name).touch()
    names = ("a.tif", "c.ozx", "d.ome.zarr.zip")
    assert each(tmp_path) == sorted([folder, *(tmp_path / name for name in names)])


def test_says_what_is_no_ome_zarr(tmp_path: Path) -> None:
    (tmp_path / "tissue.zarr").mkdir()
    with pytest.raises(CannotSend, match=r"neither zarr\.json nor \.zattrs"):
        as_upload(tmp_path / "tissue.zarr", {})
