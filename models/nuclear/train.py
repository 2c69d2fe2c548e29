"""Train the network: `python -m models.nuclear.train --real ARCHIVE --out FOLDER`."""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

import keras
import numpy as np
import tensorflow as tf

from models.nuclear.dataset import Mixture, make_synthetic, real_samples
from models.nuclear.fields import FloatImage
from models.nuclear.network import build_network, heads_loss
from models.nuclear.real import RealImage, load_real, read_ids

__all__ = ["PHASES", "Plan", "train"]

WEIGHTS = "average.weights.h5"  # in the output folder, float32
LOG = "training_log_{phase}.json"
REPORT_EVERY = 250  # steps; the averaged weights are saved as often
THREADS = 2

Batch: TypeAlias = tuple[FloatImage, FloatImage]  # images, truths


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
        trainer = _Trainer(plan, start=weights if phase else None)
        trainer.run(mixture, weights, log=_Log(out / LOG.format(phase=phase), plan))
    return weights


class _Log:
    """Losses and times, kept in a JSON file."""

    def __init__(self, path: Path, plan: Plan) -> None:
        self.path = path
        self.plan = plan
        self.losses: list[float] = []
        self.history: list[dict[str, float]] = []
        self.started = time.monotonic()

    def report(self, step: int) -> None:
        """Write the mean of the losses since the last report, and the minutes taken so far.

        CPU minutes count a child process when it has ended: the last report counts all.
        """
        cpu_s = sum(os.times()[:4])
        entry = {
            "step": step,
            "loss": round(float(np.mean(self.losses)), 4),
            "minutes": round((time.monotonic() - self.started) / 60, 1),
            "cpu_minutes": round(cpu_s / 60, 1),
        }
        self.losses.clear()
        self.history.append(entry)
        versions = {module.__name__: module.__version__ for module in (tf, keras, np)}
        log = {"plan": asdict(self.plan), "versions": versions, "history": self.history}
        self.path.write_text(json.dumps(log, indent=1) + "\n", encoding="ascii")
        print(entry, flush=True)


class _Trainer:
    """The network, its optimiser, and the running average of its weights."""

    def __init__(self, plan: Plan, *, start: Path | None) -> None:
        self.plan = plan
        self.network = build_network()
        if start:
            self.network.load_weights(start)
        self.optimiser = keras.optimizers.AdamW(
            plan.learning_rate, weight_decay=plan.weight_decay, clipnorm=1.0
        )
        self.averages = [tf.Variable(weight, trainable=False) for weight in self.network.weights]
        self._compiled = tf.function(self._step)

    def run(self, mixture: Mixture, weights: Path, *, log: _Log) -> None:
        """Take all steps of the plan, saving the averaged weights now and then."""
        for step, (image, truth) in enumerate(_ahead(mixture, self.plan)):
            self.optimiser.learning_rate.assign(self.plan.rate(step))
            # early on, average over the little there is
            decay = min(self.plan.averaging, (1 + step) / (10 + step))
            log.losses.append(float(self._compiled(image, truth, tf.constant(decay, tf.float32))))
            if (step + 1) % REPORT_EVERY == 0 and step + 1 < self.plan.steps:
                self._save(weights)
                log.report(step + 1)
        self._save(weights)
        log.report(self.plan.steps)

    def _save(self, path: Path) -> None:
        """Save the averaged weights."""
        current = self.network.get_weights()
        self.network.set_weights([average.numpy() for average in self.averages])
        self.network.save_weights(path)
        self.network.set_weights(current)

    def _step(self, image: tf.Tensor, truth: tf.Tensor, decay: tf.Tensor) -> tf.Tensor:
        trainable = self.network.trainable_variables
        with tf.GradientTape() as tape:
            loss = heads_loss(truth, self.network(image, training=True))
        self.optimiser.apply_gradients(zip(tape.gradient(loss, trainable), trainable, strict=True))
        for average, weight in zip(self.averages, self.network.weights, strict=True):
            average.assign(decay * average + (1 - decay) * tf.convert_to_tensor(weight))
        return loss


def _ahead(mixture: Mixture, plan: Plan, *, depth: int = 6) -> Iterator[Batch]:
    """Draw batches in another process, a few ahead of their use, in order."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, initializer=_keep, initargs=(mixture,)) as pool:
        waiting: deque[Future[Batch]] = deque()
        for step in range(plan.first_step, plan.first_step + plan.steps + depth):
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
