"""The tutorial, done as its reader does it: every command in order, one file written by hand."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from kiosk_tasks.imaging import io
from tests.acceptance.conftest import SAMPLES, Shell
from tests.conftest import wait_for
from tests.processes import child

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/tutorials/custom-job.md"
_LIMIT_S = 120


@dataclass
class Reader:
    """Somebody in an empty folder, with a Python environment that is thrown away afterwards.

    env: of all commands. background: ends what goes on running.
    """

    folder: Path
    site: Path
    env: dict[str, str]
    background: ExitStack
    written: list[Path] = field(default_factory=list)

    @property
    def python(self) -> str:
        return str(self.site / "bin" / "python")

    def write(self, path: Path, text: str) -> None:
        """Write a file by hand."""
        path.write_text(text, "utf-8")
        self.written.append(path)

    def type(self, line: str) -> str:
        """Run a command line of the page to its end; return what it prints."""
        return self._run(["sh", "-c", line])

    def ask(self, program: str) -> str:
        """Run a Python program in the reader's environment."""
        return self._run([self.python, "-c", program])

    def start_worker(self, line: str) -> None:
        """Run a command line of the page that goes on, until it consumes."""
        log, ready = self.site.parent / "worker.log", self.site.parent / "ready"
        env = {**self.env, "KIOSK_READY_FILE": str(ready)}
        argv = ["/bin/sh", "-c", f"exec {line}"]
        self.background.enter_context(child(argv, log=log, env=env, cwd=self.folder))
        wait_for(ready.exists, limit_s=_LIMIT_S, what=f"a worker, see {log}")

    def _run(self, argv: list[str]) -> str:
        done = subprocess.run(
            argv,
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )
        assert done.returncode == 0, f"{argv}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture
