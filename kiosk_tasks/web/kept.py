"""What one running service keeps between requests, made when it is first asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from fastapi import Request

__all__ = ["kept"]

T = TypeVar("T")

_making = threading.RLock()  # making one thing may ask for another


def kept(request: Request, name: str, make: Callable[[], T]) -> T:
    """Return what the application keeps under that name; it is made once."""
    state = request.app.state
    with _making:
        if not hasattr(state, name):
            setattr(state, name, make())
    found: T = getattr(state, name)
    return found
