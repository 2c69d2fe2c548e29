"""Runs the code blocks of a page in order, as its reader would, in one folder.

Blocks of kind `console` are commands after `$ `; the other lines must be printed by them, in that
order, where "…" stands for anything. Blocks of kind `python` share one interpreter per page.
`<!-- not run: reason -->` right before a block leaves it out.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import numpy as np
import tifffile

from tests.conftest import wait_for
from tests.processes import child

__all__ = ["Block", "Reader", "blocks", "commands", "put_samples", "reader_env", "shown", "unmet"]

RUN = ("console", "python")
_LIMIT_S = 120
_SAMPLES = Path(__file__).parents[1] / "samples"
_GAP = "…"
_BLOCK = re.compile(
    r"(?:^ *<!-- not run: (?P<reason>.+?) -->\n+)?^(?P<indent> *)```(?P<kind>\w*)[^\n]*\n"
    r"(?P<text>.*?)^(?P=indent)```$",
    re.DOTALL | re.MULTILINE,
)
_INTERPRETER = """
import json, sys, traceback
names = {"__name__": "__main__"}
for line in sys.stdin:
    try:
        exec(compile(json.loads(line), "page", "exec"), names)
        print("\\0done", flush=True)
    except BaseException:
        traceback.print_exc(file=sys.stdout)
        print("\\0failed", flush=True)
"""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page. reason: why it is not run; empty: it is."""

    kind: str
    text: str
    reason: str
    line: int


def blocks(page: str) -> list[Block]:
    """Return the blocks of a page that a reader would run, in order."""
    found = []
    for match in _BLOCK.finditer(page):
        if match["kind"] in RUN or match["reason"]:
            text = re.sub(f"^{match['indent']}", "", match["text"], flags=re.MULTILINE)
            line = page[: match.start("kind")].count("\n") + 1
            found.append(Block(match["kind"], text, match["reason"] or "", line))
    return found


def commands(text: str) -> list[str]:
    """Return the commands of a console block; one that ends in a backslash goes on."""
    joined = re.sub(r"\\\n(?:> )?", "\\\n", text)
    return re.findall(r"^\$ ((?:.*\\\n)*.*)$", joined, re.MULTILINE)


def shown(text: str) -> list[str]:
    """Return the lines that a console block shows as its output."""
    rest = re.sub(r"^\$ (?:.*\\\n)*.*$", "", text, flags=re.MULTILINE)
    return [line.strip() for line in rest.splitlines() if line.strip()]


def unmet(expected: Iterable[str], printed: str) -> list[str]:
    """Return the expected lines that were not printed, or not in that order."""
    text = "\n".join(" ".join(line.split()) for line in printed.splitlines())
    at = 0
    for line in expected:
        pattern = re.escape(" ".join(line.split())).replace(_GAP, ".*")
        found = re.compile(pattern).search(text, at)
        if found is None:
            return [line]
        at = found.end()
    return []


@dataclass
class Reader:
    """Somebody who follows a page.

    background: commands that go on running, each with what says that it is ready.
    there: commands that need not be run, since what they start is there.
    instead: what stands in the page, and what is meant here: addresses.
    said: what each block has printed.
    """

    folder: Path
    scratch: Path
    env: dict[str, str]
    there: frozenset[str] = frozenset({"kiosk up"})
    instead: Mapping[str, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    _stack: ExitStack = field(default_factory=ExitStack)
    _python: subprocess.Popen[str] | None = None

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None
    ) -> None:
        self._stack.close()

    def follow(self, page: str) -> int:
        """Run all blocks of a page; return how many were run."""
        for text, meant in self.instead.items():
            page = page.replace(text, meant)
        to_run = [block for block in blocks(page) if not block.reason]
        for block in to_run:
            printed = self._console(block) if block.kind == "console" else self._exec(block)
            self.said.append(printed)
            if block.kind == "console":
                missing = unmet(shown(block.text), printed)
                assert not missing, f"line {block.line}: {missing} is not in\n{printed}"
        return len(to_run)

    def _console(self, block: Block) -> str:
        script = []
        for command in commands(block.text):
            plain = command.partition(" #")[0].strip()
            if plain in self.there:
                continue
            if re.match(r"celery .* worker ", plain):
                self._worker(plain)
            else:
                script.append(command)
        return self._shell("\n".join(script), block) if script else ""

    def _shell(self, script: str, block: Block) -> str:
        state = self.scratch / "environment"
        before = f"set -ae\n[ -f {state} ] && . {state}\nset -x\n"
        after = f"\nset +x\nexport -p > {state}\n"
        done = subprocess.run(
            ["bash", "-c", f"{before}{script}{after}"],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )
        said = f"line {block.line}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == 0, said
        return done.stdout

    def _worker(self, command: str) -> None:
        ready, log = self.scratch / "ready", self.scratch / "worker.log"
        env = {**self.env, **self._exported(), "KIOSK_READY_FILE": str(ready)}
        argv = ["/bin/sh", "-c", f"exec {command}"]
        self._stack.enter_context(child(argv, log=log, env=env, cwd=self.folder))
        wait_for(ready.exists, limit_s=_LIMIT_S, what=f"a worker, see {log}")

    def _exec(self, block: Block) -> str:
        if self._python is None:
            self._python = self._interpreter()
        assert self._python.stdin is not None
        assert self._python.stdout is not None
        self._python.stdin.write(json.dumps(block.text) + "\n")
        self._python.stdin.flush()
        printed = []
        for line in self._python.stdout:
            if line.startswith("\0"):
                assert line == "\0done\n", f"line {block.line}\n{''.join(printed)}"
                return "".join(printed)
            printed.append(line)
        raise AssertionError(f"line {block.line}: Python ended\n{''.join(printed)}")

    def _interpreter(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-u", "-c", _INTERPRETER],
            cwd=self.folder,
            env={**self.env, **self._exported()},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._stack.enter_context(process)
        assert process.stdin is not None
        self._stack.callback(process.stdin.close)
        return process

    def _exported(self) -> Mapping[str, str]:
        """Return what the page's console blocks have set so far."""
        state = self.scratch / "environment"
        if not state.exists():
            return {}
        ask = f'. {state}; exec "$0" -c "import json, os; print(json.dumps(dict(os.environ)))"'
        told = subprocess.run(
            ["bash", "-c", ask, sys.executable],
            env=self.env,
            capture_output=True,
            text=True,
            check=True,
        )
        found: dict[str, str] = json.loads(told.stdout)
        return {name: value for name, value in found.items() if self.env.get(name) != value}


def put_samples(folder: Path) -> None:
    """Put the files that the pages speak of into a reader's folder."""
    samples = shutil.copytree(_SAMPLES, folder / "samples")
    image = samples / "nuclei_512.tif"
    (folder / "plate").mkdir()
    for name in ("nuclei.tif", "a.tif", "b.tif", "plate/a.tif", "plate/b.tif"):
        shutil.copy(image, folder / name)
    pixels = tifffile.imread(image)[:256]
    movie = np.stack([pixels[:, 2 * t : 2 * t + 256] for t in range(3)])
    tifffile.imwrite(
        folder / "movie.tif", movie, photometric="minisblack", metadata={"axes": "TYX"}
    )


def reader_env(env: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which `kiosk`, `celery` and `python` are those of this one."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', '')}"
    return {**env, "PATH": path, "PYTHONUNBUFFERED": "1"}
