"""Records as text: what `json.dumps` would write, sooner."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kiosk_tasks.outputs.record_text import record_text

_WORDS = st.text(st.characters(exclude_categories=["Cs"]))
_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | _WORDS
_VALUES = st.recursive(
    _LEAVES, lambda inner: st.lists(inner) | st.dictionaries(_WORDS, inner), max_leaves=20
)


@given(st.dictionaries(_WORDS, _VALUES))
def test_a_record_is_written_as_json_dumps_writes_it(value: dict[str, Any]) -> None:
    assert record_text(value) == json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
