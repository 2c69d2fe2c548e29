"""OME-Zarr through everything that takes images: command line, bucket, REST, client, page."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from kiosk_tasks.client import Client, JobFailed
from tests.acceptance.conftest import SAMPLES, Shell
from tests.kiosk_up import Kiosk
from tests.ome_zarr import noise, write_ome_zarr, zip_folder

NUCLEI = tifffile.imread(SAMPLES / "nuclei_512.tif")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("zarr") / "nuclei_512.ome.zarr"
    return write_ome_zarr(place, NUCLEI, "yx", version="0.5", mpp=None, chunks=(128, 128))


@pytest.fixture(scope="module")
def expected(kiosk: Kiosk) -> np.ndarray:
    """The labels of the same pixels in a TIFF."""
    with Client(kiosk.url) as client:
        return np.asarray(client.segment(SAMPLES / "nuclei_512.tif").result(timeout=60).labels)


def bucket_of(kiosk: Kiosk) -> Path:
    return Path(urlsplit(kiosk.values["KIOSK_BUCKET"]).path)


def test_the_command_line_takes_a_folder(
    up: Shell, kiosk: Kiosk, folder: Path, expected: np.ndarray, tmp_path: Path
) -> None:
    code, (image,) = up.outcomes("predict", folder, "-o", tmp_path)
    assert code == 0, image["reason"]
    assert image["image"] == "nuclei_512.ome.zarr"
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "nuclei_512_labels.ome.tif"), expected)
    record = json.loads((tmp_path / "nuclei_512_job.json").read_text())
    assert record["input"]["name"] == "nuclei_512.ome.zarr"
    assert record["image"]["shape"] == [512, 512]
    left = [path for path in bucket_of(kiosk).rglob("nuclei_512.ome.zarr/*") if path.is_file()]
    assert left == []  # the command takes back what it has sent


def test_the_client_sends_a_folder_and_the_page_shows_it(
    kiosk: Kiosk, folder: Path, expected: np.ndarray
) -> None:
    with Client(kiosk.url) as client:
        job = client.segment(folder).wait(timeout=60)
        np.testing.assert_array_equal(job.result().labels, expected)
    view = httpx.get(f"{kiosk.url}/jobs/{job.id}/view/image/0.png")
    assert view.status_code == 200, view.text
    with Pillow.open(io.BytesIO(view.content)) as picture:
        assert picture.size == (512, 512)
        shown = np.asarray(picture.convert("F"))
    assert np.corrcoef(shown.ravel(), np.sqrt(NUCLEI.ravel()))[0, 1] > 0.8


def test_a_folder_that_lies_in_the_bucket_is_named_by_its_key(
    kiosk: Kiosk, folder: Path, expected: np.ndarray
) -> None:
    key = "uploads/of-my-own/nuclei_512.ome.zarr"
    shutil.copytree(folder, bucket_of(kiosk) / key)
    with Client(kiosk.url) as client:
        job = client.submit("predict", key=key).wait(timeout=60)
        np.testing.assert_array_equal(job.result().labels, expected)
        with pytest.raises(JobFailed, match="an OME-Zarr, and this job takes one file"):
            client.submit("track", key=key).result(timeout=60)
    again = httpx.post(f"{kiosk.url}/jobs/{job.id}/retry")
    assert again.status_code in (200, 201, 202), again.text
    gone = httpx.post(f"{kiosk.url}/jobs/predict", json={"input_file_name": "uploads/no.ome.zarr"})
    assert gone.status_code == 404
    assert "no folder 'uploads/no.ome.zarr'" in gone.text


def test_a_zip_file_is_one_image_and_no_archive(
    up: Shell, folder: Path, expected: np.ndarray, tmp_path: Path
) -> None:
    sent = [zip_folder(folder, tmp_path / name) for name in ("a.ome.zarr.zip", "b.ozx")]
    code, images = up.outcomes("predict", *sent, "-o", tmp_path)
    assert code == 0, images
    for stem in "ab":
        labels = tifffile.imread(tmp_path / f"{stem}_labels.ome.tif")
        np.testing.assert_array_equal(labels, expected)


def test_each_fault_is_one_sentence(up: Shell, tmp_path: Path) -> None:
    stack = write_ome_zarr(tmp_path / "stack.zarr", noise(3, 40, 50), "zyx", levels=1)
    empty = tmp_path / "empty.zarr"
    (empty / "0").mkdir(parents=True)
    (empty / "0" / "0").write_bytes(b"x")
    cut = tmp_path / "cut.ozx"
    cut.write_bytes(zip_folder(stack, tmp_path / "x.zip").read_bytes()[:-30])
    code, images = up.outcomes("predict", stack, empty, cut, "-o", tmp_path / "out")
    assert code == 1
    reasons = {image["image"]: image["reason"] for image in images}
    assert "this job takes one plane with its channels" in reasons["stack.zarr"]
    assert "it has neither zarr.json nor .zattrs" in reasons["empty.zarr"]
    assert "no sound zip file" in reasons["cut.ozx"]
