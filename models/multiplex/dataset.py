"""What training draws from: simulated fields, kept on disk, and random crops of them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

from kiosk_tasks.segmenting.multiplex import prepare
from models.multiplex.tissue import Tissue, draw_tissue
from models.nuclear.fields import FloatImage, log_uniform
from models.nuclear.targets import distances

__all__ = ["Crops", "make_fields", "pixel_classes"]

SIZE = 256  # px, side of a field
ARRAYS = ("image", "truth")


def make_fields(folder: Path, *, count: int, seed: int, processes: int = 2) -> Path:
    """Simulate fields, or find them where an earlier run has left them; returns their folder.

    The folder holds `image.npy` (count, 256, 256, 2) float16, as the network sees it, and
    `truth.npy` (count, 256, 256, 4) float16, as `network.heads_loss` takes it.
    """
    kept = folder / f"fields-{count}-{seed}"
    if not (kept / f"{ARRAYS[-1]}.npy").exists():
        kept.mkdir(parents=True, exist_ok=True)
        seeds = np.array_split(np.arange(seed, seed + count), min(count, 4 * processes))
        with ProcessPoolExecutor(processes) as pool:
            parts = zip(*pool.map(_fields, seeds), strict=True)
        for name, arrays in zip(ARRAYS, parts, strict=True):
            np.save(kept / f"{name}.npy", np.concatenate(arrays))
    return kept


@dataclass(frozen=True)
class Crops:
    """Random batches of crops, the same for the same seed and step."""

    images: NDArray[np.float16]  # (N, Y, X, 2)
    truths: NDArray[np.float16]  # (N, Y, X, 4)
    side: int  # px
    batch: int
    seed: int

    @classmethod
    def of(cls, fields: Path, *, side: int, batch: int, seed: int) -> Crops:
        """Draw from the fields that `make_fields` has made."""
        images, truths = (np.load(fields / f"{name}.npy", mmap_mode="r") for name in ARRAYS)
        return cls(images, truths, side, batch, seed)

    def __call__(self, step: int) -> tuple[FloatImage, FloatImage]:
        """Draw images (batch, side, side, 2) and truths (batch, side, side, 4), float32."""
        rng = np.random.default_rng((self.seed, step))
        crops = [self._crop(rng) for _ in range(self.batch)]
        images, truths = zip(*crops, strict=True)
        return np.stack(images), np.stack(truths)

    def _crop(self, rng: np.random.Generator) -> tuple[FloatImage, FloatImage]:
        index = int(rng.integers(len(self.images)))
        y, x = rng.integers(self.images.shape[1] - self.side + 1, size=2)
        window = np.s_[index, y : y + self.side, x : x + self.side]
        turns, flip = int(rng.integers(4)), rng.random() < 0.5
        image, truth = (
            np.rot90(array[window].astype(np.float32), turns)[:: -1 if flip else 1]
            for array in (self.images, self.truths)
        )
        return _changed(rng, image), np.ascontiguousarray(truth)


def pixel_classes(labels: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Return (Y, X) uint8: 0 background, 1 interior, 2 border.

    The border is a cell's own outermost pixel; where the image cuts a cell there is none.
    """
    padded = np.pad(labels, 1, mode="edge")
    differ = (ndi.minimum_filter(padded, 3) != ndi.maximum_filter(padded, 3))[1:-1, 1:-1]
    return np.where(labels > 0, np.where(differ, 2, 1), 0).astype(np.uint8)


def _changed(rng: np.random.Generator, image: FloatImage) -> FloatImage:
    """Change gamma, gain and noise of each channel."""
    image = np.array(image)
    for channel in range(image.shape[-1]):
        plane = image[..., channel]
        if rng.random() < 0.4:
            plane **= np.float32(rng.uniform(0.6, 1.6))
        if rng.random() < 0.3:
            plane[...] = ndi.gaussian_filter(plane, rng.uniform(0.4, 1.0))
        if rng.random() < 0.3:
            sigma = log_uniform(rng, 0.01, 0.1)
            plane += np.float32(sigma) * rng.standard_normal(plane.shape, np.float32)
        plane *= np.float32(rng.uniform(0.8, 1.1))
    return np.clip(image, 0, 1)


def _fields(seeds: Sequence[int]) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
    fields = [draw_tissue(np.random.default_rng(int(seed)), size=SIZE) for seed in seeds]
    images = np.stack([prepare(field.image) for field in fields])
    return images.astype(np.float16), np.stack([_truth(field) for field in fields])


def _truth(field: Tissue) -> NDArray[np.float16]:
    maps: list[NDArray[Any]] = []
    for labels in (field.whole_cell, field.nuclear):
        maps += [distances(labels)[..., 0], pixel_classes(labels)]
    return np.stack(maps, axis=-1).astype(np.float16)
