"""What lies beside a SavedModel is read back, and rubbish there does no harm."""

from __future__ import annotations

from pathlib import Path

import pytest

from kiosk_tasks.serving.card import CARD, ModelCard, read_card, write_card


def test_a_card_comes_back(tmp_path: Path) -> None:
    card = ModelCard(0.65, "nuclei.keras", "0" * 64)
    write_card(tmp_path, card)
    assert read_card(tmp_path) == card


@pytest.mark.parametrize("text", ["", "[]", "no JSON", '{"mpp": -1}', '{"mpp": "0.5"}', "\xff"])
def test_what_is_no_card_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / CARD).parent.mkdir()
    (tmp_path / CARD).write_text(text, "latin-1")
    assert read_card(tmp_path) == ModelCard()


def test_most_models_have_none(tmp_path: Path) -> None:
    assert read_card(tmp_path) == ModelCard()
