"""Train a network by steps: schedule, averaged weights, a log, and going on after an interrupt."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

__all__ = ["Schedule", "Trainer"]

Draw = Callable[[int], tuple[NDArray[np.float32], NDArray[np.float32]]]
"""Draws images and truths for a step, the same for the same step."""

Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]

WEIGHTS = "average.weights.h5"  # in the output folder, float32
LOG = "training_log.json"
STATE = "state.npz"


@dataclass(frozen=True)
class Schedule:
    """How long and how fast; it counts steps, so that a busy machine changes nothing."""

    steps: int
    learning_rate: float = 2e-3
    warm_up: int = 150  # steps
    cool_down: int = 1000  # last steps, in which the rate falls to 1 %
    averaging: float = 0.998  # decay per step of the averaged weights
    weight_decay: float = 1e-4

    def rate(self, step: int) -> float:
        """Learning rate: a linear rise, a plateau, half a cosine down.

        The plateau's length may be chosen while it lasts: more steps only append to it.
        """
        rise = min(1.0, (step + 1) / self.warm_up)
        fallen = max(0, step - (self.steps - self.cool_down)) / self.cool_down
        return self.learning_rate * rise * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * fallen)))


class Trainer:
    """A network, its optimiser and the running average of its weights, kept in a folder."""

    def __init__(self, network: keras.Model, loss: Loss, schedule: Schedule, folder: Path) -> None:
        """Start anew, or where the folder's last state was saved."""
        folder.mkdir(parents=True, exist_ok=True)
        self.network, self.schedule, self.folder = network, schedule, folder
        self._loss = loss
        self._optimiser = keras.optimizers.AdamW(
            schedule.learning_rate, weight_decay=schedule.weight_decay, clipnorm=1.0
        )
        self._optimiser.build(network.trainable_variables)
        self._averages = [tf.Variable(weight, trainable=False) for weight in network.weights]
        self._compiled = tf.function(self._step)
        self._first = 0
        self._history: list[dict[str, float]] = []
        self._minutes = 0.0
        if (folder / STATE).exists():
            self._restore()

    def run(self, draw: Draw, *, notes: dict[str, Any], every: int = 200) -> Path:
        """Take all steps that are left; return the file of averaged weights.

        notes: kept in the log. every: steps between two saved states.
        """
        losses: list[float] = []
        started = time.monotonic() - 60 * self._minutes
        for step in range(self._first, self.schedule.steps):
            self._optimiser.learning_rate.assign(self.schedule.rate(step))
            # early on, average over the little there is
            decay = min(self.schedule.averaging, (1 + step) / (10 + step))
            image, truth = draw(step)
            losses.append(float(self._compiled(image, truth, tf.constant(decay, tf.float32))))
            if (step + 1) % every == 0 or step + 1 == self.schedule.steps:
                self._minutes = (time.monotonic() - started) / 60
                self._report(step + 1, losses, notes)
                self._save(step + 1)
                losses = []
        return self.folder / WEIGHTS

    def _step(self, image: tf.Tensor, truth: tf.Tensor, decay: tf.Tensor) -> tf.Tensor:
        trainable = self.network.trainable_variables
        with tf.GradientTape() as tape:
            loss = self._loss(truth, self.network(image, training=True))
        gradients = tape.gradient(loss, trainable)
        self._optimiser.apply_gradients(zip(gradients, trainable, strict=True))
        for average, weight in zip(self._averages, self.network.weights, strict=True):
            average.assign(decay * average + (1 - decay) * tf.convert_to_tensor(weight))
        return loss

    def _report(self, step: int, losses: list[float], notes: dict[str, Any]) -> None:
        entry = {
            "step": step,
            "loss": round(float(np.mean(losses)), 4),
            "minutes": round(self._minutes, 1),
            "cpu_minutes_of_this_run": round(sum(os.times()[:4]) / 60, 1),
        }
        self._history.append(entry)
        versions = {module.__name__: module.__version__ for module in (tf, keras, np)}
        log = {
            "plan": {**asdict(self.schedule), **notes},
            "parameters": self.network.count_params(),
            "versions": versions,
            "history": self._history,
        }
        (self.folder / LOG).write_text(json.dumps(log, indent=1) + "\n", encoding="ascii")
        print(entry, flush=True)

    def _save(self, step: int) -> None:
        """Write averaged weights for use, and all that going on needs, each at one stroke."""
        current = self.network.get_weights()
        averages = [average.numpy() for average in self._averages]
        staged = self.folder / "staged.weights.h5"
        self.network.set_weights(averages)
        self.network.save_weights(staged)
        self.network.set_weights(current)
        staged.rename(self.folder / WEIGHTS)
        moments = [variable.numpy() for variable in self._optimiser.variables]
        groups = {"weights": current, "averages": averages, "moments": moments}
        named = {f"{k}_{i}": a for k, group in groups.items() for i, a in enumerate(group)}
        staged = self.folder / "staged.npz"
        np.savez(staged, step=step, minutes=self._minutes, **named)
        staged.rename(self.folder / STATE)

    def _restore(self) -> None:
        with np.load(self.folder / STATE) as state:
            self._first, self._minutes = int(state["step"]), float(state["minutes"])
            count = len(self._averages)
            self.network.set_weights([state[f"weights_{i}"] for i in range(count)])
            for index, average in enumerate(self._averages):
                average.assign(state[f"averages_{index}"])
            for index, variable in enumerate(self._optimiser.variables):
                variable.assign(state[f"moments_{index}"])
        log = json.loads((self.folder / LOG).read_text(encoding="ascii"))
        self._history = [entry for entry in log["history"] if entry["step"] <= self._first]
