"""The Python client against a running Kiosk: every job type, notebooks, batches."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from kiosk_tasks.client import (
    AsyncClient,
    Client,
    JobCancelled,
    JobFailed,
    NotFound,
    NotInResult,
    Refused,
    State,
    WaitedTooLong,
)
from kiosk_tasks.scoring.spots import score_spots
from models.multiplex.tissue import draw_tissue
from tests.acceptance.conftest import SAMPLES
from tests.acceptance.test_track import kept
from tests.docs_code import Reader, reader_env
from tests.integration.test_seams import equal_cells
from tests.kiosk_up import Kiosk
from tests.simulated_movies import PRESETS, simulate, small_movie
from tests.simulated_spots import Culture, Scene, draw_culture, draw_spots

NUCLEI = SAMPLES / "nuclei_512.tif"
TRUTH = SAMPLES / "nuclei_512_truth.tif"
PAGE = Path(__file__).parents[2] / "docs" / "python.md"


@pytest.fixture
def client(kiosk: Kiosk) -> Iterator[Client]:
    with Client(kiosk.url) as client:
        yield client


def f1(truth: np.ndarray, found: np.ndarray) -> float:
    return float(2 * equal_cells(truth, found, least_iou=0.5) / (truth.max() + found.max()))


def test_an_image_becomes_labels_in_three_lines(client: Client, tmp_path: Path) -> None:
    seen: list[State] = []
    job = client.segment(NUCLEI).wait(timeout=60, progress=seen.append)
    result = job.result()

    assert result.labels.dtype == np.int32
    assert f1(tifffile.imread(TRUTH), result.labels) > 0.85
    assert seen[-1].status == "done"
    assert [s.progress for s in seen] == sorted(s.progress for s in seen)
    assert len(result.cells) == result.labels.max()
    assert result.cells[0]["area_px"] == (result.labels == 1).sum()
    assert result.overlay.startswith(b"\x89PNG")
    written = result.save(tmp_path / "out")
    assert {file.name for file in result.files} == {path.name for path in written}
    assert "nuclei_512_labels.ome.tif" in {path.name for path in written}
    assert [one.id for one in client.jobs(limit=5)].count(job.id) == 1
    with pytest.raises(NotInResult, match="has no tracks"):
        _ = result.tracks


def test_an_array_gives_the_same_cells_as_its_file(client: Client) -> None:
    pixels = tifffile.imread(NUCLEI)
    both = client.segment([NUCLEI, pixels])
    of_file, of_array = both.wait(timeout=60).results()
    np.testing.assert_array_equal(of_file.labels, of_array.labels)
    assert both[1].name == "array.tif"


def test_planes_come_back_as_a_stack(client: Client) -> None:
    plane = tifffile.imread(NUCLEI)[:256, :256]
    stack = np.stack([plane, plane[::-1], plane])
    labels = client.segment(stack, axes="ZYX").result(timeout=90).labels
    assert labels.shape == stack.shape
    np.testing.assert_array_equal(labels[0], labels[2])


def test_a_movie_becomes_tracks_with_a_lineage(client: Client) -> None:
    movie = small_movie(seed=3, frames=8, cells=10, division_rate=0.05)
    result = client.track(movie.pixels).result(timeout=120)
    assert kept(movie.labels, result.labels) > 0.95
    data = result.tracks.data
    assert data.shape[1] == 4
    track, frame, y, x = data[len(data) // 2]
    assert result.labels[int(frame), round(y), round(x)] > 0
    assert result.tracks.graph
    assert set(result.tracks.graph) <= set(data[:, 0])
    assert {m for (m,) in result.tracks.graph.values()} <= set(data[:, 0])
    assert track in data[:, 0]
    assert 'src="data:image/gif' in result._repr_html_()


def test_spots_alone_and_in_cells(client: Client) -> None:
    image, truth = draw_spots(Scene(snr=12), seed=5)
    found = client.spots(image).result(timeout=60).spots
    assert score_spots(truth, found).f1 > 0.9

    field: Culture = draw_culture(seed=6)
    result = client.polaris(field.image, axes="YXC", spot_channels="0", nuclear_channel=1).result(
        timeout=90
    )
    assert score_spots(field.spots, result.spots).f1 > 0.9
    assert list(result.parts) == ["nuclear"]
    assert result.cells[0]["spots"] >= 0


def test_tissue_has_two_parts(client: Client) -> None:
    field = draw_tissue(np.random.default_rng(771_000_003))
    job = client.mesmer(field.image, axes="YXC", mpp=0.5, compartment="both")
    result = job.result(timeout=120)
    assert set(result.parts) == {"whole-cell", "nuclear"}
    with pytest.raises(NotInResult, match="2 label images"):
        _ = result.labels


def test_what_cannot_be_done_is_a_sentence(client: Client) -> None:
    flat = client.segment(np.full((64, 64), 9, np.uint8)).wait(timeout=60)
    assert flat.status == "failed"
    with pytest.raises(JobFailed, match="every pixel") as failed:
        flat.result()
    assert failed.value.reason == flat.reason
    again = flat.retry()
    assert (again.id != flat.id, again.wait(timeout=60).status) == (True, "failed")
    with pytest.raises(Refused, match="no parameter 'diametr'; did you mean 'diameter'"):
        client.segment(NUCLEI, diametr=20)
    with pytest.raises(NotFound):
        client.submit("no_such_type", NUCLEI)
    with pytest.raises(NotFound, match="no job"):
        client.job("none")


def test_cancelling_and_waiting_no_longer(client: Client) -> None:
    movie = simulate(replace(PRESETS["easy"], frames=30), seed=3)
    job = client.track(movie.pixels)
    with pytest.raises(WaitedTooLong, match="it goes on"):
        job.wait(timeout=0.2, progress=False)
    assert job.cancel()
    assert job.wait(timeout=20).status == "cancelled"
    with pytest.raises(JobCancelled):
        job.result()
    assert job.cancel()  # it is what was wanted


def test_an_archive_is_saved_into_a_folder_of_its_own(client: Client, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "plate.zip", "w") as plate:
        plate.write(NUCLEI, "a/x.tif")
        plate.writestr("bad.tif", "words")
    job = client.segment(tmp_path / "plate.zip").wait(timeout=90)
    assert "not an image" in job.state.failures["bad.tif"]
    result = job.result()
    assert list(result.parts) == ["a/x"]
    assert all(
        path.is_relative_to(tmp_path / "out/plate") for path in result.save(tmp_path / "out")
    )


def test_a_batch_is_written_as_it_ends_and_goes_on(client: Client, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    pixels = tifffile.imread(NUCLEI)
    for number in range(5):
        tifffile.imwrite(folder / f"i{number}.tif", pixels[: 128 + number, :128])
    (folder / "bad.tif").write_text("words")
    found = list(client.map(folder, "predict", out=tmp_path / "out", open_jobs=2))
    assert len(found) == 6
    assert [one.name for one in found if one.reason] == ["bad.tif"]
    assert (tmp_path / "out" / "i4_labels.ome.tif").exists()
    again = list(client.map(folder, "predict", out=tmp_path / "out", open_jobs=2))
    assert sum(one.there for one in again) == 5


def test_the_same_on_an_event_loop(kiosk: Kiosk, tmp_path: Path) -> None:
    async def two_at_once() -> tuple[int, int, str]:
        async with AsyncClient(kiosk.url) as client:
            jobs = await asyncio.gather(client.segment(NUCLEI), client.segment(NUCLEI))
            results = await asyncio.gather(*(job.result(timeout=60) for job in jobs))
            labels = [await result.labels() for result in results]
            with pytest.raises(NotInResult):
                await results[0].spots()
            async for done in client.map([NUCLEI], out=tmp_path / "out", labels_only=True):
                assert done.reason is None
                assert done.files
            return int(labels[0].max()), int(labels[1].max()), repr(jobs[0])

    one, other, said = asyncio.run(two_at_once())
    assert one == other > 90
    assert said.startswith("AsyncJob(")


NOTEBOOK = """
import sys
from IPython.testing.globalipapp import start_ipython
shell = start_ipython()
class Kernel: pass
shell.kernel = Kernel()
shell.display_formatter.active_types = ["text/plain", "text/html"]  # as in a notebook
from IPython.display import display
from kiosk_tasks.client import Client
shown = []
shell.display_pub.publish = lambda data, **more: shown.append((data, more))
shell.run_cell("from kiosk_tasks.client import Client")
shell.run_cell(f"job = Client().segment({sys.argv[1]!r}).wait()")
assert len(shown) >= 2, shown
assert "<progress" in shown[0][0]["text/html"]
assert shown[-1][1]["update"]
assert "done" in shown[-1][0]["text/html"]
for name in ("job", "job.result()"):
    data, _ = shell.display_formatter.format(shell.ev(name))
    assert "data:image/png;base64," in data["text/html"], data
    assert "nuclei_512.tif" in data["text/html"]
    assert data["text/plain"].startswith(("Job(", "Result(")), data
