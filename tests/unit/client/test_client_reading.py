"""What is read of results; the files are those that the server's own code writes."""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from kiosk_tasks.client.calls import Calls
from kiosk_tasks.client.contents import Contents
from kiosk_tasks.client.errors import NotInResult, ServerError
from kiosk_tasks.client.html import job_html, result_html
from kiosk_tasks.client.reading import parts_of, read_labels, read_spots, read_table, read_tracks
from kiosk_tasks.client.state import ResultFile, State
from kiosk_tasks.client.wire import Reply
from kiosk_tasks.imaging._tiff_write import write_labels
from kiosk_tasks.imaging.labels import LabelImage
from tests.unit.client.network import Network, job, reply

CALLS = Calls("http://kiosk.test", retries=0)


def names_of(*files: str) -> dict[str, tuple[str, ...]]:
    return {part.name: part.files for part in parts_of(files)}


def test_label_images_are_found_and_named() -> None:
    assert names_of("x_labels.ome.tif", "x_job.json", "x_cells.csv", "x_labels.tif") == {
        "": ("x_labels.ome.tif",)
    }
    assert names_of(
        "a_b_nuclear_labels.ome.tif", "a_b_whole-cell_labels.ome.tif", "a_b_job.json"
    ) == {
        "nuclear": ("a_b_nuclear_labels.ome.tif",),
        "whole-cell": ("a_b_whole-cell_labels.ome.tif",),
    }
    assert names_of("m_tracked.ome.tif", "m_job.json") == {"": ("m_tracked.ome.tif",)}


def test_planes_of_a_stack_are_one_part_in_their_order() -> None:
    files = [f"s_batch_{n}_channel_{c}_labels.ome.tif" for n in (10, 0, 9) for c in (0, 1)]
    parts = {part.name: part for part in parts_of([*files, "s_job.json"])}
    assert list(parts) == ["channel_0", "channel_1"]
    assert parts["channel_1"].files == tuple(
        f"s_batch_{n}_channel_1_labels.ome.tif" for n in (0, 9, 10)
    )
    assert parts["channel_1"].planes
    assert names_of("s_batch_0_labels.ome.tif", "s_batch_1_labels.ome.tif", "s_job.json") == {
        "": ("s_batch_0_labels.ome.tif", "s_batch_1_labels.ome.tif")
    }


def test_parts_of_an_archive_are_named_by_their_input() -> None:
    files = ["a/x_labels.ome.tif", "a/x_job.json", "x_y_nuclear_labels.ome.tif", "x_y_job.json"]
    assert list(names_of(*files)) == ["a/x", "x_y/nuclear"]


def test_images_of_an_archive_that_are_called_batches_are_no_stack() -> None:
    files = [f"x_batch_{n}{end}" for n in (0, 1) for end in ("_labels.ome.tif", "_job.json")]
    assert list(names_of(*files)) == ["x_batch_0", "x_batch_1"]


def test_labels_are_int32() -> None:
    planes = [np.full((20, 30), n, np.int32) for n in (1, 70000)]
    written = [write_labels(LabelImage(plane, mpp=0.5)) for plane in planes]
    assert read_labels(written[:1], stacked=False).shape == (20, 30)
    stack = read_labels(written, stacked=True)
    assert stack.dtype == np.int32
    assert (stack.shape, int(stack.max())) == ((2, 20, 30), 70000)


def test_tables_have_numbers() -> None:
    assert read_table(b"label,y,name,area_um2\n1,2.50,a b,\n") == [
        {"label": 1, "y": 2.5, "name": "a b", "area_um2": None}
    ]


def test_tracks_are_sorted_and_know_their_mothers() -> None:
    table = (
        b"track,label,frame,y,x,area_px,mean_intensity,y_um,x_um,area_um2\n"
        b"2,2,1,5.00,6.00,9,1.5,,,\n1,1,1,3.00,4.00,9,2.5,,,\n1,1,0,1.00,2.00,8,3.5,,,\n"
    )
    divisions = b"mother,frame,daughter_1,daughter_2,y,x,y_um,x_um\n1,2,2,3,3.00,4.00,,\n"
    tracks = read_tracks(table, divisions)
    np.testing.assert_array_equal(tracks.data, [[1, 0, 1, 2], [1, 1, 3, 4], [2, 1, 5, 6]])
    assert tracks.graph == {2: [1], 3: [1]}
    np.testing.assert_array_equal(tracks.features["mean_intensity"], [3.5, 2.5, 1.5])
    assert "y_um" not in tracks.features
    assert len(tracks) == 2
    empty = read_tracks(table.splitlines()[0], divisions.splitlines()[0])
    assert (empty.data.shape, empty.graph) == ((0, 4), {})


