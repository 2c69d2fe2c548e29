"""TensorFlow's message modules: those that `kiosk_tasks.serving.protos` loads, out of its wheel.

Which these are is read from the code, not run: the names that `protos.py` loads, and what they
import in turn.
"""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

__all__ = ["copy_messages", "needed_messages"]


def copy_messages(protos: Path, wheel: Path, lib: Path) -> list[Path]:
    """Copy the modules that are needed from an unpacked wheel into a library folder; return them.

    protos: the module that loads them. lib: has TensorFlow Serving's modules already.
    Raises FileNotFoundError if one is in neither.
    """
    copied = needed_messages(protos, [wheel, lib])
    for module in copied:
        target = lib / module
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(wheel / module, target)
    return copied


def needed_messages(protos: Path, places: list[Path]) -> list[Path]:
    """Return the modules below `tensorflow`, relative to the first place, in order of their names.

    places: folders of packages; the first is TensorFlow's.
    """
    seen: set[Path] = set()
    waiting = _loaded(protos)
    while waiting:
        module = _file(waiting.pop(), places)
        if module not in seen:
            seen.add(module)
            source = next(place / module for place in places if (place / module).is_file())
            waiting += _imported(source)
    return sorted(module for module in seen if module.parts[0] == "tensorflow")


def _loaded(protos: Path) -> list[str]:
    """Return the names in calls of `_load`."""
    calls = [node for node in ast.walk(ast.parse(protos.read_text())) if isinstance(node, ast.Call)]
    loads = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "_load"]
    return [str(a.value) for c in loads for a in c.args if isinstance(a, ast.Constant)]


def _imported(module: Path) -> list[str]:
    """Return the message modules that a generated module imports."""
    nodes = [n for n in ast.walk(ast.parse(module.read_text())) if isinstance(n, ast.ImportFrom)]
    ours = [n for n in nodes if (n.module or "").startswith(("tensorflow.", "tensorflow_serving."))]
    public = [str(node.module) for node in ours if node.names[0].name == "*"]
    return public + [f"{n.module}.{a.name}" for n in ours for a in n.names if a.name != "*"]


def _file(name: str, places: list[Path]) -> Path:
    module = Path(*name.split(".")).with_suffix(".py")
    if not any((place / module).is_file() for place in places):
        raise FileNotFoundError(f"{name} is in none of {', '.join(map(str, places))}.")
    return module
