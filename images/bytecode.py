"""Compile what an image's programs import, so that none of them compiles or writes anything.

`python -S -P images/bytecode.py LIB` with PYTHONPATH=LIB. Of the libraries, a third is ever
imported; bytecode of the rest would be 45 MB. What is imported follows from our own modules: all
of them are imported, and all that they import in functions. A module that is missed works, too: it
is compiled at each start.
"""

from __future__ import annotations

import ast
import compileall
import importlib
import importlib.util
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

BY_NAME = (
    "celery.__main__",
    "celery.apps.worker",
    "celery.backends.redis",
    "celery.bin.celery",
    "celery.concurrency.prefork",
    "celery.concurrency.solo",
    "celery.concurrency.thread",
    "celery.events.state",
    "celery.fixups.django",
    "celery.loaders.app",
    "celery.worker.autoscale",
    "celery.worker.components",
    "celery.worker.consumer",
    "celery.worker.control",
    "celery.worker.worker",
    "celeryconfig",
    "kombu.transport.redis",
    "tensorflow",
)
"""What is imported by name: Celery's parts, and TensorFlow by the model server."""
UNCHECKED = 0b01
"""Flag of bytecode that is taken as it is: nothing in an image changes, not even by a copy."""


def main(lib: Path) -> None:
    """Import our package, and what it imports of others; Python keeps the bytecode."""
    sys.dont_write_bytecode = False  # whatever the environment says
    compileall.compile_dir(lib / "kiosk_tasks", quiet=1)  # of other images, too
    with tempfile.TemporaryDirectory() as home, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.environ["KIOSK_HOME"] = home
        by_name = [(name, "") for name in BY_NAME]
        for name, attribute in sorted({*_ours(lib), *_theirs(lib), *by_name}):
            _import(name, attribute)
    for bytecode in lib.rglob("*.pyc"):
        _take_as_it_is(bytecode)


def _take_as_it_is(bytecode: Path) -> None:
    """Replace the source's time in the head of a file of bytecode by its hash (PEP 552)."""
    source = Path(importlib.util.source_from_cache(str(bytecode))).read_bytes()
    content = bytecode.read_bytes()
    flags = UNCHECKED.to_bytes(4, "little")
    bytecode.write_bytes(content[:4] + flags + importlib.util.source_hash(source) + content[16:])


def _ours(lib: Path) -> Iterator[tuple[str, str]]:
    for file in (lib / "kiosk_tasks").rglob("*.py"):
        parts = file.relative_to(lib).with_suffix("").parts
        if "__main__" not in parts:
            yield ".".join(part for part in parts if part != "__init__"), ""


def _theirs(lib: Path) -> Iterator[tuple[str, str]]:
    """Yield what our modules import, wherever in them: module and attribute."""
    for file in (lib / "kiosk_tasks").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((alias.name, "") for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield from ((node.module, alias.name) for alias in node.names)


def _import(name: str, attribute: str) -> None:
    """Import a module, and what some packages import only then, if this image has it."""
    with suppress(ImportError):  # another image's
        getattr(importlib.import_module(name), attribute, None)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
