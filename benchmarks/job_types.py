"""Every job type once, as a person runs it: seconds, and what was found.

`python -m benchmarks.job_types` starts the embedded stack (`kiosk up`: Valkey, worker, gRPC model
server), sends one image, movie or archive to each job type with `kiosk run`, three times, and
prints the medians. `--real FOLDER` takes `*.tif` of a folder for `spot`, too. Results stay in
`--keep FOLDER`, to be looked at.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from kiosk_tasks.stack import running
from models.multiplex.tissue import draw_tissue
from tests.simulated_movies import PRESETS, simulate
from tests.simulated_spots import CONDITIONS, draw_culture, draw_spots

ROOT = Path(__file__).resolve().parents[1]
NUCLEI = ROOT / "samples" / "nuclei_512.tif"
SEED = 41_000_001
REPEATS = 3
READY_S = 120
FOUND = ("cells", "tracks", "divisions", "spots", "spots_in_cells")


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    job_type: str
    what: str
    image: Path
    options: tuple[str, ...] = ()


def main() -> int:
    """Run all cases; 1 if a job fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", type=Path, help="folder with images of spots")
    parser.add_argument("--keep", type=Path, help="folder for the results")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cases = make_cases(Path(folder), given.real)
        with stack(Path(folder) / "home") as home:
            rows = [measure(case, home, given.keep or Path(folder) / "out") for case in cases]
    print("| job type | input | seconds | found |")
    print("|---|---|---:|---|")
    for case, seconds, found in rows:
        print(f"| `{case.job_type}` | {case.what} | {seconds:.2f} | {found} |")
    return int(any("failed" in found for _case, _seconds, found in rows))


def make_cases(folder: Path, real: Path | None) -> list[Case]:
    """Write the simulated inputs; return all cases."""
    tissue = draw_tissue(np.random.default_rng(SEED), size=512)
    movie = simulate(PRESETS["easy"], seed=SEED)
    spots, _places = draw_spots(CONDITIONS["easy"], seed=SEED)
    culture = draw_culture(seed=SEED)
    pixel_um = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    files = {
        "tissue": write(
            folder / "tissue.ome.tif", np.moveaxis(tissue.image, -1, 0), "CYX", **pixel_um
        ),
        "movie": write(folder / "movie.ome.tif", movie.pixels, "TYX"),
        "spots": write(folder / "spots.ome.tif", spots, "YX"),
        "culture": write(folder / "culture.ome.tif", np.moveaxis(culture.image, -1, 0), "CYX"),
        "pieces": zipped(folder / "pieces.zip"),
    }
    cases = [
        Case("predict", "nuclei, 512², real (StarDist's sample)", NUCLEI),
        Case("mesmer", "tissue, 512², simulated", files["tissue"], ("--compartment", "both")),
        Case("track", f"{len(movie.pixels)} frames of 512², simulated", files["movie"]),
        Case("spot", "300 spots, 512², simulated", files["spots"]),
        Case(
            "polaris",
            "400 spots, 60 nuclei, 512², simulated",
            files["culture"],
            ("--channels", "0,1"),
        ),
        Case("predict", "archive of 16 pieces of 128², real", files["pieces"]),
    ]
    for path in sorted(real.glob("*.tif")) if real else ():
        cases.append(Case("spot", f"{path.name}, real", path))
    return cases


def write(path: Path, pixels: np.ndarray[Any, Any], axes: str, **facts: Any) -> Path:
    """Write an OME-TIFF."""
    metadata = {"axes": axes, **facts}
    tifffile.imwrite(path, pixels, ome=True, photometric="minisblack", metadata=metadata)
    return path


def zipped(path: Path) -> Path:
    """Write 16 pieces of the sample into an archive, in two folders."""
    pixels = tifffile.imread(NUCLEI)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, (y, x) in enumerate(np.ndindex(4, 4)):
            piece = path.with_name("piece.tif")
            tifffile.imwrite(piece, pixels[128 * y : 128 * y + 128, 128 * x : 128 * x + 128])
            archive.write(piece, f"row{y}/piece{number:02d}.tif")
    return path


@contextmanager
def stack(home: Path) -> Iterator[Path]:
    """Run `kiosk up`."""
    up = [sys.executable, "-m", "kiosk_tasks", "up", "--no-flower", "--workers", "2"]
    with subprocess.Popen(up, env=environment(home), stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + READY_S
        while not running(home):
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit("kiosk up did not start.")
            time.sleep(0.1)
        try:
            yield home
        finally:
            process.terminate()


def environment(home: Path) -> Mapping[str, str]:
    """Return this process's environment with a home of its own."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("KIOSK_")}
    return {**clean, "KIOSK_HOME": str(home)}


def measure(case: Case, home: Path, out: Path) -> tuple[Case, float, str]:
    """Run one case three times; return the job's median seconds, and what it found."""
    seconds, found = [], ""
    for _ in range(REPEATS):
        outcome = run(case, home, out)
        seconds.append(float(outcome["seconds"]))
        notes = outcome["notes"]
        found = ", ".join(
            f"{notes[name]} {name.replace('_', ' ')}" for name in FOUND if name in notes
        )
        if outcome["status"] != "done":
            found = f"failed: {outcome['reason']}"
    return case, statistics.median(seconds), found


def run(case: Case, home: Path, out: Path) -> Mapping[str, Any]:
    """Run `kiosk run`; return what it says of its one input."""
    folder = out / f"{case.job_type}-{case.image.stem}"
    command: Sequence[str] = (sys.executable, "-m", "kiosk_tasks", "run", case.job_type)
    arguments = (str(case.image), *case.options, "-o", str(folder), "--json", "--again")
    done = subprocess.run(
        [*command, *arguments], env=environment(home), capture_output=True, text=True, check=False
    )
    if not done.stdout:
        raise SystemExit(done.stderr)
    (outcome,) = json.loads(done.stdout)["images"]
    return dict(outcome)


if __name__ == "__main__":
    sys.exit(main())
