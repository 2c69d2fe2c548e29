"""Train the network: `python -m models.multiplex.train --out FOLDER`; goes on where it stopped."""

from __future__ import annotations

import argparse
import math
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path

import keras
import tensorflow as tf

from models.multiplex.dataset import Crops, make_fields
from models.multiplex.network import build_network, heads_loss
from models.training import Trainer

__all__ = ["Data", "Schedule", "train"]


@dataclass(frozen=True)
class Data:
    """What is trained on."""

    fields: int = 900
    side: int = 128  # of a crop, px
    batch: int = 8
    seed: int = 20261123  # of the first field, of the crops and of the first weights


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: a linear rise, a plateau, half a cosine down.

    The plateau's length may be chosen while it lasts: more steps only append to it.
    """

    steps: int
    learning_rate: float = 2e-3
    warm_up: int = 150  # steps
    cool_down: int = 1000  # last steps, in which the rate falls to 1 %
    averaging: float = 0.998  # decay per step of the averaged weights
    weight_decay: float = 1e-4

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        rise = min(1.0, (step + 1) / self.warm_up)
        fallen = max(0, step - (self.steps - self.cool_down)) / self.cool_down
        return self.learning_rate * rise * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * fallen)))


THREADS = 1
SCHEDULE = Schedule(steps=6000, cool_down=1500)


def train(
    out: Path, *, data: Data = Data(), schedule: Schedule = SCHEDULE, stop: int | None = None
) -> Path:
    """Train, from random weights or from where the folder's state was saved.

    out: receives fields, state, log and weights; returns the file of averaged weights.
    stop: end after this step though the schedule goes on.
    """
    fields = make_fields(out, count=data.fields, seed=data.seed)
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    keras.utils.set_random_seed(data.seed)
    crops = Crops.of(fields, side=data.side, batch=data.batch, seed=data.seed)
    trainer = Trainer(build_network(), heads_loss, schedule, out)
    return trainer.run(lambda first: map(crops, count(first)), notes=asdict(data), stop=stop)


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for fields, log, weights")
    parser.add_argument("--steps", type=int, default=SCHEDULE.steps)
    parser.add_argument("--stop", type=int, help="end after this step, the rate still high")
    options = parser.parse_args()
    train(options.out, schedule=replace(SCHEDULE, steps=options.steps), stop=options.stop)


if __name__ == "__main__":
    main()