def reader(tmp_path: Path, shell: Shell) -> Iterator[Reader]:
    """A reader whose `pip` and `kiosk` are those of an environment of their own.

    It sees all packages that are installed here; what it installs is seen by nobody else.
    """
    site, folder = tmp_path / "venv", tmp_path / "work"
    folder.mkdir()
    venv.create(site, with_pip=False, symlinks=True)
    here = next(p for p in sys.path if p.endswith("site-packages"))
    (packages,) = site.glob("lib/*/site-packages")
    (packages / "all_of_ours.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    quiet = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "UV_OFFLINE": "1"}
    path = f"{site / 'bin'}{os.pathsep}{os.environ['PATH']}"
    modules = {"kiosk": "kiosk_tasks", "celery": "celery", "pytest": "pytest"}
    for name, module in modules.items():
        _script(site / "bin" / name, f'"{site}/bin/python" -m {module} "$@"')
    _script(site / "bin" / "pip", _pip(site))
    with ExitStack() as background:
        env = {**shell.env, **quiet, "PATH": path, "VIRTUAL_ENV": str(site)}
        yield Reader(folder, site, env, background)


def _script(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\nexec {line}\n")
    path.chmod(0o755)


def _pip(site: Path) -> str:
    """Return what installs from a folder without a network: uv, as everywhere in this project."""
    uv = shutil.which("uv") or str(ROOT / ".tools" / "bin" / "uv")
    if not Path(uv).exists():
        message = "uv is not there, so nothing can be installed"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    return f'"{uv}" pip "$@" --python "{site}/bin/python" --no-deps --no-build-isolation'


def blocks(kind: str) -> list[str]:
    """Return the page's code blocks of one kind."""
    return re.findall(rf"```{kind}\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


def commands() -> list[list[str]]:
    """Return the command lines of each console block."""
    return [re.findall(r"^\$ (.*)$", block, re.MULTILINE) for block in blocks("console")]


def hand_written(folder: Path, generated: dict[Path, str]) -> list[Path]:
    """Return the files of the package that are not as `kiosk new-job` made them."""
    return [p for p, text in generated.items() if p.read_text("utf-8") != text] + [
        p for p in folder.rglob("*.py") if p not in generated
    ]


def test_the_tutorial_as_it_is_written(reader: Reader, up: Shell) -> None:
    make, install, laptop, worker = commands()
    job_file, scaling = blocks("python")
    shutil.copy(SAMPLES / "nuclei_512.tif", reader.folder / "nuclei.tif")
    with zipfile.ZipFile(reader.folder / "plate.zip", "w") as plate:
        for name in ("nuclei.tif", "again.tif"):
            plate.write(SAMPLES / "nuclei_512.tif", name)

    for line in make:
        reader.type(line)
    package = reader.folder / "bright"
    generated = {path: path.read_text("utf-8") for path in package.iterdir()}
    reader.write(package / "bright_job.py", job_file)
    help_text = [reader.type(line) for line in install][-1]
    assert "--times" in help_text
    check_what_follows_from_it(reader)

    *start, doctor, run = worker
    join_stack(reader, up, start, scaling)
    told = subprocess.run(
        shlex.split(doctor), env=reader.env, capture_output=True, text=True, check=False
    )
    assert "queue bright is consumed by 1 worker(s)" in told.stdout
    for line in laptop:
        reader.type(line)
    check_results(reader.folder / "results", times=1.5)
    reader.type(run)
    (counts,) = (reader.folder / "from-the-worker").rglob("nuclei_counts.csv")
    check_results(counts.parent, times=1.2)
    assert (counts.parent / "again_counts.csv").read_text() == counts.read_text()

    assert hand_written(package, generated) == reader.written == [package / "bright_job.py"]
    assert len(reader.written) == 1


def check_what_follows_from_it(reader: Reader) -> None:
    """Task, queue, route, schema, and the table of the pages, by the installed package alone."""
    told = reader.ask(
        "import json, sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "import celeryconfig\n"
        "from kiosk_tasks import app, bright\n"
        "from tests.unit.test_docs import job_types_table\n"
        "queues = [q.name for q in celeryconfig.task_queues]\n"
        "route = app.amqp.router.route({}, bright.name)\n"
        "from bright_job import BrightParams\n"
        "schema = BrightParams.model_json_schema()\n"
        "print(json.dumps([bright.name, queues, route['queue'].name, job_types_table(), schema]))"
    )
    name, queues, routed, table, schema = json.loads(told.splitlines()[-1])
    assert schema["properties"]["times"]["default"] == 1.5
    assert (name, routed) == ("bright", "bright")
    assert "bright" in queues
    assert "## bright: Bright nuclei" in table
    assert "| `times` | number above 0 | `1.5` |" in table


def join_stack(reader: Reader, up: Shell, start: list[str], scaling: str) -> None:
    """Use the session's stack, which knows nothing of the job, and start the worker that does.

    TensorFlow starts once so: that `kiosk run` can start a stack of its own is seen in test_run.py.
    """
    start_stack, start_worker = start
    assert start_stack == "kiosk up"
    reader.env["KIOSK_HOME"] = str(up.home)
    assert "0 wait, 0 run: 0 s of work\n0 worker(s) wanted" in reader.ask(scaling)
    reader.start_worker(start_worker)


def check_results(folder: Path, *, times: float) -> None:
    """Count again, from the pixels and the label image, what the job says it counted."""
    labels = io.read(folder / "nuclei_labels.ome.tif", name="labels").data
    pixels = io.read(SAMPLES / "nuclei_512.tif", name="pixels").data
    (row,) = csv.DictReader((folder / "nuclei_counts.csv").read_text().splitlines())
    record = json.loads((folder / "nuclei_job.json").read_text())
    assert 0 < int(row["bright"]) < int(row["nuclei"])
    assert int(row["bright"]) == labels.max() == record["bright"]
    assert int(row["nuclei"]) == record["cells"]
    means = ndimage.mean(pixels, labels, np.arange(1, labels.max() + 1))
    assert min(means) > float(row["level"])
    assert record["parameters"]["times"] == times
    assert record["model"] == {"name": "NuclearSegmentation", "version": 1}
    assert (folder / "nuclei_overlay.png").stat().st_size > 1000
