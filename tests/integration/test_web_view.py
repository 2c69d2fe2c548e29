"""What the page draws of a finished job, over HTTP: every pixel from a job that has really run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from kiosk_tasks.imaging.io import write_labels
from kiosk_tasks.imaging.labels import LabelImage
from kiosk_tasks.job import Status, new_job
from kiosk_tasks.jobs import find
from kiosk_tasks.run.local import run_local
from kiosk_tasks.web import views_tables
from tests.conftest import Broker
from tests.fakes import FakeModelServer, fake_adapters, png_bytes, tiff_bytes
from tests.simulated_spots import draw_culture
from tests.synthetic import draw_nuclei
from tests.unit.imaging.zips import tarred, trk_files, zipped
from tests.web_service import WebService, web_service

MODELS: dict[str, tuple[int, ...]] = {"NuclearSegmentation": (1,), "CytoplasmSegmentation": (1,)}


@dataclass(frozen=True)
class Site:
    """A service, and jobs that are done."""

    web: WebService

    def run(self, type_name: str, data: bytes, name: str = "a.tif", **fields: Any) -> str:
        """Run a job in this process, over the service's bucket and records; return its id."""
        key = f"uploads/1/{name}"
        self.web.bucket.put(key, data)
        given = {"input_file_name": key, "original_name": name, **fields}
        job = new_job(find(type_name), given)
        assert self.web.ledger.submit(job, lane="lane")
        outside = fake_adapters(models=FakeModelServer(versions=MODELS))
        answer = run_local(job, given=replace(outside, storage=self.web.bucket))
        self.web.ledger.finish(job.id, Status.DONE, {**answer, "progress": "100"})
        return job.id

    def get(self, path: str) -> httpx.Response:
        return self.web.http.get(path)

    def view(self, job_id: str) -> dict[str, Any]:
        answer = self.get(f"/jobs/{job_id}/view")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def picture(self, url: str, frame: int = 0) -> NDArray[np.int64]:
        """Pixels of a PNG; of label images the labels."""
        answer = self.get(url.replace("{frame}", str(frame)))
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "image/png"
        pixels = np.asarray(imagecodecs.png_decode(answer.content), np.int64)
        if pixels.ndim == 2:
            return pixels
        red, green, blue = np.moveaxis(pixels, -1, 0)
        labels: NDArray[np.int64] = (red * 256 + green) * 256 + blue
        return labels

    def file(self, job_id: str, end: str) -> NDArray[Any]:
        """The pixels of the one file of a result whose name ends so."""
        files = self.get(f"/jobs/{job_id}/files").json()["files"]
        (url,) = (one["url"] for one in files if one["name"].endswith(end))
        found: NDArray[Any] = tifffile.imread(BytesIO(self.get(url).content))
        return found


