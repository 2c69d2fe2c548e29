"""Train the network: `python -m models.multiplex.train --out FOLDER`; goes on where it stopped."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import keras
import tensorflow as tf

from models.multiplex.dataset import Crops, make_fields
from models.multiplex.network import build_network, heads_loss
from models.training import Schedule, Trainer

__all__ = ["Data", "train"]


@dataclass(frozen=True)
class Data:
    """What is trained on."""

    fields: int = 900
    side: int = 128  # of a crop, px
    batch: int = 8
    seed: int = 20261123  # of the first field, of the crops and of the first weights


SCHEDULE = Schedule(steps=6000, cool_down=1500)


def train(
    out: Path, *, data: Data = Data(), schedule: Schedule = SCHEDULE, threads: int = 1
) -> Path:
    """Train, from random weights or from where the folder's state was saved.

    out: receives fields, state, log and weights; returns the file of averaged weights.
    """
    fields = make_fields(out, count=data.fields, seed=data.seed)
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    keras.utils.set_random_seed(data.seed)
    crops = Crops.of(fields, side=data.side, batch=data.batch, seed=data.seed)
    trainer = Trainer(build_network(), heads_loss, schedule, out)
    return trainer.run(crops, notes=asdict(data))


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for fields, log, weights")
    parser.add_argument("--steps", type=int, default=SCHEDULE.steps)
    options = parser.parse_args()
    train(options.out, schedule=replace(SCHEDULE, steps=options.steps))


if __name__ == "__main__":
    main()
