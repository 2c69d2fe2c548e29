"""Make the model from data to scores: `python -m models.nuclear --real ARCHIVE --out FOLDER`.

FOLDER receives the cache, the weights, the log, `scores.json`, and the SavedModel as `1`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from models.nuclear.evaluate import evaluate
from models.nuclear.export import export
from models.nuclear.real import load_real, read_ids
from models.nuclear.train import train


def main() -> None:
    """Train on all but the validation images, export, score on the validation images."""
    parser = argparse.ArgumentParser(prog="python -m models.nuclear", description=__doc__)
    parser.add_argument("--real", type=Path, required=True, help="archive of real images")
    parser.add_argument("--out", type=Path, required=True, help="folder for all results")
    options = parser.parse_args()
    validation = read_ids()
    images = [image for image in load_real(options.real) if image.identity not in validation]
    weights = train(images, options.out)
    export(weights, options.out / "1")
    evaluate(options.real, options.out / "1", zooms=True, scores=options.out / "scores.json")


if __name__ == "__main__":
    main()