@pytest.fixture
def site(broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with web_service(broker, tmp_path, monkeypatch) as web:
        yield Site(web)


def nuclei(side: int = 200, *, count: int = 25) -> NDArray[np.uint16]:
    return draw_nuclei((side, side + 60), count=count, seed=4)[0]


def grey(plane: NDArray[Any]) -> NDArray[np.int64]:
    """What a preview of a plane should be, without its being shrunk."""
    dark, bright = np.percentile(plane, [1, 99.8])
    return np.asarray(np.clip((plane - dark) / (bright - dark) * 255, 0, 255), np.int64)


# --- segmentation


def test_an_image_and_its_labels_are_drawn(site: Site) -> None:
    image = nuclei()
    job = site.run("predict", tiff_bytes(image), mpp=0.65)
    view = site.view(job)
    assert {k: view[k] for k in ("width", "height", "frames", "mpp", "scale")} == {
        **{"width": 260, "height": 200},
        **{"frames": 1, "mpp": 0.65, "scale": 1.0},
    }
    assert (view["tracks"], view["spots"]) == (None, None)
    np.testing.assert_allclose(site.picture(view["image"]), grey(image), atol=1)
    (labels,) = view["labels"]
    truth = site.file(job, "_labels.ome.tif")
    assert (labels["name"], labels["count"]) == ("", truth.max())
    assert truth.max() > 10
    np.testing.assert_array_equal(site.picture(labels["url"]), truth)


def test_large_images_are_shrunk_to_1024_px(site: Site) -> None:
    image = np.zeros((1200, 2048), np.uint16)
    image[200:400, 300:500] = 900
    image[200:400, 600:1000] = 1000
    job = site.run("predict", tiff_bytes(image), mpp=0.65)
    view = site.view(job)
    assert (view["width"], view["height"], view["scale"]) == (2048, 1200, 0.5)
    drawn, labels = site.picture(view["image"]), site.picture(view["labels"][0]["url"])
    assert drawn.shape == labels.shape == (600, 1024)
    assert drawn[150, 200] > 200 > 10 > drawn[50, 50]
    truth = site.file(job, "_labels.ome.tif")
    assert truth.max() >= 2
    np.testing.assert_array_equal(labels, truth[1::2, 1::2])


def test_the_channel_that_the_job_used_is_drawn(site: Site) -> None:
    image = nuclei()
    stack = np.stack([np.full_like(image, 9), image[::-1], image])
    data = tiff_bytes(stack, photometric="minisblack")
    job = site.run("predict", data, axes="CYX", channel=2, mpp=0.65)
    np.testing.assert_allclose(site.picture(site.view(job)["image"]), grey(image), atol=1)
    both = site.view(site.run("predict", data, axes="CYX", channels="2,1", mpp=0.65))
    assert [part["name"] for part in both["labels"]] == ["channel_2", "channel_1"]
    np.testing.assert_allclose(site.picture(both["image"]), grey(image), atol=1)
    one, other = (site.picture(part["url"]) > 0 for part in both["labels"])
    assert (one & (image > 1000)).sum() > 2 * (other & (image > 1000)).sum()


def test_planes_of_a_stack_are_frames(site: Site) -> None:
    planes = np.stack([nuclei(count=count) for count in (5, 25)])
    job = site.run("predict", tiff_bytes(planes, photometric="minisblack"), axes="BYX", mpp=0.65)
    view = site.view(job)
    assert view["frames"] == 2
    (labels,) = view["labels"]
    drawn = [site.picture(labels["url"], frame) for frame in range(2)]
    assert drawn[0].max() < drawn[1].max()
    assert labels["count"] == drawn[0].max() + drawn[1].max()
    for frame in range(2):
        truth = site.file(job, f"_batch_{frame}_labels.ome.tif")
        np.testing.assert_array_equal(drawn[frame], truth)
    assert site.picture(view["image"], 1).shape == (200, 260)
    answer = site.get(view["image"].replace("{frame}", "2"))
    assert (answer.status_code, answer.json()["error"]) == (404, "NoResult")
    assert "there are 2" in answer.json()["message"]


def test_colours_are_drawn_by_the_brightest(site: Site) -> None:
    image = (nuclei() // 16).astype(np.uint8)
    colours = np.stack([image // 2, image, image // 4], axis=-1)
    view = site.view(site.run("predict", png_bytes(colours), "a.png", mpp=0.65))
    np.testing.assert_allclose(site.picture(view["image"]), grey(image), atol=1)


# --- movies


def test_a_movie_is_drawn_frame_by_frame_with_its_tracks(site: Site) -> None:
    rows, columns = np.mgrid[:96, :128]
    frames = np.full((5, 96, 128), 200, np.uint16)
    places = [[(20, 20 + 3 * t), (70 - 2 * t, 80)] for t in range(5)]
    places[2] = places[2][:1]  # the second is missed for a frame
    for frame, discs in zip(frames, places, strict=True):
        for y, x in discs:
            frame[np.hypot(rows - y, columns - x) <= 9] = 3000
    data = tiff_bytes(frames, photometric="minisblack")
    job = site.run("track", data, axes="TYX", mpp=0.65, scale=1.0)
    view = site.view(job)
    assert (view["frames"], view["width"], view["mpp"]) == (5, 128, 0.65)
    (labels,) = view["labels"]
    assert (labels["name"], labels["count"]) == ("", 2)
    stack = site.file(job, "_tracked.ome.tif")
    assert stack.max() == 3  # the one that was missed comes back under another label …
    drawn = [site.picture(labels["url"], frame) for frame in range(5)]
    assert [sorted(set(np.unique(one).tolist()) - {0}) for one in drawn] == [
        *([1, 2], [1, 2], [1], [1, 2], [1, 2])  # … but is one track
    ]
    for number in range(5):
        np.testing.assert_array_equal(drawn[number] > 0, stack[number] > 0)
        picture = site.picture(view["image"], number)
        np.testing.assert_array_equal(picture > 128, frames[number] > 1000)
    tracks = site.get(view["tracks"]).json()["tracks"]
    assert [(one["id"], one["parent"], len(one["points"])) for one in tracks] == [
        *((1, None, 5), (2, None, 4))
    ]
    frame, y, x = tracks[0]["points"][3]
    assert (frame, y, x) == (3, pytest.approx(20, abs=0.5), pytest.approx(29, abs=0.5))


def test_a_trk_file_is_drawn(site: Site) -> None:
    data = tarred(trk_files(), mode="w:gz")
    job = site.run("track", data, "a.trk", segmentation="given", divisions=False)
    view = site.view(job)
    assert (view["frames"], view["height"], view["width"]) == (3, 8, 9)
    for frame in range(3):
        assert site.picture(view["image"], frame).shape == (8, 9)
        labels = site.picture(view["labels"][0]["url"], frame)
        raw = np.arange(72).reshape(8, 9) + 72 * frame
        np.testing.assert_array_equal(labels > 0, raw % 3 > 0)


def test_daughters_know_their_mother() -> None:
    table = b"track,label,frame,y,x\n1,1,0,5,5\n2,2,1,4,5\n3,3,1,6,5\n"
    divisions = b"mother,frame,daughter_1,daughter_2,y,x\n1,1,2,3,5,5\n"
    found = views_tables.tracks_json(table, divisions)
    assert found == (
        b'{"tracks":[{"id":1,"parent":null,"points":[[0,5.0,5.0]]},'
        b'{"id":2,"parent":1,"points":[[1,4.0,5.0]]},{"id":3,"parent":1,"points":[[1,6.0,5.0]]}]}'
    )


# --- spots


def test_spots_are_told_with_their_cells(site: Site) -> None:
    culture = draw_culture(seed=3, shape=(192, 224), nuclei=14, spots=700)
    data = tiff_bytes(culture.image, photometric="minisblack")
    job = site.run("polaris", data, axes="YXC", nuclear_channel=1, mpp=0.1)
    view = site.view(job)
    (labels,) = view["labels"]
    cells = site.picture(labels["url"])
    assert (labels["name"], labels["count"]) == ("nuclear", cells.max())
    spots = site.get(view["spots"]).json()
    assert len(spots["spots"]) == spots["total"] == len(spots["cells"]) > 100
    assert spots["frames"] is None
    for (y, x), cell in zip(spots["spots"], spots["cells"], strict=True):
        place = min(max(round(y), 0), 191), min(max(round(x), 0), 223)
        assert cells[place] == cell
    np.testing.assert_allclose(site.picture(view["image"]), grey(culture.image[..., 0]), atol=1)


def test_spots_of_a_movie_have_frames_and_no_labels(site: Site) -> None:
    culture = draw_culture(seed=3, shape=(96, 112), nuclei=4, spots=150)
    movie = np.stack([culture.image[..., 0], culture.image[::-1, :, 0]])
    job = site.run("spot", tiff_bytes(movie, photometric="minisblack"), axes="TYX")
    view = site.view(job)
    assert (view["labels"], view["tracks"], view["frames"]) == ([], None, 2)
    spots = site.get(view["spots"]).json()
    assert set(spots["frames"]) == {0, 1}
    assert spots["cells"] is None
    answer = site.get(f"/jobs/{job}/view/labels/-/0.png")
    assert (answer.status_code, answer.json()["error"]) == (404, "NoResult")


def test_too_many_spots_are_thinned_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views_tables, "MOST_SPOTS", 3)
    table = "y,x,intensity\n" + "".join(f"{n},{n},1\n" for n in range(9))
    assert views_tables.spots_json(table.encode()) == (
        b'{"spots":[[0.0,0.0],[4.0,4.0],[8.0,8.0]],"cells":null,"frames":null,"total":9}'
    )
    empty = b'{"spots":[],"cells":null,"frames":null,"total":0}'
    assert views_tables.spots_json(b"y,x\n") == empty


def test_a_projection_is_drawn_as_the_job_saw_it(site: Site) -> None:
    culture = draw_culture(seed=3, shape=(96, 112), nuclei=4, spots=150)
    stack = np.stack([culture.image[..., 0], culture.image[::-1, :, 0]])
    data = tiff_bytes(stack, photometric="minisblack")
    view = site.view(site.run("spot", data, axes="ZYX", project=True))
    assert view["frames"] == 1
    np.testing.assert_allclose(site.picture(view["image"]), grey(stack.max(axis=0)), atol=1)


@pytest.mark.parametrize(
    ("facts", "parts", "channel"),
    [
        ({"channels": [2, 0]}, ("whole-cell", "nuclear"), 0),  # membrane
        ({"channels": [2, 0]}, ("nuclear",), 2),
        ({"parameters": {"channel": 1}}, ("",), 1),
        ({"parameters": {"channels": "2,,1", "spot_channels": None}}, ("nuclear",), 2),
        ({"parameters": {"channels": "2", "spot_channels": "1,0"}}, ("nuclear",), 1),
    ],
)
def test_the_record_tells_which_channel_is_drawn(
    site: Site, facts: dict[str, Any], parts: tuple[str, ...], channel: int
) -> None:
    stack = np.stack([nuclei(60), nuclei(60)[::-1], nuclei(60)[:, ::-1]])
    job = site.web.submit()
    site.web.bucket.put("uploads/1/n.tif", tiff_bytes(stack, photometric="minisblack", metadata={}))
    shown = {"image": {"axes": "CYX", "shape": list(stack.shape)}, **facts}
    shown["parameters"] = {"axes": "CYX", **facts.get("parameters", {})}
    labels = write_labels(LabelImage(np.ones(stack.shape[1:], np.int32)))
    names = ["_".join(filter(None, ("n", part, "labels.ome.tif"))) for part in parts]
    files = {"n_job.json": json.dumps(shown).encode(), **dict.fromkeys(names, labels)}
    site.web.finish(job, result=zipped(files))
    view = site.view(job)
    assert [part["name"] for part in view["labels"]] == list(parts)
    assert site.picture(view["labels"][-1]["url"]).min() == 1
    np.testing.assert_allclose(site.picture(view["image"]), grey(stack[channel]), atol=1)


# --- what is not there


def test_without_its_input_a_job_still_shows_its_labels(site: Site) -> None:
    job = site.run("predict", tiff_bytes(nuclei()), "cells.tif", mpp=0.65)
    site.web.bucket.delete("uploads/1/cells.tif")
    view = site.view(job)
    answer = site.get(view["image"].replace("{frame}", "0"))
    assert answer.status_code == 404
    assert answer.json()["message"].startswith("cells.tif is gone from the bucket")
    assert site.picture(view["labels"][0]["url"]).max() > 10


def test_a_job_that_is_not_done_has_no_view(site: Site) -> None:
    job = new_job(find("predict"), {"input_file_name": "uploads/1/a.tif"})
    assert site.web.ledger.submit(job, lane="lane")
    for path in ("", "/image/0.png", "/labels/-/0.png", "/tracks.json", "/spots.json"):
        answer = site.get(f"/jobs/{job.id}/view{path}")
        assert answer.status_code == 404
        assert "has no result yet" in answer.json()["message"]
    assert site.get("/jobs/none/view").status_code == 404


def test_an_archive_is_told_where_to_look(site: Site) -> None:
    job = new_job(find("predict-zip"), {"input_file_name": "uploads/1/a.zip"})
    assert site.web.ledger.submit(job, lane="lane")
    site.web.finish(job.id, result=b"any")
    answer = site.get(f"/jobs/{job.id}/view")
    assert (answer.status_code, answer.json()["error"]) == (404, "NoResult")
    assert "look at its files" in answer.json()["message"]


def test_a_result_of_another_kind_has_no_view(site: Site) -> None:
    job = site.web.submit()
    site.web.finish(job, result=b"no archive", key=f"output/{job}/n.txt")
    answer = site.get(f"/jobs/{job}/view")
    assert (answer.status_code, answer.json()["error"]) == (404, "NoResult")


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"image": None},
        {"image": {"axes": "YX"}},
        {"image": {"axes": "YX", "shape": [1, 2, 3]}},
        {"image": {"axes": "CT", "shape": [1, 2]}},
        {"image": {"axes": "YX", "shape": [1, 2]}, "parameters": []},
    ],
)
def test_a_record_that_tells_of_no_image_gives_no_view(site: Site, record: dict[str, Any]) -> None:
    job = site.web.submit()
    site.web.finish(job, result=zipped({"n_job.json": json.dumps(record).encode()}))
    answer = site.get(f"/jobs/{job}/view")
    assert (answer.status_code, answer.json()["error"]) == (404, "NoResult")
    assert "only its files can be fetched" in answer.json()["message"]


