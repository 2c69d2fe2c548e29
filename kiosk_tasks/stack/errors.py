"""What can go wrong with the embedded stack.

KioskError
└── StackError
    ├── MissingBroker   the broker's program is not installed
    ├── HomeBusy        another stack holds this home folder
    ├── OpenFlower      Flower would be open to the network without a password
    ├── PartDied        a part ended by itself; the message shows its last log lines
    └── PartNotReady    a part runs but does not answer in time; likewise
"""

from __future__ import annotations

from kiosk_tasks.errors import KioskError

__all__ = [
    "HomeBusy",
    "MissingBroker",
    "MissingFolder",
    "OpenFlower",
    "PartDied",
    "PartNotReady",
    "StackError",
]


class StackError(KioskError):
    """The embedded stack cannot start or cannot go on."""


class MissingBroker(StackError):
    """The broker's program is not installed on this machine."""


class MissingFolder(StackError):
    """A folder that models should be served from is not there."""


class HomeBusy(StackError):
    """Another stack holds this home folder."""


class OpenFlower(StackError):
    """Flower would be open to the network without a password."""


class PartDied(StackError):
    """A part of the stack ended by itself."""


class PartNotReady(StackError):
    """A part of the stack runs but does not become ready."""
