"""Looks for mistakes that a cluster would pass over in silence: unknown fields, wrong PromQL.

The schemas are in `chart/schemas/`: they forbid every field that the chart does not use.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from tests.tools import tool

__all__ = ["KINDS", "faults", "promql_faults"]

_SCHEMAS = Path(__file__).parent / "chart" / "schemas"
KINDS = tuple(sorted(path.stem for path in _SCHEMAS.glob("*.json")))
"""The custom resources that there is a schema of."""


def faults(resource: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a custom resource, each with its place; empty if nothing is."""
    found = _validator(resource["kind"]).iter_errors(resource)
    return [f"{error.json_path}: {error.message}" for error in found]


def promql_faults(expressions: Iterable[str], folder: Path) -> str:
    """Return what promtool says against any of the expressions; empty if nothing."""
    rules = [{"record": "asked", "expr": expression} for expression in expressions]
    file = folder / "expressions.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))
    argv = [str(tool("promtool")), "check", "rules", "--lint=none", str(file)]
    said = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    return "" if said.returncode == 0 else said.stdout + said.stderr


@cache
def _validator(kind: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((_SCHEMAS / f"{kind}.json").read_text()))
