"""The embedded stack: broker, model server, worker, web and Flower in one command, without Docker.

stack.py        Stack: the whole of it, a context manager
parts.py        what each part is run with, and when it is ready
workers.py      the same of workers: the one of a plain stack, or those of an autoscaler
probes.py       the questions that tell whether a part is ready
supervisor.py   starts parts as soon as what they need is ready, watches and stops them
process.py      one part's process
autoscaler.py   as many workers as the queues want: crew.py has them, shares.py keeps them within
                bounds, remote.py tells and asks them over the broker
watchdog.py     ends everything when this process is killed; guard.py is its other side
home.py         the folder, its lock, and the `stack.env` by which others find the stack
flower.py       Flower, its password and its address
valkey.py       the broker's program and its configuration
web.py          the web service, its address and its links
sockets.py      loopback ports known before their listener has started
signals.py      Ctrl-C, SIGTERM and SIGHUP as an orderly stop
errors.py       what can go wrong
"""

from __future__ import annotations

from kiosk_tasks.stack.errors import (
    HomeBusy,
    MissingBroker,
    MissingFolder,
    OpenFlower,
    OpenWeb,
    PartDied,
    PartNotReady,
    PortTaken,
    StackError,
)
from kiosk_tasks.stack.home import running
from kiosk_tasks.stack.process import Part
from kiosk_tasks.stack.stack import Autoscale, Stack
from kiosk_tasks.stack.supervisor import State, Supervisor

__all__ = [
    "Autoscale",
    "HomeBusy",
    "MissingBroker",
    "MissingFolder",
    "OpenFlower",
    "OpenWeb",
    "Part",
    "PartDied",
    "PartNotReady",
    "PortTaken",
    "Stack",
    "StackError",
    "State",
    "Supervisor",
    "running",
]
