"""When a job that was lost is run again, and when one is given up."""

from __future__ import annotations

from pydantic import BaseModel, Field

from kiosk_tasks.settings.names import names

__all__ = ["Delivery"]


class Delivery(BaseModel):
    """Leases, attempts, retries, and how long records are kept."""

    max_attempts: int = Field(
        4,
        gt=0,
        validation_alias=names("MAX_ATTEMPTS"),
        description="How many runs of a job may die before it is given up.",
    )
    lease_s: float = Field(
        60.0,
        gt=0,
        validation_alias=names("LEASE"),
        description="How long a run that gives no sign of life is believed to live, seconds.",
    )
    reap_every_s: float = Field(
        15.0,
        gt=0,
        validation_alias=names("REAP_EVERY"),
        description="Seconds between two looks for jobs that were lost.",
    )
    visibility_timeout_s: float = Field(
        120.0,
        gt=0,
        validation_alias=names("VISIBILITY_TIMEOUT"),
        description="After how many seconds the broker gives a dead worker's message to another.",
    )
    max_retries: int = Field(
        5,
        ge=0,
        validation_alias=names("MAX_RETRIES", "MAX_RETRY"),
        description="How often a job is tried again after an error that may pass.",
    )
    record_expires_s: int = Field(
        30 * 86400,
        gt=0,
        validation_alias=names("RECORD_EXPIRES"),
        description="How long the record of an ended job is kept, seconds.",
    )
