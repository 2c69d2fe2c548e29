"""What is known of a deployed version beside its signature: pixel size and origin.

It lies in `assets.extra/kiosk.json` of the version's folder: TensorFlow sets `assets.extra` aside
for what others want to keep with a SavedModel, and servers pass over it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["CARD", "ModelCard", "parse_card", "read_card", "write_card"]

CARD = "assets.extra/kiosk.json"


@dataclass(frozen=True)
class ModelCard:
    """One version's card.

    mpp: pixel size it was trained at, µm per pixel; None where nobody said.
    source: name of what it was exported from. sha256: of that file; of `saved_model.pb` where it
        was a folder.
    """

    mpp: float | None = None
    source: str = ""
    sha256: str = ""


def read_card(folder: Path) -> ModelCard:
    """Return the card in a version's folder; an empty one where there is none that can be read."""
    try:
        return parse_card((folder / CARD).read_bytes())
    except OSError:
        return ModelCard()


def parse_card(text: bytes) -> ModelCard:
    """Return the card that these bytes hold; an empty one if they hold none."""
    try:
        fields = json.loads(text)
    except ValueError:
        return ModelCard()
    if not isinstance(fields, dict):
        return ModelCard()
    mpp, source, sha256 = (fields.get(name) for name in ("mpp", "source", "sha256"))
    return ModelCard(
        mpp=float(mpp) if isinstance(mpp, int | float) and mpp > 0 else None,
        source=source if isinstance(source, str) else "",
        sha256=sha256 if isinstance(sha256, str) else "",
    )


def write_card(folder: Path, card: ModelCard) -> None:
    """Write the card into a version's folder."""
    path = folder / CARD
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(asdict(card), indent=2) + "\n", "utf-8")
