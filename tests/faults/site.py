"""One installation under test: where its parts are, and what it has left behind."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import redis

from kiosk_tasks.ports import Storage
from kiosk_tasks.storage import from_url
from tests.faults.valkey import Valkey
from tests.ports import free_port

__all__ = ["INPUT", "QUEUE", "ROOT", "Site", "install_plugin", "new_site", "startup"]

QUEUE = "predict"
INPUT = "uploads/input.bin"

_HERE = Path(__file__).parent
ROOT = _HERE.parents[1]
_PLUGIN_TYPES = ("fault", "fault_model", "file", "movie")
_HOURS_S = 6 * 3600.0
_TIMINGS = {
    "KIOSK_LEASE": "4",
    "KIOSK_REAP_EVERY": "1",
    "KIOSK_VISIBILITY_TIMEOUT": "6",
    "KIOSK_MODEL_WAIT": "10",
    "KIOSK_MAX_ATTEMPTS": "4",
}


@dataclass(frozen=True)
class Site:
    """Databases, folders and the environment of every process of an installation.

    database: number of the broker's database; the ledger's is the next one.
    """

    folder: Path
    valkey: Valkey
    database: int
    env: dict[str, str]

    @property
    def model_server_port(self) -> int:
        return int(self.env["KIOSK_MODEL_SERVER"].partition(":")[2])

    @cached_property
    def bucket(self) -> Storage:
        return from_url(self.env["KIOSK_BUCKET"])

    @property
    def plugin(self) -> Path:
        return self.folder / "plugin"

    @property
    def scratch(self) -> Path:
        return self.folder / "scratch"

    @property
    def runs(self) -> Path:
        """The file to which every run of a job adds a line when it starts and when it ends."""
        return self.folder / "runs.log"

    def process_env(self, **more: str) -> dict[str, str]:
        return {**os.environ, **self.env, **more}

    def broker(self) -> redis.Redis:
        return self.valkey.client(self.database)

    def proxied(self, port: int) -> dict[str, str]:
        """What to set for a process that reaches broker and ledger through a proxy."""
        return {
            "KIOSK_BROKER_URL": self.valkey.url(self.database, port=port),
            "KIOSK_LEDGER_URL": self.valkey.url(self.database + 1, port=port),
        }

    def count_runs(self) -> tuple[Counter[str], Counter[str]]:
        """Return how often each job was started, and how often it came to its end."""
        started: Counter[str] = Counter()
        ended: Counter[str] = Counter()
        lines = self.runs.read_text().splitlines() if self.runs.exists() else []
        for line in lines:
            word, job_id = line.split()[:2]
            (started if word == "start" else ended)[job_id] += 1
        return started, ended

    def messages(self) -> dict[str, int]:
        """Return what the broker holds: the length of each list of messages, and of `unacked`."""
        with self.broker() as client:
            found: dict[str, int] = {}
            for key in client.scan_iter(count=1000):
                if "pidbox" in key or "celeryev" in key:
                    continue  # remote control and events
                if "unacked" in key and client.type(key) == "hash":
                    found[key] = client.hlen(key)
                elif client.type(key) == "list":
                    found[key] = client.llen(key)
            return {key: count for key, count in found.items() if count}

    def leftovers(self) -> list[str]:
        """Return files of no use to anyone: artifacts, scratch files, half-written objects.

        Half-written objects cannot be seen in the bucket; they stay for hours, since a writer may
        be slow. Only those count that the bucket would not remove even then.
        """
        bucket = self.folder / "bucket"
        for part in _files(bucket, ".part"):
            with suppress(FileNotFoundError):
                os.utime(part, (0, 0))
        self.bucket.remove_partials(_HOURS_S)
        files = [*_files(self.folder / "workspace"), *_files(self.scratch)]
        files += _files(bucket, ".part")
        return sorted(path.relative_to(self.folder).as_posix() for path in files)

    def empty(self) -> None:
        """Forget all jobs, their messages and their files, but for the input."""
        for database in (self.database, self.database + 1):
            with self.valkey.client(database) as client:
                client.flushdb()
        for name in ("workspace", "scratch", "bucket/output"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        self.scratch.mkdir()


def _files(folder: Path, ending: str = "") -> list[Path]:
    """Return the files below a folder that others change meanwhile.

    `os.walk` passes over a folder that is gone when it gets there; `rglob` raises.
    """
    return [
        Path(place, name)
        for place, _, names in os.walk(folder)
        for name in names
        if name.endswith(ending)
    ]


def new_site(folder: Path, valkey: Valkey, *, database: int = 0, **env: str) -> Site:
    """Make an installation on two databases of a server, with an input in its bucket."""
    site = Site(
        folder,
        valkey,
        database,
        {
            "KIOSK_HOME": str(folder / "home"),
            "KIOSK_BROKER_URL": valkey.url(database),
            "KIOSK_LEDGER_URL": valkey.url(database + 1),
            "KIOSK_BUCKET": (folder / "bucket").as_uri(),
            "KIOSK_WORKSPACE": (folder / "workspace").as_uri(),
            "KIOSK_MODEL_SERVER": f"127.0.0.1:{free_port()}",
            "KIOSK_SCRATCH": str(folder / "scratch"),
            "TMPDIR": str(folder / "scratch"),
            "PYTHONPATH": os.pathsep.join([str(install_plugin(folder / "plugin")), str(ROOT)]),
            "FAULT_RUNS": str(folder / "runs.log"),
            **_TIMINGS,
            **env,
        },
    )
    site.scratch.mkdir(parents=True)
    site.bucket.put(INPUT, bytes(range(256)) * 16)
    return site


def install_plugin(folder: Path) -> Path:
    """Lay out the suite's job types as the site-packages of an installed plugin."""
    shutil.copytree(_HERE / "plugin", folder, ignore=shutil.ignore_patterns("__pycache__"))
    info = folder / "fault_jobs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fault-jobs\nVersion: 1.0\n")
    points = (f"{name} = {name}_job:job_type" for name in _PLUGIN_TYPES)
    (info / "entry_points.txt").write_text("\n".join(["[kiosk_tasks.job_types]", *points, ""]))
    return folder


def startup(site: Site, name: str, **env: str) -> dict[str, str]:
    """Return an environment whose processes run `startup/<name>/sitecustomize.py` first of all."""
    folder = _HERE / "startup" / name
    return {"PYTHONPATH": os.pathsep.join([str(folder), site.env["PYTHONPATH"]]), **env}
