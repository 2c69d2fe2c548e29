"""What can go wrong with the embedded stack.

KioskError
└── StackError
    ├── MissingBroker   the broker's program is not installed
    ├── HomeBusy        another stack holds this home folder
    ├── MissingFolder   a folder of models is not there
    ├── OpenFlower      Flower would be open to the network without a password
    ├── OpenWeb         the web service would be, without tokens
    ├── PortTaken       another program listens where the web service should
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
    "OpenWeb",
    "PartDied",
    "PartNotReady",
    "PortTaken",
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


class OpenWeb(StackError):
    """The web service would be open to the network without tokens."""


class PortTaken(StackError):
    """Another program listens on the port that was asked for."""


class PartDied(StackError):
    """A part of the stack ended by itself."""


class PartNotReady(StackError):
    """A part of the stack runs but does not become ready."""
