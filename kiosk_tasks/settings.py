"""Every setting, read once from the environment: `KIOSK_*`, and the old Kiosk's names as aliases.

Order of precedence: environment, then the `stack.env` that a running embedded stack leaves in
`KIOSK_HOME`, then the default. Only `wiring`, `celeryconfig` and the command line read this class.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["PROTOCOL", "STACK_ENV", "Settings", "default_home"]

PROTOCOL = 1
"""Raised when workers of the release before could not run the messages of this one."""

STACK_ENV = "stack.env"
"""Name of the file in KIOSK_HOME by which a running embedded stack tells where its parts are."""


def default_home() -> Path:
    """Return `KIOSK_HOME`, else the folder for user data of this system."""
    if os.environ.get("KIOSK_HOME"):
        return Path(os.environ["KIOSK_HOME"]).expanduser().resolve()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "kiosk-tasks"
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "kiosk-tasks"


def _address(old_prefix: str, *, port: int) -> str:
    """Return host:port by the old Kiosk's variables, such as REDIS_HOST and REDIS_PORT.

    Kubernetes sets a variable of that name to `tcp://address:port`; the port is what is wanted.
    """
    host = os.environ.get(f"{old_prefix}_HOST") or "127.0.0.1"
    given = os.environ.get(f"{old_prefix}_PORT") or str(port)
    return f"{host}:{given.rpartition(':')[2]}"


def _names(ours: str, *old: str) -> AliasChoices:
    return AliasChoices(f"KIOSK_{ours}", *old)


class Settings(BaseSettings):
    """Settings of one process; frozen."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    home: Path = Field(
        default_factory=default_home,
        validation_alias=_names("HOME"),
        description="Folder for the embedded stack's state.",
    )
    broker_url: str = Field(
        default_factory=lambda: f"redis://{_address('REDIS', port=6379)}/0",
        validation_alias=_names("BROKER_URL"),
        description="Redis or Valkey that holds the queues, the results and the ledger.",
    )
    ledger_url: str = Field(
        "",
        validation_alias=_names("LEDGER_URL"),
        description="Redis or Valkey that holds the job records; default: the broker's.",
    )
    key_prefix: str = Field(
        "kiosk:",
        validation_alias=_names("KEY_PREFIX"),
        description="What every Redis key starts with.",
    )
    bucket: str = Field(
        "",
        validation_alias=_names("BUCKET", "STORAGE_BUCKET"),
        description="Where inputs and outputs lie: file:///… or memory://…; default <home>/bucket.",
    )
    workspace: str = Field(
        "",
        validation_alias=_names("WORKSPACE"),
        description="Where values wait between links; default: `workspace/` in the bucket.",
    )
    model_server: str = Field(
        default_factory=lambda: _address("TF", port=8500),
        validation_alias=_names("MODEL_SERVER"),
        description="host:port of TensorFlow Serving's gRPC port.",
    )
    models_dir: Path | None = Field(
        None,
        validation_alias=_names("MODELS_DIR"),
        description="Folder with <name>/<version>/ of your own models, served beside the default.",
    )
    links: Literal["queue", "stage"] = Field(
        "queue",
        validation_alias=_names("LINKS"),
        description="queue: neighbouring stages on one queue are one task; stage: one task each.",
    )
    stage_queues: dict[str, str] = Field(
        default_factory=dict,
        validation_alias=_names("STAGE_QUEUES"),
        description='Queue of a stage where it is not the job\'s: {"postprocess": "cpu"}.',
    )
    max_pixels: int = Field(
        2**26,
        gt=0,
        validation_alias=_names("MAX_PIXELS"),
        description="Largest image in pixels (rows × columns).",
    )
    max_frames: int = Field(
        10_000,
        gt=0,
        validation_alias=_names("MAX_FRAMES"),
        description="Longest movie or stack in planes.",
    )
    max_file_bytes: int = Field(
        8 * 2**30,
        gt=0,
        validation_alias=_names("MAX_FILE_BYTES"),
        description="Largest input file, bytes.",
    )
    max_archive_members: int = Field(
        10_000,
        gt=0,
        validation_alias=_names("MAX_ARCHIVE_MEMBERS"),
        description="Most files in one archive.",
    )
    max_archive_bytes: int = Field(
        64 * 2**30,
        gt=0,
        validation_alias=_names("MAX_ARCHIVE_BYTES"),
        description="Largest archive once it is unpacked, bytes.",
    )
    max_archive_ratio: int = Field(
        200,
        gt=0,
        validation_alias=_names("MAX_ARCHIVE_RATIO"),
        description="Most bytes that one byte of an archive may unpack to.",
    )
    max_batch: int = Field(
        8,
        gt=0,
        validation_alias=_names("MAX_BATCH", "TF_MAX_BATCH_SIZE"),
        description="Tiles per request; at most the server's max_batch_size.",
    )
    in_flight: int = Field(
        2,
        gt=0,
        validation_alias=_names("IN_FLIGHT"),
        description="Requests of one job under way at once.",
    )
    grpc_timeout_s: float = Field(
        120.0,
        gt=0,
        validation_alias=_names("GRPC_TIMEOUT", "GRPC_TIMEOUT"),
        description="Deadline of one request to the model server, seconds.",
    )
    model_wait_s: float = Field(
        30.0,
        ge=0,
        validation_alias=_names("MODEL_WAIT"),
        description="How long a job waits for a model server that is down, seconds.",
    )
    metadata_ttl_s: float = Field(
        30.0,
        ge=0,
        validation_alias=_names("METADATA_TTL", "METADATA_EXPIRE_TIME"),
        description="How long what the server says of a model is trusted, seconds.",
    )
    max_attempts: int = Field(
        4,
        gt=0,
        validation_alias=_names("MAX_ATTEMPTS"),
        description="How many runs of a job may die before it is given up.",
    )
    lease_s: float = Field(
        60.0,
        gt=0,
        validation_alias=_names("LEASE"),
        description="How long a run that gives no sign of life is believed to live, seconds.",
    )
    reap_every_s: float = Field(
        15.0,
        gt=0,
        validation_alias=_names("REAP_EVERY"),
        description="Seconds between two looks for jobs that were lost.",
    )
    visibility_timeout_s: float = Field(
        120.0,
        gt=0,
        validation_alias=_names("VISIBILITY_TIMEOUT"),
        description="After how many seconds the broker gives a dead worker's message to another.",
    )
    scratch: Path | None = Field(
        None,
        validation_alias=_names("SCRATCH"),
        description="Folder for files while a job runs; default: the system's temporary folder.",
    )
    max_retries: int = Field(
        5,
        ge=0,
        validation_alias=_names("MAX_RETRIES", "MAX_RETRY"),
        description="How often a job is tried again after an error that may pass.",
    )
    record_expires_s: int = Field(
        30 * 86400,
        gt=0,
        validation_alias=_names("RECORD_EXPIRES"),
        description="How long the record of an ended job is kept, seconds.",
    )
    ready_file: Path | None = Field(
        None,
        validation_alias=_names("READY_FILE"),
        description="File the worker touches once it consumes.",
    )

    @field_validator("home")
    @classmethod
    def _from_the_root(cls, home: Path) -> Path:
        return home.expanduser().resolve()

    @property
    def bucket_url(self) -> str:
        """The bucket as a URL."""
        return self.bucket or (self.home / "bucket").as_uri()

    @property
    def workspace_url(self) -> str:
        """The workspace as a URL: the setting, else a folder of the bucket."""
        return self.workspace or f"{self.bucket_url.rstrip('/')}/workspace"

    @property
    def records_url(self) -> str:
        """Where the job records are: the setting, else the broker."""
        return self.ledger_url or self.broker_url

    @property
    def broker_prefix(self) -> str:
        """What the broker's own keys start with.

        It names the protocol of our messages, so that a worker of a release with another one never
        sees them.
        """
        return f"{self.key_prefix}v{PROTOCOL}:"

    @classmethod
    def load(cls) -> Settings:
        """Read the environment and, below it, the running stack's file."""
        return cls(_env_file=default_home() / STACK_ENV, _env_file_encoding="utf-8")