"""


def test_a_notebook_shows_progress_and_the_overlay(kiosk: Kiosk, tmp_path: Path) -> None:
    env = {**kiosk.env, "IPYTHONDIR": str(tmp_path)}
    done = run_python(NOTEBOOK, env, str(NUCLEI))
    assert done.returncode == 0, done.stdout + done.stderr


INTERRUPTED = """
import _thread, sys, threading
from kiosk_tasks.client import Client, Job
job = Client().segment(sys.argv[1])
def show(state): _thread.interrupt_main()
try:
    job.wait(progress=show)
except KeyboardInterrupt:
    print(job.id)
"""


def test_an_interrupt_ends_the_waiting_and_not_the_job(kiosk: Kiosk, client: Client) -> None:
    done = run_python(INTERRUPTED, kiosk.env, str(NUCLEI))
    job_id = done.stdout.strip()
    assert job_id, done.stderr
    assert f"Job {job_id} goes on" in done.stderr
    assert client.job(job_id).wait(timeout=60).done


def run_python(program: str, env: object, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=dict(env),  # type: ignore[call-overload]
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


ON_THE_BROKER = """
```python
assert service.status(job.id).status == "done"
assert output["output_file_name"].startswith(f"output/{job.id}/")
assert "nuclei_labels.ome.tif" in {path.name for path in files}
```
"""  # behind the page's last block, which goes without the web service


def test_the_page_runs_as_it_is_written(kiosk: Kiosk, tmp_path: Path) -> None:
    folder, scratch = tmp_path / "reader", tmp_path / "scratch"
    folder.mkdir()
    scratch.mkdir()
    movie = small_movie(seed=4, frames=6)
    tifffile.imwrite(folder / "movie.tif", movie.pixels, imagej=True, metadata={"axes": "TYX"})
    shutil.copy(NUCLEI, folder / "nuclei.tif")
    (folder / "plate").mkdir()
    for name in ("a1.tif", "a2.tif"):
        tifffile.imwrite(folder / "plate" / name, tifffile.imread(NUCLEI)[:200, :200])
    env = reader_env({**os.environ, **kiosk.env, "COLUMNS": "120"})
    instead = {"http://127.0.0.1:8000": kiosk.url}
    with Reader(folder, scratch, env, instead=instead) as reader:
        assert reader.follow(PAGE.read_text("utf-8") + ON_THE_BROKER) >= 7


def test_the_terminal_shows_a_bar_only_to_a_person(client: Client) -> None:
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        client.segment(NUCLEI).wait(timeout=60)
    assert said.getvalue() == ""
