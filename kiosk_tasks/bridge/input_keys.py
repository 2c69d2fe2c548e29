"""Where an input lies, out of the many ways in which older clients say it."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from kiosk_tasks.errors import InvalidKey
from kiosk_tasks.storage import check_key

__all__ = ["bucket_key"]

_DETOUR = re.compile(r"[^/]+/\.\./(?=https?:/)", re.IGNORECASE)
"""What the Python client's path joining makes of a URL: `uploads/../http:/host/bucket/key`."""
_URL = re.compile(r"(https?|s3|gs):/{1,2}([^/]+)/(.*)", re.IGNORECASE | re.DOTALL)

_MEDIA = re.compile(r"(?:download/)?storage/v1/b/([^/]+)/o/(.*)", re.DOTALL)
"""The path of what Google calls an object's media link."""


_OUR_LINK = re.compile(r"api/files/\d+/[0-9a-f]{64}/(.*)", re.DOTALL)
"""The path of a link by way of our web service, as it gives one for an upload."""


def bucket_key(given: str, bucket_url: str) -> str:
    """Return the key in our bucket of an `input_file_name`; nothing is ever fetched from a URL.

    given: a key; `s3://` or `gs://` with bucket and key; `http://` or `https://` with the bucket as
        first part of the path or of the host's name, or as Google's media link has it; a link by
        way of our web service; or a URL with `uploads/../` before it.
    bucket_url: our bucket, as the setting names it.
    Raises InvalidKey for another bucket, and for what would leave ours.
    """
    url = _URL.fullmatch(_DETOUR.sub("", given, count=1))
    if url is None:
        return check_key(given)
    scheme, host, rest = url.groups()
    ours = _OUR_LINK.fullmatch(rest)
    if ours:
        return check_key(unquote(ours[1]))
    bucket, folder = _bucket_and_folder(bucket_url)
    found, key = (host, rest) if scheme.lower() in ("s3", "gs") else _of_http(host, rest, bucket)
    if found != bucket:
        raise InvalidKey(f"{given!r} lies in the bucket {found!r}; this Kiosk reads {bucket!r}.")
    if not key.startswith(folder):
        raise InvalidKey(f"{given!r} lies outside of {folder!r}, where this Kiosk keeps its files.")
    return check_key(key.removeprefix(folder))


def _bucket_and_folder(bucket_url: str) -> tuple[str, str]:
    """Return the bucket's name, and the start of all our keys in it; a local folder is a bucket."""
    parts = urlsplit(bucket_url)
    path = unquote(parts.path).strip("/")
    if parts.scheme == "file":
        return path.rpartition("/")[2], ""
    return parts.netloc, f"{path}/" if path else ""


def _of_http(host: str, rest: str, bucket: str) -> tuple[str, str]:
    path = unquote(re.split(r"[?#]", rest, maxsplit=1)[0])
    first, _, key = path.partition("/")
    if first == bucket:
        return first, key
    if host.startswith(f"{bucket}."):
        return bucket, path
    media = _MEDIA.fullmatch(path)
    return (media[1], media[2]) if media else (first, key)
