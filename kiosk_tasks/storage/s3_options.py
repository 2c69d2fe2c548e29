"""What the URL of an S3 bucket says beside the bucket's name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from kiosk_tasks.errors import InvalidParameter
from kiosk_tasks.storage import check_key
from kiosk_tasks.storage.url_options import check_endpoint, options_of

__all__ = ["S3Options", "parse_s3_url"]

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_MAX_URL_LIFETIME_S = 7 * 86400  # of a signature of version 4
_MIN_PART_BYTES = 5 * 2**20  # S3's own


@dataclass(frozen=True)
class S3Options:
    """How a bucket is reached; credentials are never part of it: the SDK finds those itself."""

    endpoint: str | None = None  #: URL of another server than Amazon's; default: AWS_ENDPOINT_URL
    public_endpoint: str | None = None  #: the same server as users reach it, for download links
    region: str | None = None  #: default: AWS_REGION, else as the SDK is configured
    url_lifetime_s: int = 86400  #: how long a download link is good
    part_bytes: int = 8 * 2**20  #: larger objects go up and down in parts of this size
    attempts: int = 4  #: of the SDK, per request
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 60.0  #: longest silence of the server

    def __post_init__(self) -> None:
        """Refuse what S3 would refuse later, in the middle of a job."""
        for name in ("endpoint", "public_endpoint"):
            check_endpoint(name, getattr(self, name))
        if not 0 < self.url_lifetime_s <= _MAX_URL_LIFETIME_S:
            raise InvalidParameter(
                f"url_lifetime_s is {self.url_lifetime_s}; S3 signs links for 1 to "
                f"{_MAX_URL_LIFETIME_S} seconds."
            )
        if self.part_bytes < _MIN_PART_BYTES:
            raise InvalidParameter(f"part_bytes is under {_MIN_PART_BYTES}, the least S3 takes.")
        if min(self.attempts, self.connect_timeout_s, self.read_timeout_s) <= 0:
            raise InvalidParameter("attempts and timeouts of a bucket must be more than 0.")


def parse_s3_url(url: str) -> tuple[str, str, S3Options]:
    """Return bucket, prefix and options of `s3://bucket/prefix?option=value&…`.

    Raises InvalidParameter where it is no such URL, naming the options that there are.
    """
    parts = urlsplit(url)
    if parts.scheme != "s3" or not _BUCKET.fullmatch(parts.netloc):
        raise InvalidParameter(
            f'"{parts.scheme}://{parts.netloc.rpartition("@")[2]}" names no S3 bucket; write '
            f"s3://bucket/prefix with 3 to 63 small letters, digits, dots and hyphens, and give "
            f"credentials by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or a role."
        )
    prefix = unquote(parts.path).strip("/")
    return parts.netloc, check_key(prefix) if prefix else "", options_of(parts.query, S3Options)
