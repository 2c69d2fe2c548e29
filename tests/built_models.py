"""Models that tests build: TensorFlow runs in a process of its own, and what it makes is kept.

A module `tests.<name>` writes its models when it is run: `python -m tests.<name> FOLDER [MODEL …]`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

__all__ = ["Models", "build", "built", "save_models"]

Models = Mapping[str, Mapping[int, tuple[Callable[..., dict[str, Any]], Sequence[Any]]]]
"""By name and version: a function of tensors, and the `tf.TensorSpec` of each of its inputs."""

_HERE = Path(__file__).parent
_TIME_LIMIT_S = 180


def build(name: str, folder: Path, *models: str) -> Path:
    """Have `tests.<name>` write its models, or those that are named; return the folder."""
    command = [sys.executable, "-m", f"tests.{name}", str(folder), *models]
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        command,
        cwd=_HERE.parent,
        env=env,
        capture_output=True,
        text=True,
        timeout=_TIME_LIMIT_S,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return folder


def built(name: str, kept: Path) -> Path:
    """Return the folder of the models of `tests.<name>`; `kept` holds what earlier runs made.

    Without TensorFlow the test is skipped, and fails in CI.
    """
    if find_spec("tensorflow") is None:
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing("no TensorFlow; install the extra `local`.")
    made_by = [(_HERE / f"{name}.py").read_text(), Path(__file__).read_text()]
    made_with = [version(package) for package in packages_distributions()["tensorflow"]]
    recipe = hashlib.sha256("\n".join([*made_by, *made_with]).encode())
    folder = kept / f"{name}-{recipe.hexdigest()[:16]}"
    if not folder.is_dir():
        staged = build(name, kept / uuid4().hex)
        try:
            staged.rename(folder)
        except OSError:  # another run was faster
            shutil.rmtree(staged)
    return folder


def save_models(models: Models, folder: Path, names: Sequence[str] = ()) -> None:
    """Write SavedModels to `folder/<name>/<version>`; all of them, or those that are named."""
    import tensorflow as tf  # only in the process that builds

    for name in names or models:
        for number, (function, specs) in models[name].items():
            module = tf.Module()
            module.function = tf.function(function, input_signature=specs)
            concrete = module.function.get_concrete_function()
            tf.saved_model.save(module, str(folder / name / str(number)), signatures=concrete)
