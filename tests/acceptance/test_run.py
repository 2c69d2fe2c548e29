"""`kiosk run predict`: from images in a folder to labels, table, picture and record."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import tifffile
from PIL import Image as Pillow

from kiosk_tasks.imaging import io
from tests.acceptance.conftest import SAMPLES, Shell
from tests.conftest import wait_for
from tests.integration.test_seams import equal_cells

NUCLEI = SAMPLES / "nuclei_512.tif"
TRUTH = SAMPLES / "nuclei_512_truth.tif"
SYNTHETIC = SAMPLES / "synthetic_nuclei_0.65um.ome.tif"


def test_images_become_labels_picture_table_and_record(shell: Shell, tmp_path: Path) -> None:
    out = tmp_path / "results"
    killed, recent = (shell.home / "runs" / name for name in ("killed", "recent"))
    for folder in (killed, recent):
        folder.mkdir(parents=True)
    os.utime(killed, (0, 0))
    done = shell.run("run", "predict", NUCLEI, SYNTHETIC, "-o", out)

    assert done.returncode == 0, done.stderr
    assert "2 done" in done.stdout
    assert sorted(p.name for p in out.iterdir()) == sorted(
        f"{stem}_{kind}"
        for stem in ("nuclei_512", "synthetic_nuclei_0.65um")
        for kind in (
            *("labels.ome.tif", "overlay.png", "cells.csv", "job.json"),
            *("rois.zip", "cells.geojson"),
        )
    )
    assert [folder.name for folder in (shell.home / "runs").iterdir()] == ["recent"]
    labels = io.read(out / "nuclei_512_labels.ome.tif", name="labels").data
    truth = tifffile.imread(TRUTH).astype(np.int32)
    assert labels.dtype == np.int32
    assert labels.shape == truth.shape
    hits = equal_cells(truth, labels, least_iou=0.5)
    assert 2 * hits / (truth.max() + labels.max()) > 0.85

    rows = list(csv.DictReader((out / "nuclei_512_cells.csv").read_text().splitlines()))
    assert len(rows) == labels.max()
    assert float(rows[0]["area_px"]) == (labels == 1).sum()
    with Pillow.open(out / "nuclei_512_overlay.png") as picture:
        assert min(picture.size) >= 512
    record = json.loads((out / "nuclei_512_job.json").read_text())
    assert record["model"] == {"name": "NuclearSegmentation", "version": 1}
    assert record["input"]["sha256"] == hashlib.sha256(NUCLEI.read_bytes()).hexdigest()
    written = out / "nuclei_512_labels.ome.tif"
    checksum = record["outputs"][written.name]["sha256"]
    assert checksum == hashlib.sha256(written.read_bytes()).hexdigest()
    assert set(record["seconds"]) >= {"download", "preprocess", "predict", "postprocess"}


def test_pixel_size_travels_to_the_labels_and_the_table(up: Shell, tmp_path: Path) -> None:
    code, (image,) = up.outcomes("predict", SYNTHETIC, "-o", tmp_path)
    assert code == 0
    labels, table = (
        next(f for f in image["files"] if f.endswith(ending)) for ending in (".tif", ".csv")
    )
    assert io.read(Path(labels), name="labels").mpp == pytest.approx(0.65)
    row = next(csv.DictReader(Path(table).read_text().splitlines()))
    assert float(row["area_um2"]) == pytest.approx(float(row["area_px"]) * 0.65**2, rel=1e-3)


def bad_images(folder: Path) -> dict[str, str]:
    """Write files that cannot be segmented; return what the reason must contain, by name."""
    good = NUCLEI.read_bytes()
    pixels = tifffile.imread(NUCLEI)
    folder.mkdir()
    (folder / "text.tif").write_text("these are only words")
    (folder / "cut.tif").write_bytes(good[: len(good) // 2])
    (folder / "nothing.tif").write_bytes(b"")
    five = np.arange(2 * 3 * 2 * 16 * 16, dtype=np.uint16).reshape(2, 3, 2, 16, 16)
    tifffile.imwrite(folder / "five.tif", five, photometric="minisblack")
    broken = pixels.astype(np.float32)
    broken[5, 7] = np.nan
    tifffile.imwrite(folder / "nan.tif", broken)
    tifffile.imwrite(folder / "flat.tif", np.full((64, 64), 9, np.uint8))
    return {
        "text.tif": "not an image",
        "cut.tif": "cut short",
        "nothing.tif": "empty",
        "five.tif": "axes",
        "nan.tif": "NaN",
        "flat.tif": "every pixel",
    }


def test_bad_images_fail_with_a_sentence_and_the_rest_is_done(up: Shell, tmp_path: Path) -> None:
    expected = bad_images(tmp_path / "bad")
    worker = worker_child(up)
    good = tmp_path / "bad" / "wrong_extension.png"
    good.write_bytes(NUCLEI.read_bytes())
    files = [tmp_path / "bad" / name for name in expected]
    code, images = up.outcomes("predict", *files, good, "-o", tmp_path / "out")

    assert code == 1
    reasons = {image["image"]: image["reason"] for image in images}
    for name, words in expected.items():
        assert words in reasons[name], reasons[name]
        assert "Traceback" not in reasons[name]
        assert "\n" not in reasons[name]
    assert images[-1]["status"] == "done"  # a wrong extension does not matter
    assert worker_child(up) == worker


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--channel", "3"], "channel 3"),
        (["--model-name", "NuclearSegmentatio"], "Did you mean NuclearSegmentation"),
        (["--model-version", "9"], "served are 1"),
        (["--axes", "CYX"], "dimensions"),
        (["--mpp", "100"], "0.065 to 6.5"),
    ],
)
def test_a_parameter_that_does_not_fit_fails_the_job(
    up: Shell, tmp_path: Path, options: list[str], words: str
) -> None:
    code, (image,) = up.outcomes("predict", NUCLEI, *options, "-o", tmp_path)
    assert code == 1
    assert words in image["reason"]
    assert image["files"] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predict", str(NUCLEI), "--min-siz", "3"], "--min-size"),
        (["predict", "/no/such/file.tif"], "names no image"),
        (["predict", str(NUCLEI), "--min-size", "-4"], "min_size"),
        (["predikt", str(NUCLEI)], "predikt"),
    ],
)
def test_a_command_that_is_not_understood_ends_with_2(
    up: Shell, arguments: list[str], words: str
) -> None:
    done = up.run("run", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 700 kB: 230 of inputs fit, a result of 780 does not, one of 240 does."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", str(folder)]
    if sys.platform != "linux" or subprocess.run(mount, check=False).returncode:
        pytest.skip("mounting a small file system needs root on Linux")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_fails_one_job_and_the_next_one_runs(tiny_disk: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.tif"
    tifffile.imwrite(small, tifffile.imread(NUCLEI)[:64, :64])
    # A full disk may pass, so the job is tried again; what it brought along takes space as long.
    settings = {"KIOSK_BUCKET": tiny_disk.as_uri(), "KIOSK_MAX_RETRIES": "1"}
    shell = Shell(tmp_path / "home", settings)
    files = (NUCLEI, small)
    code, images = shell.outcomes("predict", *files, "-j", "1", "-o", tmp_path / "out")
    assert code == 1
    assert [image["status"] for image in images] == ["failed", "done"], images
    assert "disk is full" in images[0]["reason"]
    assert not list(tiny_disk.rglob("*.part"))


def test_a_model_server_that_died_is_said_with_its_last_words(tmp_path: Path) -> None:
    shell = Shell(tmp_path / "home", {})
    log = tmp_path / "log"
    with shell.start("up", "--no-flower", "-j", "1", log=log) as process:
        wait_for(lambda: running_or_dead(shell, process), limit_s=120)
        parts = psutil.Process(process.pid).children(recursive=True)
        (server,) = [p for p in parts if "kiosk_tasks.serving.server" in p.cmdline()]
        server.send_signal(signal.SIGKILL)
        assert process.wait(60) == 3
    assert "model server" in log.read_text()
    assert psutil.wait_procs(parts, timeout=10)[1] == []


def test_a_model_server_that_does_not_answer_is_awaited_then_named(
    up: Shell, tmp_path: Path
) -> None:
    (server,) = [p for p in parts_of(up) if "kiosk_tasks.serving.server" in p.cmdline()]
    server.suspend()
    try:
        code, (image,) = up.outcomes("predict", NUCLEI, "-o", tmp_path)
    finally:
        server.resume()
    assert code == 1
    assert "did not answer within 5 s" in image["reason"]
    assert up.outcomes("predict", NUCLEI, "-o", tmp_path)[0] == 0  # the next job runs


def running_or_dead(shell: Shell, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None
    return (shell.home / "stack.env").exists()


def worker_child(shell: Shell) -> int:
    """Process id of the worker's one child, which runs the jobs."""
    (worker,) = [p for p in parts_of(shell) if "worker" in p.cmdline()]
    (child,) = worker.children()
    return child.pid


