"""The tree in the docstring is the tree in the code."""

from __future__ import annotations

import pickle
import re

import pytest

from kiosk_tasks import errors
from kiosk_tasks.errors import KioskError

ALL = [getattr(errors, name) for name in errors.__all__]


def drawn() -> dict[str, tuple[str, int | None]]:
    """Parent and status of each class, as the docstring draws them."""
    found: dict[str, tuple[str, int | None]] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^    (?P<branch>[│├└─ ]*)(?P<name>[A-Z]\w+)\s*(?P<status>\d{3})?", line)
        if match:
            depth = len(match["branch"]) // 4
            path[depth:] = [match["name"]]
            status = int(match["status"]) if match["status"] else None
            found[match["name"]] = (path[depth - 1] if depth else "Exception", status)
    return found


def test_every_class_is_drawn_under_its_parent_and_the_reverse() -> None:
    actual = {kind.__name__: kind.__mro__[1].__name__ for kind in ALL}
    assert {name: parent for name, (parent, _) in drawn().items()} == actual
    defined = {
        name for name, kind in vars(errors).items() if isinstance(kind, type) and kind in ALL
    }
    assert defined == set(errors.__all__)


def test_drawn_statuses_are_the_real_ones() -> None:
    for name, (_, status) in drawn().items():
        if status is not None:
            assert getattr(errors, name).http_status == status


@pytest.mark.parametrize("kind", ALL)
def test_only_what_may_pass_is_tried_again(kind: type[KioskError]) -> None:
    assert kind.retry is issubclass(kind, errors.TransientError)
    assert (kind.http_status == 503) is (kind.retry and kind is not errors.StorageFull)
    assert kind.__doc__


@pytest.mark.parametrize("kind", ALL)
def test_errors_cross_processes(kind: type[KioskError]) -> None:
    again = pickle.loads(pickle.dumps(kind("a sentence.")))  # noqa: S301
    assert (type(again), str(again)) == (kind, "a sentence.")
