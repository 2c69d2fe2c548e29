"""Images are read region by region from every kind of bucket; no object is fetched whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from kiosk_tasks.errors import MissingObject
from kiosk_tasks.imaging.limits import ImageLimits
from kiosk_tasks.imaging.regions import look_at, open_regions
from kiosk_tasks.inputs import delete_input, has_input, input_bytes, put_input
from kiosk_tasks.ports import Storage
from kiosk_tasks.storage import from_url
from kiosk_tasks.storage.local import LocalStorage
from kiosk_tasks.storage.memory import MemoryStorage
from tests.gcs_server import gcs_bucket_url, gcs_server
from tests.ome_zarr import noise, write_ome_zarr, zip_folder
from tests.s3_server import bucket_url, s3_server

PIXELS = noise(2, 200, 300)
ROWS, COLUMNS = slice(50, 150), slice(100, 290)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same pixels as a TIFF, a folder and a zip file, by the names of their keys."""
    root = tmp_path_factory.mktemp("files")
    folder = write_ome_zarr(
        root / "x.ome.zarr", PIXELS, "cyx", version="0.5", chunks=(1, 64, 64), shards=(1, 128, 128)
    )
    written = {"pixels": PIXELS, "photometric": "minisblack", "metadata": {"axes": "CYX"}}
    tifffile.imwrite(root / "x.tif", written.pop("pixels"), tile=(64, 64), **written)
    zip_folder(folder, root / "x.ozx")
    return {name: root / name for name in ("x.tif", "x.ome.zarr", "x.ozx")}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    folder = tmp_path_factory.mktemp("servers")
    with s3_server(folder / "s3.log") as s3, gcs_server(folder / "gcs.log") as gcs:
        yield {"s3": s3, "gcs": gcs}


@pytest.fixture(params=["local", "memory", "s3", "gcs"])
def bucket(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    if request.param == "memory":
        return MemoryStorage()
    if request.param == "local":
        return LocalStorage(tmp_path / "bucket")
    server = request.getfixturevalue("servers")[request.param]
    make = bucket_url if request.param == "s3" else gcs_bucket_url
    return from_url(make(server, monkeypatch))


def test_regions_of_every_kind_from_every_bucket(bucket: Storage, files: dict[str, Path]) -> None:
    for name, path in files.items():
        key = f"uploads/1/{name}"
        assert not has_input(bucket, key)
        with pytest.raises(MissingObject):
            input_bytes(bucket, key)
        put_input(bucket, key, path)
        assert has_input(bucket, key)
        image = look_at(bucket, key, name=name, limits=ImageLimits())
        assert image is not None
        assert (image.axes, image.shape, image.chunk) == ("CYX", (2, 200, 300), (64, 64))
        with open_regions(image, bucket) as reader:
            for channel in range(2):
                region = reader.read(ROWS, COLUMNS, channel=channel)
                np.testing.assert_array_equal(region, PIXELS[channel, ROWS, COLUMNS])
        delete_input(bucket, key)
    assert not list(bucket.list())