def parts_of(shell: Shell) -> list[psutil.Process]:
    """The processes of the running stack."""
    (pid,) = [
        line.removeprefix("KIOSK_STACK_PID=")
        for line in (shell.home / "stack.env").read_text().splitlines()
        if line.startswith("KIOSK_STACK_PID=")
    ]
    return psutil.Process(int(pid)).children()


def test_in_process_gives_the_same_files(up: Shell, tmp_path: Path) -> None:
    one, other = tmp_path / "queue", tmp_path / "here"
    assert up.outcomes("predict", NUCLEI, "-o", one)[0] == 0
    assert up.outcomes("predict", NUCLEI, "--in-process", "-o", other)[0] == 0
    for file in one.iterdir():
        if not file.name.endswith("_job.json"):
            assert file.read_bytes() == (other / file.name).read_bytes()


def test_ctrl_c_cancels_what_has_not_ended(up: Shell, tmp_path: Path) -> None:
    (server,) = [p for p in parts_of(up) if "kiosk_tasks.serving.server" in p.cmdline()]
    server.suspend()
    command = ("run", "predict", str(NUCLEI), "-o", str(tmp_path))
    try:
        with up.start(*command, log=tmp_path / "log") as process:
            job = wait_for(lambda: newest_open(up), limit_s=60)
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 130
    finally:
        server.resume()
    assert json.loads(up.run("status", job, "--json").stdout)["status"] == "cancelled"
    assert "interrupted" in (tmp_path / "log").read_text()


def test_a_queue_that_nobody_consumes_is_named(up: Shell, tmp_path: Path) -> None:
    shell = Shell(up.home, {"KIOSK_STAGE_QUEUES": '{"download": "nowhere"}'})
    log = tmp_path / "log"
    with shell.start("run", "predict", str(NUCLEI), "-o", str(tmp_path), log=log) as process:
        wait_for(lambda: "-Q nowhere" in log.read_text(), limit_s=60)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130


def newest_open(shell: Shell) -> str | None:
    """Id of the newest job, once a worker has it."""
    newest = json.loads(shell.run("jobs", "-n", "1", "--json").stdout)
    running = newest and newest[0]["status"] in ("started", "predicting")
    return str(newest[0]["id"]) if running else None
