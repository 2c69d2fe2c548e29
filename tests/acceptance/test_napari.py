"""The napari plugin in the real napari, in a window on a virtual screen, with a running Kiosk."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from models.multiplex.tissue import draw_tissue
from tests.acceptance.conftest import SAMPLES
from tests.conftest import wait_for
from tests.docs_code import Reader, reader_env
from tests.kiosk_up import Kiosk
from tests.processes import child
from tests.simulated_movies import small_movie
from tests.simulated_spots import Scene, draw_spots

SESSION = Path(__file__).with_name("napari_session.py")
ARTIFACTS = Path(__file__).parents[2] / "test-artifacts"
PAGE = Path(__file__).parents[2] / "docs" / "napari.md"
_LIMIT_S = 400


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A screen that nobody sees; OpenGL works on it, as on none of Qt's own."""
    if shutil.which("Xvfb") is None:
        reason = "there is no Xvfb; run: make screen"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    folder = tmp_path_factory.mktemp("screen")
    number = folder / "number"
    command = (
        f"exec Xvfb -displayfd 3 -screen 0 1400x900x24 -nolisten tcp 3>{number} 2>{folder}/said"
    )
    with child(["/bin/sh", "-c", command], log=folder / "log") as process:
        wait_for(
            lambda: (number.exists() and number.read_text().strip()) or process.poll() is not None,
            what="Xvfb",
        )
        assert process.poll() is None, (folder / "said").read_text()
        yield f":{number.read_text().strip()}"


@pytest.fixture(scope="module")
def environment(screen: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of a process with napari in it: nothing of the developer's own settings."""
    home = tmp_path_factory.mktemp("person")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("KIOSK_")}
    return {
        **clean,
        "DISPLAY": screen,
        "QT_QPA_PLATFORM": "xcb",
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "XDG_RUNTIME_DIR": str(home),
        "PYTHONWARNINGS": "ignore",
    }