def test_spots_are_y_before_x_whatever_the_table_says_first() -> None:
    assert read_spots(b"y,x,intensity\n1.5,2.5,9\n").tolist() == [[1.5, 2.5]]
    assert read_spots(b"x,y,cellID0\n2.5,1.5,1\n").tolist() == [[1.5, 2.5]]
    assert read_spots(b"frame,y,x\n3,1.5,2.5\n").tolist() == [[3, 1.5, 2.5]]
    assert read_spots(b"y,x\n").shape == (0, 2)


def listing(*names: str) -> Reply:
    return reply(200, {"files": [{"name": name, "bytes": 1} for name in names]})


def contents(**more: object) -> Contents:
    return Contents(CALLS, State.parse(job("done", **more)))


def test_only_what_is_asked_for_is_fetched_and_that_once() -> None:
    label = write_labels(LabelImage(np.ones((9, 9), np.int32)))
    network = Network(
        listing("x_labels.ome.tif", "x_cells.csv", "x_job.json"), Reply(200, {}, label)
    )
    result = contents()
    for _ in range(2):
        assert network.run(result.labels()).sum() == 81
    assert [r.path for r in network.requests] == ["jobs/j1/files", "jobs/j1/files/x_labels.ome.tif"]


def test_what_a_result_lacks_is_said_with_what_it_has() -> None:
    for asked in ("labels", "parts", "tracks", "cells"):
        with pytest.raises(NotInResult, match=r"predict job has no .*; it has x_spots.csv"):
            Network(listing("x_spots.csv")).run(getattr(contents(), asked)())
    two = listing("x_nuclear_labels.ome.tif", "x_cell_labels.ome.tif", "x_job.json")
    with pytest.raises(
        NotInResult, match=r"2 label images: 'nuclear', 'cell'; .*parts\['nuclear'\]"
    ):
        Network(two).run(contents().labels())


def packed(*names: str) -> Reply:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, name)
    return Reply(200, {}, buffer.getvalue())


def test_results_are_saved_whole(tmp_path: Path) -> None:
    written = Network(packed("x.csv", "a/y.csv")).run(contents().save(tmp_path / "new"))
    assert written == [tmp_path / "new/a/y.csv", tmp_path / "new/x.csv"]
    assert written[0].read_text() == "a/y.csv"
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["a", "x.csv"]

    archive = contents(name="plate.zip", type="predict-zip").save(tmp_path)
    assert Network(packed("x.csv")).run(archive) == [tmp_path / "plate/x.csv"]

    network = Network(Reply(200, {}, b"one file"), listing("thing.bin"))
    (single,) = network.run(contents().save(tmp_path))
    assert (single.name, single.read_bytes()) == ("thing.bin", b"one file")


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "..\\x", "C:/x"])
def test_no_result_writes_outside_of_the_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="leaves the folder"):
        Network(packed(name)).run(contents().save(tmp_path / "out"))
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("name", ["...zip", "a/..", "..\\..\\x.zip"])
def test_no_archive_is_saved_outside_of_the_folder(name: str, tmp_path: Path) -> None:
    archive = contents(name=name, type="predict-zip").save(tmp_path / "out")
    with pytest.raises(ServerError, match="leaves the folder"):
        Network(packed("x.csv")).run(archive)
    assert not (tmp_path / "x.csv").exists()


@pytest.mark.skipif(os.name == "nt", reason="a colon is no letter of a file's name there")
def test_a_colon_in_a_name_is_no_drive(tmp_path: Path) -> None:
    (written,) = Network(packed("1:2_cells.csv")).run(contents().save(tmp_path))
    assert written.name == "1:2_cells.csv"


def test_what_notebooks_show_is_escaped() -> None:
    evil = "<script>alert(1)</script>"
    state = State.parse(
        job(evil, name=evil, type=evil, id=evil, reason=evil, params={evil: evil},
            failures={evil: evil}, units={"done": 1, "total": 3})
    )  # fmt: skip
    shown = job_html(state, b"png") + result_html(state, [ResultFile(evil, 5)], b"png")
    assert "<script" not in shown
    assert shown.count("&lt;script&gt;") >= 8
    assert 'src="data:image/png;base64,cG5n"' in shown
    assert "1 of 3" in shown
    json.dumps(shown)
