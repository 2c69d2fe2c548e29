"""Small images, one for each job type, that the web page is tried with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile

from models.multiplex.tissue import draw_tissue
from tests.simulated_movies import small_movie
from tests.simulated_spots import Scene, draw_culture, draw_spots
from tests.unit.imaging.zips import zipped

__all__ = ["CASES", "Case", "draw_images"]

_NUCLEI = Path(__file__).parents[1] / "samples" / "nuclei_512.tif"


@dataclass(frozen=True)
class Case:
    """What is sent as which job type, and what the result must hold.

    found: words of the facts that the page then shows. view: whether there is a picture.
    """

    kind: str
    file: str
    values: dict[str, str]
    members: frozenset[str]
    found: tuple[str, ...]
    view: bool = True


CASES = (
    Case(
        "predict",
        "nuclei.ome.tif",
        {},
        frozenset({"nuclei_labels.ome.tif", "nuclei_cells.csv", "nuclei_job.json"}),
        ("Cells",),
    ),
    Case(
        "mesmer",
        "tissue.ome.tif",
        {"compartment": "both"},
        frozenset({"tissue_whole-cell_labels.ome.tif", "tissue_nuclear_labels.ome.tif"}),
        ("Cells", "Nuclei"),
    ),
    Case(
        "track",
        "dividing.tif",
        {},
        frozenset({"dividing.trk", "dividing_tracks.csv"}),
        ("Tracks", "Divisions"),
    ),
    Case("spot", "spots.tif", {}, frozenset({"spots_spots.csv"}), ("Spots",)),
    Case(
        "polaris",
        "field.ome.tif",
        {"spot_channels": "0", "nuclear_channel": "1"},
        frozenset({"field_spots.csv", "field_overlay.png"}),
        ("Cells", "Spots"),
    ),
    Case(
        "predict",
        "plate 1.zip",
        {},
        frozenset({"well 1/a_labels.ome.tif", "b_labels.ome.tif", "summary.csv"}),
        ("Cells", "Files"),
        view=False,
    ),
)


def draw_images(folder: Path) -> Path:
    """Write the file of each case into the folder, and `bad.tif`; return the folder."""
    nuclei = tifffile.imread(_NUCLEI)
    _ome(folder / "nuclei.ome.tif", nuclei[:192, :224], "YX", 0.65)
    tissue = draw_tissue(np.random.default_rng(771_000_003), size=160).image
    _ome(folder / "tissue.ome.tif", np.moveaxis(tissue, -1, 0), "CYX", 0.5)
    movie = small_movie(seed=4, frames=8)
    tifffile.imwrite(folder / "dividing.tif", movie.pixels, imagej=True, metadata={"axes": "TYX"})
    spots, _truth = draw_spots(Scene(spots=80, snr=10), seed=3, shape=(160, 192))
    tifffile.imwrite(folder / "spots.tif", spots)
    field = draw_culture(seed=31, shape=(192, 192), nuclei=10, spots=250)
    _ome(folder / "field.ome.tif", np.moveaxis(field.image, -1, 0), "CYX", 0.65)
    parts = {"well 1/a.tif": nuclei[:96, :96], "b.tif": nuclei[96:192, :96]}
    for name, pixels in parts.items():
        tifffile.imwrite(folder / Path(name).name, pixels)
    packed = {name: (folder / Path(name).name).read_bytes() for name in parts}
    (folder / "plate 1.zip").write_bytes(zipped(packed))
    (folder / "bad.tif").write_bytes((folder / "a.tif").read_bytes()[:300])
    return folder


def _ome(path: Path, pixels: np.ndarray, axes: str, mpp: float) -> None:
    size = {f"PhysicalSize{axis}": mpp for axis in "XY"}
    units = {f"PhysicalSize{axis}Unit": "µm" for axis in "XY"}
    metadata = {"axes": axes, **size, **units}
    tifffile.imwrite(path, pixels, metadata=metadata, photometric="minisblack", ome=True)
