"""Train a network by steps: averaged weights, a log, and going on after an interrupt."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

__all__ = ["WEIGHTS", "Batch", "Schedule", "Trainer"]

Batch: TypeAlias = tuple[NDArray[np.float32], NDArray[np.float32]]  # images, truths

Batches = Callable[[int], Iterator[Batch]]
"""Draws the batches from a step on, the same for the same step."""

Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]  # truth, heads

WEIGHTS = "average.weights.h5"  # in the output folder, float32


class Schedule(Protocol):
    """How long and how fast, a dataclass; it counts steps, so that a busy machine changes nothing.

    averaging: decay per step of the averaged weights.
    """

    @property
    def steps(self) -> int: ...  # noqa: D102
    @property
    def learning_rate(self) -> float: ...  # noqa: D102
    @property
    def averaging(self) -> float: ...  # noqa: D102
    @property
    def weight_decay(self) -> float: ...  # noqa: D102

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        ...


class Trainer:
    """A network, its optimiser and the running average of its weights, kept in a folder."""

    def __init__(
        self, network: keras.Model, loss: Loss, schedule: Schedule, folder: Path, *, phase: str = ""
    ) -> None:
        """Start with the network's weights, or where the phase's last state was saved.

        phase: part of the names of its state and of its log.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.network, self.schedule, self.folder = network, schedule, folder
        self._log = folder / f"training_log{phase}.json"
        self._state = folder / f"state{phase}.npz"
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
        if self._state.exists():
            self._restore()

    def run(
        self, batches: Batches, *, notes: dict[str, Any], every: int = 200, stop: int | None = None
    ) -> Path:
        """Take all steps that are left; return the file of averaged weights.

        notes: kept in the log. every: steps between two saved states. stop: end after this step
        though the schedule goes on.
        """
        losses: list[float] = []
        started = time.monotonic() - 60 * self._minutes
        last = min(self.schedule.steps, stop or self.schedule.steps)
        steps = range(self._first, last)
        for step, (image, truth) in zip(steps, batches(self._first), strict=False):
            self._optimiser.learning_rate.assign(self.schedule.rate(step))
            # early on, average over the little there is
            decay = min(self.schedule.averaging, (1 + step) / (10 + step))
            losses.append(float(self._compiled(image, truth, tf.constant(decay, tf.float32))))
            if (step + 1) % every == 0 or step + 1 == last:
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
            "plan": {**asdict(self.schedule), **notes},  # type: ignore[call-overload]
            "parameters": self.network.count_params(),
            "versions": versions,
            "history": self._history,
        }
        self._log.write_text(json.dumps(log, indent=1) + "\n", encoding="ascii")
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
        staged.rename(self._state)

    def _restore(self) -> None:
        with np.load(self._state) as state:
            self._first, self._minutes = int(state["step"]), float(state["minutes"])
            count = len(self._averages)
            self.network.set_weights([state[f"weights_{i}"] for i in range(count)])
            for index, average in enumerate(self._averages):
                average.assign(state[f"averages_{index}"])
            for index, variable in enumerate(self._optimiser.variables):
                variable.assign(state[f"moments_{index}"])
        log = json.loads(self._log.read_text(encoding="ascii"))
        self._history = [entry for entry in log["history"] if entry["step"] <= self._first]
