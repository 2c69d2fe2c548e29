"""An image's file tree without Docker: `python -m images.tree [IMAGE [FOLDER]]`.

What the Dockerfile's builder stages copy and run is copied and run here, into a folder. A bare
virtual environment beside it takes the place of the base image's Python. Then the tree is measured,
and the worker is started from it; see `images.measure`. Without arguments: all three images.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from images.dockerfile import Instruction, Stage, read_stages
from images.plan import IMAGES, ROOT

__all__ = ["Tree", "build_tree", "main"]

IN_IMAGE = "/opt/kiosk"
WRITABLE = "/run/kiosk"
TOOLS = ("python", "-m", "pip", "install", "--no-cache-dir", "--require-hashes")
"""How the step begins that is left out here: the developer's environment has the tools."""


@dataclass(frozen=True)
class Tree:
    """A built tree.

    folder: what is /opt/kiosk in the image. python: a folder with a bare Python's `bin`.
    stages: of the Dockerfile.
    """

    image: str
    folder: Path
    python: Path
    stages: dict[str, Stage]

    @property
    def size_bytes(self) -> int:
        """Bytes in all of its files."""
        return sum(file.lstat().st_size for file in self.folder.rglob("*") if not file.is_dir())

    def environment(self, home: Path) -> dict[str, str]:
        """Return the environment of a program in the image, whole. home: what is /run/kiosk."""
        values: dict[str, str] = {}
        for stage in ("runtime", self.image):
            values |= self.stages[stage].environment
        values["PATH"] = values["PATH"].replace("/usr/local/bin", str(self.python / "bin"))
        return {name: self._here(value, home) for name, value in values.items()}

    def command(self, home: Path) -> list[str]:
        """Return what a container of the image runs."""
        return [self._here(word, home) for word in self.stages[self.image].command]

    def health_check(self, home: Path) -> list[str]:
        """Return the program by which Docker asks for its health."""
        words = self.stages[self.image].all("HEALTHCHECK")[-1].words
        return [self._here(word, home) for word in words]

    def _here(self, text: str, home: Path) -> str:
        return text.replace(IN_IMAGE, str(self.folder)).replace(WRITABLE, str(home))


def build_tree(image: str, place: Path) -> Tree:
    """Build an image's tree in a folder; raises CalledProcessError if a step fails."""
    stages = read_stages(ROOT / "Dockerfile")
    tree = Tree(image, place / "kiosk", place / "python", stages)
    tree.folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=place) as source:
        for instruction in _steps(stages, f"{image}-files"):
            if instruction.word == "COPY":
                _copy(instruction, Path(source))
            elif instruction.words[: len(TOOLS)] != TOOLS:
                _run(instruction, Path(source), tree.folder)
    venv.create(tree.python, symlinks=True)
    return tree


def _steps(stages: dict[str, Stage], name: str) -> list[Instruction]:
    """Return what is copied and run up to a stage, from the first on."""
    steps: list[Instruction] = []
    while name in stages:
        own = [one for one in stages[name].instructions if one.word in ("COPY", "RUN")]
        steps = own + steps
        name = stages[name].base
    return steps


def _copy(instruction: Instruction, source: Path) -> None:
    """Copy from the checkout as COPY does, without what `.dockerignore` keeps back."""
    *names, target = instruction.words
    for name in names:
        end = source / target / Path(name).name if target.endswith("/") else source / target
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, end, ignore=_kept_back, dirs_exist_ok=True)
        else:
            end.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, end)


def _kept_back(_: str, names: list[str]) -> set[str]:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line.removeprefix("**/") for line in lines if line.startswith("**/")]
    return {name for name in names if any(fnmatch(name, pattern) for pattern in patterns)}


def _run(instruction: Instruction, source: Path, folder: Path) -> None:
    """Run a program as RUN does, with this Python."""
    program, *rest = instruction.words
    if program != "python":
        raise ValueError(f"a builder stage of the Dockerfile runs {program!r}, and not python.")
    argv = [sys.executable, *(word.replace(IN_IMAGE, str(folder)) for word in rest)]
    subprocess.run(argv, cwd=source, check=True, env={**os.environ, "PYTHONPATH": ""})


def main() -> int:
    """Build the trees, print their figures; the exit status is 1 if a goal is missed."""
    from images.measure import report

    names = sys.argv[1:2] or list(IMAGES)
    with tempfile.TemporaryDirectory(prefix="kiosk-images-") as scratch:
        place = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(scratch)
        trees = [build_tree(name, place / name) for name in names]
        return report(trees)


if __name__ == "__main__":
    sys.exit(main())
