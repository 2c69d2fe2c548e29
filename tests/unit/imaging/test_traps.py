"""Traps are refused from their headers: in bounded time and memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kiosk_tasks.errors import FileTooLarge, ImageTooLarge
from kiosk_tasks.imaging.limits import ImageLimits
from tests.unit.imaging.files import PLANE, load, tiff
from tests.unit.imaging.traps import BOMBS, TRAPS, sound

MEASURE = """
import json, resource, sys, time
from pathlib import Path
from kiosk_tasks.errors import KioskError
from kiosk_tasks.imaging.io import read
from tests.unit.imaging.files import PLANE, tiff

def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

folder = Path(sys.argv[1])
warm = folder / "warm"
for compression in (None, "zlib", "lzw", "zstd", "jpeg"):
    warm.write_bytes(tiff(PLANE.astype("u1"), compression=compression, ome=True))
    read(warm, name="warm")
told = []
for path in sorted(folder.glob("*.trap")):
    before, began = peak_mb(), time.perf_counter()
    try:
        read(path, name="cells.tif")
        said = None
    except KioskError as error:
        said = [type(error).__name__, str(error)]
    told.append([path.stem, said, time.perf_counter() - began, before, peak_mb()])
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a process said of each trap: its error, seconds, and MB of memory before and after."""
    folder = tmp_path_factory.mktemp("traps")
    for name, make in {**TRAPS, **BOMBS}.items():
        (folder / f"{name}.trap").write_bytes(make())
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", MEASURE, str(folder)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    return {name: rest for name, *rest in json.loads(done.stdout)}


@pytest.mark.parametrize("name", [*TRAPS, *BOMBS])
def test_traps_cost_little(told: dict[str, Any], name: str) -> None:
    said, seconds, before_mb, after_mb = told[name]
    assert seconds < 5
    assert after_mb < 1.5 * before_mb
    if name in TRAPS:
        kind, message = said
        assert kind in ("ImageTooLarge", "UnreadableImage")
        assert message.startswith("cells.tif ")
        assert message.endswith(".")
        assert message.isprintable() or "\u202f" in message
        assert any(way in message for way in ("send", "export", "save", "Split")), message


@pytest.mark.parametrize("name", sound())
def test_what_is_sound_is_read(tmp_path: Path, name: str) -> None:
    content = sound()[name]
    image = load(tmp_path, content)
    assert image.size["X"] in (10, 64)


def test_limits_of_frames_and_bytes(tmp_path: Path) -> None:
    content = sound()["ome"]
    with pytest.raises(ImageTooLarge, match=r"5 planes.* takes 4\. .*KIOSK_MAX_FRAMES"):
        load(tmp_path, content, limits=ImageLimits(max_frames=4))
    content = tiff(PLANE, compression="zlib")
    with pytest.raises(FileTooLarge, match=r"KIOSK_MAX_FILE_BYTES"):
        load(tmp_path, content, limits=ImageLimits(max_bytes=len(content) - 1))
    flat = tiff(PLANE * 0, compression="zlib")
    with pytest.raises(ImageTooLarge, match=r"6\u202f144 bytes once decoded"):
        load(tmp_path, flat, limits=ImageLimits(max_bytes=6143))
    assert load(tmp_path, flat, limits=ImageLimits(max_bytes=6144)).axes == "YX"
