"""What training draws from: synthetic samples, cached on disk, and real ones."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.imaging.intensity import normalise_percentiles
from models.nuclear.augment import Sample, random_crop
from models.nuclear.fields import FloatImage
from models.nuclear.nucleus import Nucleus
from models.nuclear.real import RealImage, cut_nuclei, median_diameter
from models.nuclear.synth import draw_image
from models.nuclear.targets import distances

__all__ = ["Mixture", "make_synthetic", "real_samples"]


def real_samples(images: Sequence[RealImage]) -> list[Sample]:
    """Prepare real images for training."""
    return [_sample(normalise_percentiles(image.pixels), image.labels) for image in images]


def make_synthetic(
    cache: Path, images: Sequence[RealImage], *, count: int, seed: int, processes: int = 2
) -> list[Sample]:
    """Draw synthetic samples of 256 px, or read them from `cache` if they lie there.

    images: real training images; some scenes are made of nuclei cut from them.
    """
    if not cache.exists():
        nuclei = cut_nuclei(images)
        with ProcessPoolExecutor(processes) as pool:
            draw = partial(_synthetic_sample, nuclei=nuclei)
            batches = pool.map(draw, np.array_split(np.arange(seed, seed + count), 4 * processes))
            samples = [sample for batch in batches for sample in batch]
        _write(cache, samples)
    return _read(cache)


@dataclass(frozen=True)
class Mixture:
    """Random batches, the same for the same seed and step."""

    real: Sequence[Sample]
    synthetic: Sequence[Sample]
    real_share: float
    crop: int  # side, px
    batch: int
    seed: int

    def __call__(self, step: int) -> tuple[FloatImage, FloatImage]:
        """Draw images (batch, crop, crop, 1) and truth (batch, crop, crop, 4)."""
        rng = np.random.default_rng((self.seed, step))
        crops = [
            random_crop(rng, self._draw(rng), size=self.crop, neighbour=self._draw(rng))
            for _ in range(self.batch)
        ]
        images, truths = zip(*crops, strict=True)
        return np.stack(images), np.stack(truths)

    def _draw(self, rng: np.random.Generator) -> Sample:
        if self.real and rng.random() < self.real_share:
            return self.real[int(rng.choice(len(self.real), p=self._chances()))]
        return self.synthetic[int(rng.integers(len(self.synthetic)))]

    def _chances(self) -> NDArray[np.float64]:
        """Chances of the real samples: large images hold more crops."""
        areas = np.array([min(3.5, sample.labels.size / 65536) for sample in self.real])
        return np.asarray(areas / areas.sum())


def _synthetic_sample(seeds: Sequence[int], *, nuclei: Sequence[Nucleus]) -> list[Sample]:
    samples = []
    for seed in seeds:
        rng = np.random.default_rng(int(seed))
        image, labels = draw_image(rng, real_nuclei=nuclei)
        low, high = rng.uniform(0.2, 2.0), rng.uniform(99.3, 99.95)
        samples.append(_sample(normalise_percentiles(image, low=low, high=high), labels))
    return samples


def _sample(image: FloatImage, labels: NDArray[np.integer]) -> Sample:
    """Store a normalised image and its truth in little memory."""
    return Sample(
        image.astype(np.float16),
        distances(labels).astype(np.float16),
        labels.astype(np.uint16),
        median_diameter(labels),
    )


def _write(path: Path, samples: Sequence[Sample]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.savez(
            file,
            image=np.stack([sample.image for sample in samples]),
            distances=np.stack([sample.distances for sample in samples]),
            labels=np.stack([sample.labels for sample in samples]),
            diameter=np.array([sample.diameter for sample in samples]),
        )


def _read(path: Path) -> list[Sample]:
    with np.load(path) as archive:
        columns = [archive[name] for name in ("image", "distances", "labels")]
        diameters = archive["diameter"].tolist()
    return [Sample(*row) for row in zip(*columns, diameters, strict=True)]
