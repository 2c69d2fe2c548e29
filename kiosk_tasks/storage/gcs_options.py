"""What the URL of a Google Cloud Storage bucket says beside the bucket's name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from kiosk_tasks.errors import InvalidParameter
from kiosk_tasks.storage import check_key
from kiosk_tasks.storage.url_options import check_endpoint, options_of

__all__ = ["GCSOptions", "parse_gcs_url"]

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_MAX_URL_LIFETIME_S = 7 * 86400  # of a signature of version 4
_PART_STEP_BYTES = 256 * 2**10  # the protocol's own


@dataclass(frozen=True)
class GCSOptions:
    """How a bucket is reached; credentials are never part of it: the SDK finds those itself."""

    endpoint: str | None = None  #: URL of another server than Google's, such as an emulator
    public_endpoint: str | None = None  #: the same server as users reach it, for download links
    anonymous: bool = False  #: use no credentials: emulators, and buckets open to everybody
    sign_links: bool = True  #: false: links say where the object is, and give no right to it
    url_lifetime_s: int = 86400  #: how long a signed link is good
    part_bytes: int = 8 * 2**20  #: larger objects go up and down in parts of this size
    retry_s: float = 60.0  #: how long the SDK tries one request again and again
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 60.0  #: longest silence of the server

    def __post_init__(self) -> None:
        """Refuse what the server would refuse later, in the middle of a job."""
        for name in ("endpoint", "public_endpoint"):
            check_endpoint(name, getattr(self, name))
        if not 0 < self.url_lifetime_s <= _MAX_URL_LIFETIME_S:
            raise InvalidParameter(
                f"url_lifetime_s is {self.url_lifetime_s}; Google signs links for 1 to "
                f"{_MAX_URL_LIFETIME_S} seconds."
            )
        if self.part_bytes <= 0 or self.part_bytes % _PART_STEP_BYTES:
            raise InvalidParameter(f"part_bytes must be a multiple of {_PART_STEP_BYTES}.")
        if min(self.retry_s, self.connect_timeout_s, self.read_timeout_s) <= 0:
            raise InvalidParameter("retry_s and timeouts of a bucket must be more than 0.")


def parse_gcs_url(url: str) -> tuple[str, str, GCSOptions]:
    """Return bucket, prefix and options of `gs://bucket/prefix?option=value&…`.

    Raises InvalidParameter where it is no such URL, naming the options that there are.
    """
    parts = urlsplit(url)
    if parts.scheme != "gs" or not _BUCKET.fullmatch(parts.netloc):
        raise InvalidParameter(
            f'"{parts.scheme}://{parts.netloc.rpartition("@")[2]}" names no bucket of Google '
            f"Cloud Storage; write gs://bucket/prefix with at least 3 small letters, digits, dots, "
            f"hyphens and underscores, and give credentials by GOOGLE_APPLICATION_CREDENTIALS or "
            f"a service account."
        )
    prefix = unquote(parts.path).strip("/")
    return parts.netloc, check_key(prefix) if prefix else "", options_of(parts.query, GCSOptions)
