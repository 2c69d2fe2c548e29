"""Where what watches an installation is, for those who look whether it watches."""

from __future__ import annotations

from pydantic import BaseModel, Field

from kiosk_tasks.redaction import SecretUrl
from kiosk_tasks.settings.names import names

__all__ = ["Watching"]


class Watching(BaseModel):
    """What `kiosk doctor --cluster` looks at beside broker, bucket, workers and model server."""

    exporter_url: SecretUrl = Field(
        SecretUrl(""),
        validation_alias=names("EXPORTER_URL"),
        description="Where `kiosk exporter` is, as http://exporter:9540, for "
        "`kiosk doctor --cluster`.",
    )
    flower_url: SecretUrl = Field(
        SecretUrl(""),
        validation_alias=names("FLOWER_URL"),
        description="Where Flower is, as http://user:password@flower:5555, for the same.",
    )
    prometheus_url: SecretUrl = Field(
        SecretUrl(""),
        validation_alias=names("PROMETHEUS_URL"),
        description="Where Prometheus is, as http://prometheus:9090, for the same.",
    )
    grace_s: float = Field(
        0.0,
        ge=0,
        validation_alias=names("GRACE_PERIOD"),
        description="Seconds that a worker has from SIGTERM to SIGKILL where it runs, for the "
        "same; 0: not known.",
    )
