"""Read the Dockerfile: its stages, and what each does. Only what this one uses is understood."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Instruction", "Stage", "read_stages"]


@dataclass(frozen=True)
class Instruction:
    """One instruction: its word, its options (`--mount=…`), and the rest as words."""

    word: str
    options: tuple[str, ...]
    words: tuple[str, ...]


@dataclass
class Stage:
    """A stage: its name, what it goes on from, its instructions."""

    name: str
    base: str
    instructions: list[Instruction] = field(default_factory=list)

    def all(self, word: str) -> list[Instruction]:
        """Return its instructions of one kind."""
        return [one for one in self.instructions if one.word == word]

    @property
    def environment(self) -> dict[str, str]:
        """What its ENV instructions set."""
        pairs = [word.partition("=") for one in self.all("ENV") for word in one.words]
        return {name: value for name, _, value in pairs}

    @property
    def command(self) -> tuple[str, ...]:
        """Its CMD, the last one."""
        return self.all("CMD")[-1].words


def read_stages(file: Path) -> dict[str, Stage]:
    """Return the stages by name, in their order; raises ValueError for one without a name."""
    stages: dict[str, Stage] = {}
    stage: Stage | None = None
    for line in _lines(file.read_text(encoding="utf-8")):
        one = _instruction(line)
        if one.word == "FROM":
            base, *named = one.words
            if len(named) != 2:
                raise ValueError(f"{file.name}: FROM {base} has no name: write AS.")
            stage = stages[named[1]] = Stage(named[1], base)
        elif stage:
            stage.instructions.append(one)
    return stages


def _lines(text: str) -> list[str]:
    """Return the instructions, each on one line."""
    kept = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    return [line.strip() for line in re.sub(r"\\\n", " ", kept).splitlines() if line.strip()]


def _instruction(line: str) -> Instruction:
    word, _, rest = line.partition(" ")
    options = []
    while rest.lstrip().startswith("--"):
        option, _, rest = rest.lstrip().partition(" ")
        options.append(option)
    rest = rest.strip().removeprefix("CMD ") if word == "HEALTHCHECK" else rest.strip()
    words = json.loads(rest) if rest.startswith("[") else shlex.split(rest)
    return Instruction(word, tuple(options), tuple(words))
