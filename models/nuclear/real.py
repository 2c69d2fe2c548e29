"""Real images with labels: reading, acquisitions, the split, nuclei to cut out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

from models.nuclear.nucleus import Nucleus

__all__ = [
    "RealImage",
    "choose_validation",
    "cut_nuclei",
    "load_real",
    "median_diameter",
    "read_ids",
]

VALIDATION_LIST = Path(__file__).with_name("validation_ids.txt")
LEAST_CUT_AREA = 250  # px²; smaller nuclei show too little to be enlarged


@dataclass(frozen=True)
class RealImage:
    """One image of nuclei and its truth."""

    identity: str  # BBBC038 image id
    pixels: NDArray[np.uint8]  # (Y, X)
    labels: NDArray[np.uint16]  # (Y, X), 0 background

    @property
    def acquisition(self) -> str:
        """Group of images that look alike, told by shape, black level and nucleus size."""
        height, width = self.pixels.shape
        name = f"{height}x{width}"
        if name == "360x360":
            return name
        dark = "low" if np.percentile(self.pixels, 1) < 8 else "raised"
        if name == "520x696":
            return f"{name} large" if median_diameter(self.labels) > 35 else f"{name} {dark} black"
        return f"{name} {dark} black"


def load_real(path: Path) -> list[RealImage]:
    """Read an archive with `img_<id>` uint8 and `lab_<id>` uint16 arrays, sorted by id."""
    with np.load(path) as archive:
        identities = sorted(key[4:] for key in archive if key.startswith("img_"))
        return [RealImage(key, archive[f"img_{key}"], archive[f"lab_{key}"]) for key in identities]


def choose_validation(images: Sequence[RealImage], *, seed: int, share: float = 0.2) -> list[str]:
    """Draw the ids of a share of each acquisition."""
    rng = np.random.default_rng(seed)
    chosen: list[str] = []
    for acquisition in sorted({image.acquisition for image in images}):
        members = [image.identity for image in images if image.acquisition == acquisition]
        chosen += rng.choice(members, size=round(share * len(members)), replace=False).tolist()
    return sorted(chosen)


def read_ids(path: Path = VALIDATION_LIST) -> frozenset[str]:
    """Read the ids of the images that training must not see, one a line."""
    return frozenset(path.read_text(encoding="ascii").split())


def cut_nuclei(images: Iterable[RealImage]) -> list[Nucleus]:
    """Cut out the larger nuclei that do not touch the border, background subtracted, median 1."""
    nuclei = []
    for image in images:
        pixels = image.pixels.astype(np.float32)
        black = np.percentile(pixels, 5)
        for label, window in enumerate(ndi.find_objects(image.labels), 1):
            if window is None or _at_border(window, image.labels.shape):
                continue
            mask = _square(image.labels[window] == label)
            bright = _square(pixels[window]) - black
            level = np.median(bright[mask])
            if mask.sum() < LEAST_CUT_AREA or level < 5:
                continue
            nuclei.append(Nucleus(np.where(mask, bright / level, 0).astype(np.float32), mask))
    return nuclei


def median_diameter(labels: NDArray[np.integer]) -> float:
    """Median diameter of the objects of a label image, px; 0 if there are none."""
    areas = np.bincount(labels.ravel())[1:]
    areas = areas[areas > 0]
    return float(2 * np.sqrt(np.median(areas) / np.pi)) if len(areas) else 0.0


def _at_border(window: tuple[slice, ...], shape: tuple[int, ...]) -> bool:
    return any(
        side.start == 0 or side.stop == length for side, length in zip(window, shape, strict=True)
    )


def _square(image: NDArray[Any]) -> NDArray[Any]:
    """Pad to a square with a margin of at least 1 px."""
    missing = [max(image.shape) + 2 - length for length in image.shape]
    return np.pad(image, [(m // 2, m - m // 2) for m in missing])
