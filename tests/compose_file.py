"""The Compose file as the real docker-compose reads it, and what must hold of it."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from kiosk_tasks.settings import Settings
from tests.tools import tool

__all__ = ["COMPOSE", "ROOT", "RULES", "Services", "config", "problems", "resolved"]

ROOT = Path(__file__).parents[1]
COMPOSE = ROOT / "docker-compose.yml"
Services = dict[str, Any]


def config(
    *files: Path, profiles: tuple[str, ...] = (), env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `docker-compose config`; no `.env` of the developer's own counts."""
    chosen = [word for profile in profiles for word in ("--profile", profile)]
    named = [word for file in files or (COMPOSE,) for word in ("-f", str(file))]
    quiet = [*chosen, *named, "--env-file", os.devnull]
    return subprocess.run(
        [str(tool("docker-compose")), *quiet, "config"],
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **(env or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def resolved(
    *files: Path, profiles: tuple[str, ...] = ("*",), env: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the whole of it, variables, anchors and `extends` resolved; nothing may be said."""
    done = config(*files, profiles=profiles, env=env)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    read: dict[str, Any] = yaml.safe_load(done.stdout)
    return read


def problems(read: Mapping[str, Any], *, queues: set[str], secrets: set[str]) -> list[str]:
    """Return what does not hold, each as a sentence.

    queues: that job types need. secrets: files that `kiosk deploy secrets` makes.
    """
    found = [text for rule in RULES for text in rule(read)]
    served = [queue for service in read["services"].values() for queue in consumed(service)]
    found += [f"nobody serves the queue {queue}" for queue in sorted(queues - {*served})]
    found += [f"{queue} is served twice" for queue in {*served} if served.count(queue) > 1]
    found += [f"{queue} is no queue" for queue in {*served} - queues]
    files = {name: Path(one["file"]).name for name, one in read.get("secrets", {}).items()}
    return found + [f"nothing makes {file}" for file in files.values() if file not in secrets]


def consumed(service: Mapping[str, Any]) -> list[str]:
    """Return the queues that a service's command consumes."""
    words = service.get("command") or []
    return words[words.index("-Q") + 1].split(",") if "-Q" in words else []


def _waits_for_what_tells(read: Mapping[str, Any]) -> Iterator[str]:
    for name, service in read["services"].items():
        for other, wait in service.get("depends_on", {}).items():
            there = read["services"].get(other, {})
            if wait["condition"] == "service_healthy" and "healthcheck" not in there:
                yield f"{name} waits for {other} to be healthy, which has no health check"
            ends = there.get("restart") == "no"
            if (wait["condition"] == "service_completed_successfully") != ends:
                yield f"{name} waits for {other} in the wrong way"


def _images_are_pinned(read: Mapping[str, Any]) -> Iterator[str]:
    for name, service in read["services"].items():
        tag = service["image"].rpartition("/")[2].partition(":")[2]
        if not re.search(r"\d+\.\d+\.\d+|\d{4}-\d\d-\d\d", tag):
            yield f"{name}: the image {service['image']} is not pinned"


def _settings_are_known(read: Mapping[str, Any]) -> Iterator[str]:
    choices = [field.validation_alias for field in Settings.model_fields.values()]
    known = {str(name) for one in choices for name in getattr(one, "choices", ())}
    for name, service in read["services"].items():
        for variable, value in service.get("environment", {}).items():
            plain = variable.removesuffix("_FILE")
            if variable.startswith("KIOSK_") and not {variable, plain} & known:
                yield f"{name}: {variable} is no setting"
            from_file = variable not in known and plain != variable
            if from_file and value and value not in mounted(service):
                yield f"{name}: {variable} names {value}, which is not mounted"
            if not from_file and re.search("SECRET|TOKEN|PASSWORD|_AUTH$", variable):
                yield f"{name}: {variable} is a secret in the environment"


def mounted(service: Mapping[str, Any]) -> set[str]:
    """Return the paths at which a service finds its secrets."""
    return {f"/run/secrets/{Path(one['target']).name}" for one in service.get("secrets", [])}


def _files_are_there(read: Mapping[str, Any]) -> Iterator[str]:
    for name, one in read.get("configs", {}).items():
        if "content" in one:  # docker refuses to write it into a read-only container
            yield f"the config {name} is not a file"
        elif not Path(one["file"]).is_file():
            yield f"the config {name} is {one['file']}, which is not there"
    for name, service in read["services"].items():
        for volume in service.get("volumes", []):
            if volume["type"] == "bind" and not Path(volume["source"]).is_dir():
                yield f"{name}: {volume['source']} is not there"
        used = [one["source"] for one in service.get("configs", [])]
        yield from (f"{name}: no config {one}" for one in used if one not in read["configs"])


def _containers_are_confined(read: Mapping[str, Any]) -> Iterator[str]:
    wanted = {
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "read_only": True,
    }
    for name, service in read["services"].items():
        for key, value in wanted.items():
            if service.get(key) != value:
                yield f"{name}: {key} is not {value}"
        limits = {"mem_limit", "cpus", "pids_limit", "restart", "logging"}
        yield from (f"{name}: no {key}" for key in sorted(limits - service.keys()))


def _places_to_write_are_the_users(read: Mapping[str, Any]) -> Iterator[str]:
    """Docker gives a tmpfs the rights of the folder that it covers, and root as its owner."""
    (user,) = set(re.findall(r"^USER (\d+):\d+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    for name, service in read["services"].items():
        for mount in service.get("tmpfs", []) if "build" in service else ():
            folder, _, options = mount.partition(":")
            if folder != "/tmp" and f"uid={user}" not in options.split(","):  # noqa: S108  # 1777
                yield f"{name}: {folder} belongs to root, who it is not"


def _few_doors(read: Mapping[str, Any]) -> Iterator[str]:
    if not read["networks"]["inside"].get("internal"):
        yield "the network inside is open"
    for name, service in read["services"].items():
        ports = service.get("ports", [])
        if set(service["networks"]) != ({"inside", "outside"} if ports else {"inside"}):
            yield f"{name} is in the networks {sorted(service['networks'])}"
        yield from (
            f"{name}: port {port['target']} is open to the network"
            for port in ports
            if port.get("host_ip") != "127.0.0.1"
        )
    for name in ("broker", "model-server"):
        if read["services"][name].get("ports"):
            yield f"{name} has a port"


def _one_largest_batch(read: Mapping[str, Any]) -> Iterator[str]:
    told = {
        name: service["environment"]["KIOSK_MAX_BATCH"]
        for name, service in read["services"].items()
        if "KIOSK_MAX_BATCH" in service.get("environment", {})
    }
    if len(set(told.values())) != 1 or "model-server" not in told:
        yield f"the largest batch differs: {told}"


RULES: tuple[Callable[[Mapping[str, Any]], Iterator[str]], ...] = (
    _waits_for_what_tells,
    _images_are_pinned,
    _settings_are_known,
    _files_are_there,
    _containers_are_confined,
    _places_to_write_are_the_users,
    _few_doors,
    _one_largest_batch,
)
