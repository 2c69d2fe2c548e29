"""What the URL of a bucket at Google may say."""

from __future__ import annotations

import pytest

from kiosk_tasks.errors import InvalidKey, InvalidParameter
from kiosk_tasks.storage.gcs_options import GCSOptions, parse_gcs_url


def test_bucket_alone() -> None:
    assert parse_gcs_url("gs://results") == ("results", "", GCSOptions())
    assert parse_gcs_url("gs://the_results.2/") == ("the_results.2", "", GCSOptions())


def test_everything_said() -> None:
    url = (
        "gs://my.bucket-1/a/b%20c/?endpoint=http://fake:4443&anonymous=true&retry_s=2"
        "&public_endpoint=https%3A%2F%2Ffiles.example.org&url_lifetime_s=60&part_bytes=262144"
        "&connect_timeout_s=0.5&read_timeout_s=7&sign_links=FALSE"
    )
    options = GCSOptions(
        endpoint="http://fake:4443",
        public_endpoint="https://files.example.org",
        anonymous=True,
        sign_links=False,
        url_lifetime_s=60,
        part_bytes=262144,
        retry_s=2.0,
        connect_timeout_s=0.5,
        read_timeout_s=7.0,
    )
    assert parse_gcs_url(url) == ("my.bucket-1", "a/b c", options)


@pytest.mark.parametrize(
    ("rest", "hint"),
    [
        ("", "at least 3"),
        ("Bucket", "small letters"),
        ("-bucket", "small letters"),
        ("ab", "at least 3"),
        ("bucket?lifetime=3", "url_lifetime_s"),
        ("bucket?region=eu", "there are endpoint"),
        ("bucket?anonymous=maybe", "true or false"),
        ("bucket?retry_s=long", "must be a number"),
        ("bucket?retry_s=0", "more than 0"),
        ("bucket?read_timeout_s=-1", "more than 0"),
        ("bucket?url_lifetime_s=604801", "604800"),
        ("bucket?url_lifetime_s=0", "604800"),
        ("bucket?part_bytes=262145", "multiple of 262144"),
        ("bucket?part_bytes=0", "multiple of 262144"),
        ("bucket?endpoint=fake:9000", "http"),
        ("bucket?public_endpoint=ftp://host", "public_endpoint"),
    ],
)
def test_what_google_would_refuse_is_refused_with_the_way_out(rest: str, hint: str) -> None:
    with pytest.raises(InvalidParameter, match=hint):
        parse_gcs_url(f"gs://{rest}")


@pytest.mark.parametrize(
    "url",
    ["gs://id:hush@bucket", "gs://hush@bucket/x", "gs://bucket?endpoint=http://id:hush@host:9000"],
)
def test_credentials_have_no_place_in_a_url_and_are_not_repeated(url: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        parse_gcs_url(url)
    assert "hush" not in str(caught.value)


def test_prefix_stays_in_the_bucket() -> None:
    with pytest.raises(InvalidKey):
        parse_gcs_url("gs://bucket/a/../b")
