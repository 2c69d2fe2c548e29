"""Records as text: what `json.dumps` would write, sooner."""

from __future__ import annotations

import json
from collections import OrderedDict
from types import MappingProxyType
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from kiosk_tasks.job import Status
from kiosk_tasks.outputs.record_text import record_text

_WORDS = st.text(st.characters(exclude_categories=["Cs"]))
_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | _WORDS
_VALUES = st.recursive(
    _LEAVES, lambda inner: st.lists(inner) | st.dictionaries(_WORDS, inner), max_leaves=20
)


@given(st.dictionaries(_WORDS, _VALUES))
def test_a_record_is_written_as_json_dumps_writes_it(value: dict[str, Any]) -> None:
    assert record_text(value) == json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)


def test_other_kinds_of_mappings_and_lists_are_written_as_these() -> None:
    value = {
        "a": MappingProxyType({"b": Pair(1, [Status.DONE, OrderedDict()])}),
        "c": OrderedDict(d=()),
    }
    same = {"a": {"b": [1, ["done", {}]]}, "c": {"d": []}}
    assert record_text(value) == json.dumps(same, indent=2)


class Pair(NamedTuple):
    one: int
    other: list[Any]
