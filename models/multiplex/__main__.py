"""Make the model from nothing to scores: `python -m models.multiplex --out FOLDER`.

FOLDER receives the fields, the weights, the log, `scores.json`, and the SavedModel as `1`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from models.multiplex.evaluate import evaluate
from models.multiplex.export import export
from models.multiplex.train import train


def main() -> None:
    """Simulate, train, export, score on fresh fields."""
    parser = argparse.ArgumentParser(prog="python -m models.multiplex", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for all results")
    options = parser.parse_args()
    weights = train(options.out)
    export(weights, options.out / "1")
    evaluate(options.out / "1", out=options.out / "scores.json")


if __name__ == "__main__":
    main()
