"""Where things are: broker, ledger, bucket, model server, folders."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, field_validator

from kiosk_tasks.redaction import SecretUrl
from kiosk_tasks.settings.names import PROTOCOL, address, default_home, names

__all__ = ["Places"]


class Places(BaseModel):
    """Addresses and folders."""

    home: Path = Field(
        default_factory=default_home,
        validation_alias=names("HOME"),
        description="Folder for the embedded stack's state.",
    )
    broker_url: SecretUrl = Field(
        default_factory=lambda: SecretUrl(f"redis://{address('REDIS', port=6379)}/0"),
        validation_alias=names("BROKER_URL"),
        description="Redis or Valkey that holds the queues, the results and the ledger.",
    )
    ledger_url: SecretUrl = Field(
        SecretUrl(""),
        validation_alias=names("LEDGER_URL"),
        description="Redis or Valkey that holds the job records; default: the broker's.",
    )
    key_prefix: str = Field(
        "kiosk:",
        validation_alias=names("KEY_PREFIX"),
        description="What every Redis key starts with.",
    )
    bucket: SecretUrl = Field(
        SecretUrl(""),
        validation_alias=names("BUCKET", "STORAGE_BUCKET"),
        description="Where inputs and outputs lie: file:///…, s3://… or gs://…; "
        "default <home>/bucket.",
    )
    workspace: SecretUrl = Field(
        SecretUrl(""),
        validation_alias=names("WORKSPACE"),
        description="Where values wait between links; default: `workspace/` in the bucket.",
    )
    model_server: str = Field(
        default_factory=lambda: address("TF", port=8500),
        validation_alias=names("MODEL_SERVER"),
        description="host:port of TensorFlow Serving's gRPC port.",
    )
    models_dir: Path | None = Field(
        None,
        validation_alias=names("MODELS_DIR"),
        description="Folder with <name>/<version>/ of your own models, served beside the default.",
    )
    scratch: Path | None = Field(
        None,
        validation_alias=names("SCRATCH"),
        description="Folder for files while a job runs; default: the system's temporary folder.",
    )
    ready_file: Path | None = Field(
        None,
        validation_alias=names("READY_FILE"),
        description="File the worker touches once it consumes.",
    )
    alive_file: Path | None = Field(
        None,
        validation_alias=names("ALIVE_FILE"),
        description="File that worker, reaper and bridge touch while they do their work.",
    )

    @field_validator("home")
    @classmethod
    def _from_the_root(cls, home: Path) -> Path:
        return home.expanduser().resolve()

    @property
    def bucket_url(self) -> SecretUrl:
        """The bucket as a URL."""
        return self.bucket or SecretUrl((self.home / "bucket").as_uri())

    @property
    def workspace_url(self) -> SecretUrl:
        """The workspace as a URL: the setting, else a folder of the bucket."""
        bucket = urlsplit(self.bucket_url)
        folder = bucket._replace(path=f"{bucket.path.rstrip('/')}/workspace")
        return self.workspace or SecretUrl(folder.geturl())

    @property
    def records_url(self) -> SecretUrl:
        """Where the job records are: the setting, else the broker."""
        return self.ledger_url or self.broker_url

    @property
    def broker_prefix(self) -> str:
        """What the broker's own keys start with.

        It names the protocol of our messages, so that a worker of a release with another one never
        sees them.
        """
        return f"{self.key_prefix}v{PROTOCOL}:"