@pytest.fixture(scope="module")
def seen(kiosk: Kiosk, environment: dict[str, str], tmp_path_factory: Any) -> dict[str, Any]:
    """What a person at napari sees, from connecting to cancelling."""
    folder = tmp_path_factory.mktemp("napari")
    movie = small_movie(seed=3, frames=8, cells=10, division_rate=0.05)
    image, _ = draw_spots(Scene(snr=12), seed=5)
    np.save(folder / "nuclei.npy", tifffile.imread(SAMPLES / "nuclei_512.tif"))
    np.save(folder / "movie.npy", movie.pixels)
    np.save(folder / "spots.npy", image)
    np.save(folder / "tissue.npy", draw_tissue(np.random.default_rng(771_000_003)).image)
    done = subprocess.run(
        [sys.executable, str(SESSION), kiosk.url, str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    ARTIFACTS.mkdir(exist_ok=True)
    for picture in folder.glob("*.png"):
        shutil.copy(picture, ARTIFACTS / f"napari-{picture.name}")
    (ARTIFACTS / "napari.json").write_text(done.stdout.splitlines()[-1])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**found, "folder": folder}


def test_the_manifest_is_valid_and_installed(tmp_path: Path) -> None:
    ask = "from importlib.metadata import entry_points as e; print(e(group='napari.manifest'))"
    told = subprocess.check_output([sys.executable, "-c", ask], cwd=tmp_path, text=True)
    assert "value='kiosk_tasks.napari:napari.yaml'" in told
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "npe2", "validate", "kiosk-tasks"],
        env={**os.environ, "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "valid" in done.stdout


def test_the_server_is_asked_what_it_offers(seen: dict[str, Any]) -> None:
    assert set(seen["types"]) >= {"mesmer", "polaris", "predict", "spot", "track"}
    assert "no Kiosk answers at http://127.0.0.1:9" in seen["refused"]


def test_the_address_is_remembered_without_the_token_in_it(
    seen: dict[str, Any], kiosk: Kiosk
) -> None:
    assert seen["remembered"] == kiosk.url


def test_the_form_has_units_ranges_and_the_layers_pixel_size(seen: dict[str, Any]) -> None:
    assert "Diameter (px)" in seen["form"]["labels"]
    assert seen["form"]["ranges"]["diameter"] == "2.4 to 240"
    assert seen["form"]["mpp"] == "0.5"
    assert "Axes" not in seen["form"]["labels"]


def test_segmenting_gives_labels_in_the_images_place(seen: dict[str, Any]) -> None:
    (layer,) = seen["predict"]["layers"].values()
    assert list(seen["predict"]["layers"]) == ["nuclei cells"]
    assert (layer["kind"], layer["dtype"], layer["shape"]) == ("Labels", "int32", [512, 512])
    assert 90 < layer["count"] < 150
    assert (layer["scale"], layer["translate"]) == ([0.5, 0.5], [10.0, 20.0])
    assert "area_px" in layer["features"]


def test_tracking_gives_tracks_with_a_lineage(seen: dict[str, Any]) -> None:
    layers = seen["track"]["layers"]
    assert set(layers) == {"movie cells", "movie tracks"}
    labels, tracks = layers["movie cells"], layers["movie tracks"]
    assert (labels["kind"], labels["shape"]) == ("Labels", [8, 160, 160])
    assert labels["scale"] == [1.0, 0.65, 0.65]
    assert (tracks["kind"], tracks["shape"][1]) == ("Tracks", 4)
    assert tracks["scale"][-2:] == [0.65, 0.65]
    assert tracks["tracks"] >= 12
    assert tracks["graph"]
    assert "area_px" in tracks["features"]


def test_searching_for_spots_gives_points(seen: dict[str, Any]) -> None:
    (layer,) = seen["spot"]["layers"].values()
    assert (layer["kind"], layer["shape"][1], layer["translate"]) == ("Points", 2, [3.0, 4.0])
    assert 250 < layer["shape"][0] < 350
    assert layer["features"] == ["intensity", "signal_to_noise"]


def test_several_layers_are_channels(seen: dict[str, Any]) -> None:
    layers = seen["mesmer"]["layers"]
    assert set(layers) == {"channel 0 whole-cell", "channel 0 nuclear"}
    assert all(layer["count"] > 10 for layer in layers.values())


def test_axes_that_leave_doubt_are_asked_for(seen: dict[str, Any]) -> None:
    assert "3 dimensions; say under Axes what they are" in seen["doubt"]
    (layer,) = seen["stack"]["layers"].values()
    assert layer["shape"] == [2, 512, 512]


def test_the_viewer_stays_responsive(seen: dict[str, Any]) -> None:
    for job in (seen["track"], seen["stack"]):  # a viewer that waits would tick once
        assert job["busy"]
        assert job["ticks"] > 15
        assert job["longest_gap"] < max(0.5, job["seconds"] / 2)


def test_problems_are_one_sentence(seen: dict[str, Any]) -> None:
    assert "Diameter: 1000 is out of range; it must be 2.4 to 240." in seen["range"]
    assert "every pixel" in seen["failed"]
    for sentence in (seen["range"], seen["failed"], seen["doubt"]):
        assert sentence.startswith("error: ")
        assert "Traceback" not in sentence
        assert "\n" not in sentence


def test_a_cancelled_job_adds_nothing(seen: dict[str, Any]) -> None:
    assert seen["cancelled"]["added"] == 0
    assert seen["cancelled"]["status"] == "cancelled"
    (sentence,) = seen["cancelled"]["told"]
    assert sentence.startswith("info: ")


def test_pictures_show_what_was_found(seen: dict[str, Any]) -> None:
    with Pillow.open(seen["folder"] / "segmented.png") as picture:
        canvas = np.asarray(picture.convert("RGB"))[100:600, 400:800]
    assert canvas.max() > 60
    assert len(np.unique(canvas.reshape(-1, 3), axis=0)) > 50


def test_the_page_runs_as_it_is_written(
    kiosk: Kiosk, environment: dict[str, str], tmp_path: Path
) -> None:
    folder, scratch = tmp_path / "reader", tmp_path / "scratch"
    folder.mkdir()
    scratch.mkdir()
    shutil.copy(SAMPLES / "nuclei_512.tif", folder / "nuclei.tif")
    env = reader_env({**kiosk.env, **environment})
    with Reader(folder, scratch, env, instead={"http://127.0.0.1:8000": kiosk.url}) as reader:
        assert reader.follow(PAGE.read_text("utf-8")) >= 1
