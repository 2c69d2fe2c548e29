"""Every error with its sentences, read from the places in the code that raise it."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path

from kiosk_tasks.errors import KioskError

__all__ = ["error", "error_classes", "is_said", "sentences"]

_PACKAGE = Path(__file__).parents[2] / "kiosk_tasks"
_GAP = "…"
_OWN_PAGE = {"client", "napari"}


@cache
def error_classes() -> dict[str, type[KioskError]]:
    """Return every class of the tree, by name; those of the client are told on its own page."""
    found: dict[str, type[KioskError]] = {"KioskError": KioskError}
    modules = {path: ast.parse(path.read_text("utf-8")) for path in _sources()}
    while more := {
        node.name: path
        for path, module in modules.items()
        for node in module.body
        if isinstance(node, ast.ClassDef) and node.name not in found
        if any(getattr(base, "id", "") in found for base in node.bases)
    }:
        for name, path in more.items():
            dotted = ".".join(path.relative_to(_PACKAGE.parent).with_suffix("").parts)
            found[name] = getattr(import_module(dotted), name)
    return dict(sorted(found.items()))


def _sources() -> list[Path]:
    return [path for path in sorted(_PACKAGE.rglob("*.py")) if not _OWN_PAGE & {*path.parts}]


@cache
def sentences() -> dict[str, list[str]]:
    """Return the sentences of each class, "…" where a name, a number or another error stands."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for path in _sources():
        module = ast.parse(path.read_text("utf-8"))
        named = _named_texts(module)
        for node in ast.walk(module):
            if isinstance(node, ast.Call) and node.args:
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                text = _text(node.args[0], named)
                if name in error_classes() and len(text.replace(_GAP, "").strip()) > 8:
                    found[name].add(re.sub(f"{_GAP}(?:{_GAP})+", _GAP, text))
    return {name: sorted(texts) for name, texts in found.items()}


def is_said(kind: str, sentence: str) -> bool:
    """Tell whether the code can say that sentence as an error of that class."""
    patterns = (re.escape(text).replace(_GAP, ".+") for text in sentences().get(kind, []))
    return any(re.fullmatch(pattern, sentence, re.DOTALL) for pattern in patterns)


def error(name: str) -> str:
    """Return what the code knows of an error: meaning, status, retries, all its sentences."""
    kind = error_classes().get(name)
    if kind is None:
        return "There is no such error any more."
    what = (kind.__doc__ or "").strip().splitlines()[0]
    again = "Tried again by itself." if kind.retry else "Not tried again by itself."
    parts = [f"*{what}* HTTP status {kind.http_status}. {again}"]
    if said := sentences().get(name):
        parts.append("All its sentences:")
        parts.append("\n".join(f"- {_plain(text)}" for text in said))
    return "\n\n".join(parts)


def _plain(text: str) -> str:
    """Return text that Markdown shows as it is."""
    return re.sub(r"([\\`*\[\]<>|])", r"\\\1", " ".join(text.split()))


def _named_texts(module: ast.Module) -> dict[str, str]:
    """Return the module's constants that are texts."""
    return {
        target.id: node.value.value
        for node in module.body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _text(node: ast.expr, named: Mapping[str, str]) -> str:
    match node:
        case ast.Constant(value=str(value)):
            return value
        case ast.Name(id=name):
            return named.get(name, _GAP)
        case ast.JoinedStr(values=values):
            return "".join(_text(value, named) for value in values)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _text(left, named) + _text(right, named)
        case ast.IfExp(body=body, orelse=orelse):
            return _text(body, named) or _text(orelse, named)
    return _GAP
