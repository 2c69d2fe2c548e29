"""How jobs are cut into links, and how large they may be."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from kiosk_tasks.settings.names import names

__all__ = ["Limits"]


class Limits(BaseModel):
    """Links of a job, sizes of its input, requests to its model."""

    links: Literal["queue", "stage"] = Field(
        "queue",
        validation_alias=names("LINKS"),
        description="queue: neighbouring stages on one queue are one task; stage: one task each.",
    )
    stage_queues: dict[str, str] = Field(
        default_factory=dict,
        validation_alias=names("STAGE_QUEUES"),
        description='Queue of a stage where it is not the job\'s: {"postprocess": "cpu"}.',
    )
    max_pixels: int = Field(
        2**26,
        gt=0,
        validation_alias=names("MAX_PIXELS"),
        description="Largest image that is held in memory, in pixels (rows × columns).",
    )
    max_whole_pixels: int = Field(
        2**24,
        gt=0,
        validation_alias=names("WHOLE_PIXELS"),
        description="Larger images are segmented block by block, where their format allows it.",
    )
    max_large_pixels: int = Field(
        2**36,
        gt=0,
        validation_alias=names("MAX_LARGE_PIXELS"),
        description="Largest image that is segmented block by block, in pixels.",
    )
    max_frames: int = Field(
        10_000,
        gt=0,
        validation_alias=names("MAX_FRAMES"),
        description="Longest movie or stack in planes.",
    )
    max_file_bytes: int = Field(
        8 * 2**30,
        gt=0,
        validation_alias=names("MAX_FILE_BYTES"),
        description="Largest input file, bytes.",
    )
    max_archive_members: int = Field(
        10_000,
        gt=0,
        validation_alias=names("MAX_ARCHIVE_MEMBERS"),
        description="Most files in one archive.",
    )
    max_archive_bytes: int = Field(
        64 * 2**30,
        gt=0,
        validation_alias=names("MAX_ARCHIVE_BYTES"),
        description="Largest archive once it is unpacked, bytes.",
    )
    max_archive_ratio: int = Field(
        200,
        gt=0,
        validation_alias=names("MAX_ARCHIVE_RATIO"),
        description="Most bytes that one byte of an archive may unpack to.",
    )
    max_batch: int = Field(
        8,
        gt=0,
        validation_alias=names("MAX_BATCH", "TF_MAX_BATCH_SIZE"),
        description="Tiles per request; at most the server's max_batch_size.",
    )
    max_items: int | None = Field(
        None,
        gt=0,
        validation_alias=names("MAX_ITEMS"),
        description="Tiles per request where they are smaller than 512 px; at most the server's "
        "max_batch_size. Default: KIOSK_MAX_BATCH where that is set, else 32.",
    )
    in_flight: int = Field(
        2,
        gt=0,
        validation_alias=names("IN_FLIGHT"),
        description="Requests of one job under way at once.",
    )
    grpc_timeout_s: float = Field(
        120.0,
        gt=0,
        validation_alias=names("GRPC_TIMEOUT", "GRPC_TIMEOUT"),
        description="Deadline of one request to the model server, seconds.",
    )
    model_wait_s: float = Field(
        30.0,
        ge=0,
        validation_alias=names("MODEL_WAIT"),
        description="How long a job waits for a model server that is down, seconds.",
    )
    metadata_ttl_s: float = Field(
        30.0,
        ge=0,
        validation_alias=names("METADATA_TTL", "METADATA_EXPIRE_TIME"),
        description="How long what the server says of a model is trusted, seconds.",
    )
