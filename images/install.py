"""Fill an image's folder: `python -m images.install libraries|package IMAGE FOLDER`.

The builder stages of the Dockerfile run it, and so does `images.tree`. `libraries` first: Docker
keeps its result as long as the requirements stay. Afterwards the folder has

    lib/    what PYTHONPATH names: the libraries, our package, bytecode of what is imported
    bin/    the programs
    share/  bill of materials (CycloneDX), licences
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from images.leave_out import leave_out
from images.licences import write_licences
from images.materials import write_materials
from images.messages import copy_messages
from images.plan import IMAGES, ROOT, Image

__all__ = ["install_libraries", "install_package", "main", "uv_install"]

SOURCES = ("pyproject.toml", "README.md", "LICENSE", "celeryconfig.py", "kiosk_tasks")
PROTOS = ROOT / "kiosk_tasks" / "serving" / "protos.py"
PROGRAM = """#!/usr/bin/env python3
import sys

from {module} import {function}

sys.exit({function}())
"""


def main(arguments: list[str] | None = None) -> None:
    """Run one of the two steps."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("step", choices=["libraries", "package"])
    parser.add_argument("image", choices=list(IMAGES))
    parser.add_argument("folder", type=Path)
    given = parser.parse_args(arguments)
    step = install_libraries if given.step == "libraries" else install_package
    step(IMAGES[given.image], given.folder.resolve())


def install_libraries(image: Image, folder: Path) -> None:
    """Install what is pinned, then remove what is not needed of it."""
    lib = folder / "lib"
    _pinned(image.requirements, lib)
    if image.messages_only:
        with tempfile.TemporaryDirectory(dir=folder) as wheel:
            _pinned(ROOT / "requirements" / "protos.txt", Path(wheel))
            copy_messages(PROTOS, Path(wheel), lib)
    leave_out(lib, image.unused)


def install_package(image: Image, folder: Path) -> None:
    """Install this project, the programs, bytecode, the bill of materials and the licences."""
    lib = folder / "lib"
    with tempfile.TemporaryDirectory() as copy:  # setuptools writes beside what it builds
        for name in SOURCES:
            _copy(ROOT / name, Path(copy) / name)
        uv_install(lib, "--no-build-isolation", copy)
    leave_out(lib, image.unused)
    for name, module, function in image.programs:
        program = folder / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(PROGRAM.format(module=module, function=function), encoding="utf-8")
        program.chmod(0o755)
    compile_it = [sys.executable, "-S", "-P", str(ROOT / "images" / "bytecode.py"), str(lib)]
    subprocess.run(compile_it, check=True, env={**os.environ, "PYTHONPATH": str(lib)})
    share = folder / "share"
    share.mkdir(exist_ok=True)
    write_materials(image.name, lib, share / "materials.cdx.json")
    write_licences(lib, share / "licences.txt")


def _pinned(requirements: Path, lib: Path) -> None:
    """Install what is pinned, by its hashes, and only wheels: nothing is compiled."""
    only = ("--require-hashes", "--only-binary", ":all:")
    uv_install(lib, *only, "--requirement", str(requirements))


def uv_install(lib: Path, *what: str) -> None:
    """Install into a folder of packages, without asking what else a package would like."""
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    command = [uv, "pip", "install", "--quiet", "--no-config", "--no-deps"]
    subprocess.run([*command, "--python", sys.executable, "--target", str(lib), *what], check=True)
    (lib / ".lock").unlink(missing_ok=True)  # uv's, which anyone may write to


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy2(source, target)


if __name__ == "__main__":
    main()
