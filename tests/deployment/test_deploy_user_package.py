"""A user's package with one new job type: one file by hand, and it is everywhere it has to be."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tifffile
import yaml

from kiosk_tasks.broker_users import COMPONENTS
from kiosk_tasks.client import Client
from kiosk_tasks.deploy import deployed_queues
from kiosk_tasks.jobs import task_types
from tests.browser import chromium, opened
from tests.compose_file import COMPOSE, ROOT, problems, resolved
from tests.conftest import wait_for
from tests.kiosk_up import Kiosk
from tests.processes import child
from tests.tools import tool

_LIMIT_S = 180
JOB = '''
"""Counts stripes: the one file that is written by hand."""

import numpy as np
from kiosk_tasks.imaging.labels import LabelImage
from kiosk_tasks.imaging.values import Segmentation
from kiosk_tasks.job import ImageParams, JobType
from kiosk_tasks.stages import download, upload
from pydantic import Field
from scipy import ndimage


class StripesParams(ImageParams):
    """What may be chosen."""

    above: float = Field(0.5, ge=0, le=1, description="Share of the brightest pixel.")


def postprocess(image, ctx):
    """Number what is bright."""
    plane = image.channel(0).to("YX")
    labels, count = ndimage.label(plane.data > ctx.params.above * plane.data.max())
    ctx.report.note(cells=count)
    return Segmentation(LabelImage(labels.astype(np.int32), plane.mpp), plane)


job_type = JobType(
    name="stripes",
    title="Stripes, counted",
    queue="stripes",
    params=StripesParams,
    stages=(download, postprocess, upload),
    seconds=600,
)
'''


@dataclass(frozen=True)
class Laboratory:
    """A folder with the package, and processes that have it installed.

    generated: what `kiosk new-job` wrote. site: what the image's Dockerfile would install.
    """

    folder: Path
    generated: dict[Path, str]
    site: Path
    env: dict[str, str]

    def kiosk(self, *arguments: object) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "kiosk_tasks", *map(str, arguments)],
            env=self.env,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def laboratory(kiosk: Kiosk, tmp_path_factory: pytest.TempPathFactory) -> Laboratory:
    """The package made, edited and installed, beside a stack that knows nothing of it."""
    folder = tmp_path_factory.mktemp("laboratory")
    site, package = folder / "site", folder / "stripes"
    env = {**kiosk.env, "PYTHONPATH": os.pathsep.join((str(site), str(ROOT)))}
    lab = Laboratory(folder, {}, site, env)
    lab.kiosk("new-job", "stripes", "--no-model", "--folder", folder)
    lab.generated.update({path: path.read_text("utf-8") for path in package.iterdir()})
    (package / "stripes_job.py").write_text(JOB, "utf-8")
    install(package, site)
    return lab


def install(package: Path, site: Path) -> None:
    """Do what `compose/job-types.Dockerfile` does, without a network."""
    (line,) = re.findall(r"^RUN pip (install .*)$", DOCKERFILE.read_text("utf-8"), re.MULTILINE)
    words = line.replace("/job-types", str(site)).replace("/package", str(package)).split()
    words.remove("--no-cache-dir")
    uv = shutil.which("uv") or str(ROOT / ".tools/bin/uv")
    if not Path(uv).exists():
        message = "uv is not there, so nothing can be installed"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    offline = ["--offline", "--no-build-isolation", "--python", sys.executable]
    subprocess.run([uv, "pip", *words, *offline], check=True, capture_output=True)


DOCKERFILE = ROOT / "compose/job-types.Dockerfile"


def test_one_file_was_written_by_hand(laboratory: Laboratory) -> None:
    package = laboratory.folder / "stripes"
    changed = [
        path for path, text in laboratory.generated.items() if path.read_text("utf-8") != text
    ]
    ours = {path for path in package.rglob("*") if path.is_file() and "egg-info" not in str(path)}
    made_by_installing = {path for path in ours if "build" in path.relative_to(package).parts}
    assert changed == [package / "stripes_job.py"]
    assert ours - made_by_installing == set(laboratory.generated)


def test_the_chart_gets_its_workers_and_its_scaler(laboratory: Laboratory) -> None:
    mine = laboratory.folder / "mine.yaml"
    laboratory.kiosk("deploy", "values", "--write", mine)
    values = yaml.safe_load(mine.read_text("utf-8"))["queues"]
    assert values["stripes"] == {"jobTypes": ["stripes", "stripes-zip"], "timeLimitSeconds": 14400}
    objects, plain = rendered(mine), rendered()
    assert plain.keys() <= objects.keys(), "nothing is lost"
    added = objects.keys() - plain.keys()
    assert {("Deployment", "k-worker-stripes"), ("ScaledObject", "k-worker-stripes")} <= added
    deployment = objects["Deployment", "k-worker-stripes"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    command = [*container.get("command", []), *container.get("args", [])]
    assert "stripes" in " ".join(map(str, command))
    scaler = objects["ScaledObject", "k-worker-stripes"]
    assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert "stripes" in json.dumps(scaler["spec"]["triggers"])


def rendered(*values: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Return what helm makes of the chart, by kind and name."""
    more = [word for file in values for word in ("-f", str(file))]
    done = subprocess.run(
        [str(tool("helm")), "template", "k", str(ROOT / "helm/kiosk-tasks"), *more],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    made = [one for one in yaml.safe_load_all(done.stdout) if one]
    return {(one["kind"], one["metadata"]["name"]): one for one in made}


@pytest.fixture(scope="module")
def composed(laboratory: Laboratory) -> dict[str, Any]:
    mine = laboratory.folder / "mine.yml"
    laboratory.kiosk("deploy", "compose", "--beside", COMPOSE, "--write", mine)
    images = {"WORKER_IMAGE": "lab/worker:0.1.0", "WEB_IMAGE": "lab/web:0.1.0"}
    return resolved(COMPOSE, mine, env=images)


def test_compose_gets_its_workers(laboratory: Laboratory, composed: dict[str, Any]) -> None:
    laboratory.kiosk("deploy", "secrets", laboratory.folder / "secrets")
    secrets = {file.name for file in (laboratory.folder / "secrets").iterdir()}
    queues = {queue.name for queue in deployed_queues(task_types(), {})}
    assert "stripes" not in queues, "this process knows nothing of it"
    assert problems(composed, queues={*queues, "stripes"}, secrets=secrets) == []
    assert composed["services"]["worker-stripes"]["image"] == "lab/worker:0.1.0"
    assert composed["services"]["web"]["image"] == "lab/web:0.1.0"
    (bridge,) = re.findall("^user kiosk-bridge .*$", acl(laboratory), re.MULTILINE)
    assert "~stripes" in bridge, "an old frontend may ask for it"
    assert len(COMPONENTS) == len(re.findall("^user kiosk-", acl(laboratory), re.MULTILINE))


def acl(laboratory: Laboratory) -> str:
    return (laboratory.folder / "secrets/users.acl").read_text("utf-8")


@pytest.fixture(scope="module")
def page(laboratory: Laboratory, composed: dict[str, Any]) -> Iterator[str]:
    """A web service and a worker that have the package; the command is that of Compose."""
    ready, env = laboratory.folder / "ready", laboratory.env
    command = composed["services"]["worker-stripes"]["command"]
    assert command[:3] == ["celery", "-A", "kiosk_tasks"]
    worker = [sys.executable, "-m", *command]
    web_log, worker_log = (laboratory.folder / f"{name}.log" for name in ("web", "worker"))
    web = [sys.executable, "-m", "kiosk_tasks", "web", "--port", "0"]
    ready_env = {**env, "KIOSK_READY_FILE": str(ready)}
    with (
        child(worker, log=worker_log, env=ready_env, cwd=laboratory.folder),
        child(web, log=web_log, env=env, cwd=laboratory.folder),
    ):

        def url() -> str:
            found = re.search(r"serving url=(\S+)", web_log.read_text())
            return found[1] if found else ""

        yield wait_for(url, limit_s=_LIMIT_S, what=f"a web service, see {web_log}")


def test_the_page_and_the_interface_show_it(page: str) -> None:
    (told,) = (
        one
        for one in httpx.get(f"{page}/job-types").json()["job_types"]
        if one["name"] == "stripes"
    )
    assert told["title"] == "Stripes, counted"
    with chromium() as browser, opened(browser, page) as shown:
        card = shown.locator('.card:has(input[value="stripes"])')
        assert "Stripes, counted" in card.inner_text()
        card.click()
        shown.wait_for_selector('[name="above"]', state="attached")


def test_its_worker_runs_a_job(page: str, tmp_path: Path) -> None:
    pixels = np.zeros((96, 128), np.uint16)
    for row in (8, 32, 56, 80):
        pixels[row : row + 8] = 900
    tifffile.imwrite(tmp_path / "stripes.tif", pixels)
    with Client(page) as client:
        job = client.submit("stripes", tmp_path / "stripes.tif", above=0.4).wait(timeout=_LIMIT_S)
        assert job.result().labels.max() == 4
