"""Train the network: `python -m models.nuclear.train --real ARCHIVE --out FOLDER`."""

from __future__ import annotations

import argparse
import math
import multiprocessing
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import keras
import tensorflow as tf

from models.nuclear.dataset import Mixture, make_synthetic, real_samples
from models.nuclear.network import build_network, heads_loss
from models.nuclear.real import RealImage, load_real, read_ids
from models.training import WEIGHTS, Batch, Trainer

__all__ = ["PHASES", "Plan", "train"]

REPORT_EVERY = 250  # steps; the averaged weights are saved as often
THREADS = 2


@dataclass(frozen=True)
class Plan:
    """What is trained, and for how long; the schedule counts steps, so load does not change it."""

    steps: int = 6000
    crop: int = 160  # side, px
    batch: int = 8
    synthetic_images: int = 2200
    real_share: float = 0.5  # of crops
    learning_rate: float = 2e-3
    warm_up: int = 150  # steps
    first_step: int = 0  # of the sequence of random crops
    averaging: float = 0.998  # decay per step of the averaged weights
    weight_decay: float = 1e-4
    seed: int = 20261122

    def rate(self, step: int) -> float:
        """Learning rate: a linear rise, then a cosine to 1 % (Loshchilov and Hutter 2017)."""
        rise = min(1.0, (step + 1) / self.warm_up)
        fall = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / self.steps))
        return self.learning_rate * rise * fall


#: from random weights; then a shorter cosine from the averaged ones (a warm restart, ibid.)
PHASES = (
    Plan(),
    Plan(steps=1400, learning_rate=6e-4, real_share=0.6, first_step=Plan.steps),
)


def train(images: Sequence[RealImage], out: Path, *, phases: Sequence[Plan] = PHASES) -> Path:
    """Train from scratch; return the file of averaged weights.

    images: real training images only; the caller has taken the validation images out.
    out: receives weights, logs, and the cache of synthetic samples.
    """
    out.mkdir(parents=True, exist_ok=True)
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    weights = out / WEIGHTS
    for phase, plan in enumerate(phases):
        keras.utils.set_random_seed(plan.seed)
        cache = out / f"synthetic-{plan.synthetic_images}-{plan.seed}.npz"
        synthetic = make_synthetic(cache, images, count=plan.synthetic_images, seed=plan.seed)
        mixture = Mixture(
            real_samples(images), synthetic, plan.real_share, plan.crop, plan.batch, plan.seed
        )
        network = build_network()
        if phase:
            network.load_weights(weights)
        trainer = Trainer(network, heads_loss, plan, out, phase=f"_{phase}")
        trainer.run(partial(_ahead, mixture, plan), notes={}, every=REPORT_EVERY)
    return weights


def _ahead(mixture: Mixture, plan: Plan, first: int, *, depth: int = 6) -> Iterator[Batch]:
    """Draw batches from a step on in another process, a few ahead of their use, in order."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, initializer=_keep, initargs=(mixture,)) as pool:
        waiting: deque[Future[Batch]] = deque()
        for step in range(plan.first_step + first, plan.first_step + plan.steps + depth):
            if len(waiting) == depth:
                yield waiting.popleft().result()
            waiting.append(pool.submit(_draw, step))


def _keep(mixture: Mixture) -> None:
    """Give the drawing process its mixture once, not with every batch."""
    globals()["_mixture"] = mixture


def _draw(step: int) -> Batch:
    mixture: Mixture = globals()["_mixture"]
    return mixture(step)


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--real", type=Path, required=True, help="archive of real images, see README"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for weights, log and cache")
    parser.add_argument(
        "--without", default="", help="leave out acquisitions that start so, comma list"
    )
    options = parser.parse_args()
    validation = read_ids()
    left_out = tuple(filter(None, options.without.split(",")))
    images = [
        image
        for image in load_real(options.real)
        if image.identity not in validation
        and not (left_out and image.acquisition.startswith(left_out))
    ]
    train(images, options.out)


if __name__ == "__main__":
    main()