def test_a_client_that_has_a_picture_gets_it_once(site: Site) -> None:
    job = site.run("predict", tiff_bytes(nuclei()), mpp=0.65)
    url = site.view(job)["image"].replace("{frame}", "0")
    first = site.get(url)
    again = site.web.http.get(url, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert "private" in first.headers["cache-control"]


# --- /inspect


def inspected(site: Site, data: bytes, *, cut: bool = False) -> dict[str, Any]:
    headers = {"X-File-Truncated": "1"} if cut else {}
    answer = site.web.http.post("/inspect", files={"file": ("x", data)}, headers=headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


NOTHING = {"axes": None, "shape": None, "dtype": None, "mpp": None}
STACK = np.random.default_rng(0).integers(0, 999, (5, 60, 70)).astype(np.uint16)


def test_headers_say_axes_shape_and_pixel_size(site: Site) -> None:
    meta = {"axes": "TYX", "PhysicalSizeX": 0.65, "PhysicalSizeXUnit": "µm"}
    data = tiff_bytes(STACK, ome=True, metadata=meta)
    known = {"axes": "TYX", "shape": [5, 60, 70], "dtype": "uint16", "mpp": 0.65}
    assert inspected(site, data) == known
    plain = tiff_bytes(STACK, photometric="minisblack", metadata=None)
    assert inspected(site, plain) == {**NOTHING, "shape": [5, 60, 70], "dtype": "uint16"}
    picture = png_bytes(np.zeros((9, 8, 3), np.uint8))
    assert inspected(site, picture) == {
        **NOTHING,
        "axes": "YXC",
        "shape": [9, 8, 3],
        "dtype": "uint8",
    }


def test_the_beginning_of_a_file_is_enough_or_says_less(site: Site) -> None:
    data = tiff_bytes(STACK, photometric="minisblack", metadata=None)
    cut = inspected(site, data[: len(data) // 2], cut=True)
    assert cut == {**NOTHING, "dtype": "uint16"}  # nobody can tell how many pages follow
    single = tiff_bytes(np.tile(STACK[0], (4, 4)))
    known = {**NOTHING, "axes": "YX", "shape": [240, 280], "dtype": "uint16"}
    assert inspected(site, single[: len(single) // 2], cut=True) == known


@pytest.mark.parametrize("data", [b"", b"text", b"II*\0\xff\xff\xff\xff", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_no_error(site: Site, data: bytes) -> None:
    assert inspected(site, data) == NOTHING


def test_requests_without_a_file_and_too_large_ones_are_refused(site: Site) -> None:
    http = site.web.http
    assert http.post("/inspect", json={}).status_code == 400
    assert http.post("/inspect", data={"file": "text"}).status_code == 400
    wrong = {"Content-Type": "multipart/form-data; boundary=x"}
    assert http.post("/inspect", content=b"--y\r\n", headers=wrong).status_code == 400
    large = http.post("/inspect", files={"file": ("x", bytes(17 * 2**20))})
    assert (large.status_code, large.json()["error"]) == (413, "FileTooLarge")
    assert "first 4 MB" in large.json()["message"]
