"""What the URL of an S3 bucket may say."""

from __future__ import annotations

import pytest

from kiosk_tasks.errors import InvalidKey, InvalidParameter
from kiosk_tasks.storage.s3_options import S3Options, parse_s3_url


def test_bucket_alone() -> None:
    assert parse_s3_url("s3://results") == ("results", "", S3Options())
    assert parse_s3_url("s3://results/") == ("results", "", S3Options())


def test_everything_said() -> None:
    url = (
        "s3://my.bucket-1/a/b%20c/?endpoint=http://minio:9000&region=eu-central-1&attempts=2"
        "&public_endpoint=https%3A%2F%2Ffiles.example.org&url_lifetime_s=60&part_bytes=5242880"
        "&connect_timeout_s=0.5&read_timeout_s=7"
    )
    options = S3Options(
        endpoint="http://minio:9000",
        public_endpoint="https://files.example.org",
        region="eu-central-1",
        url_lifetime_s=60,
        part_bytes=5 * 2**20,
        attempts=2,
        connect_timeout_s=0.5,
        read_timeout_s=7.0,
    )
    assert parse_s3_url(url) == ("my.bucket-1", "a/b c", options)


@pytest.mark.parametrize(
    ("rest", "hint"),
    [
        ("", "3 to 63"),
        ("Bucket", "small letters"),
        ("-bucket", "small letters"),
        ("ab", "3 to 63"),
        ("bucket?lifetime=3", "url_lifetime_s"),
        ("bucket?attempts=many", "must be a number"),
        ("bucket?attempts=0", "more than 0"),
        ("bucket?read_timeout_s=-1", "more than 0"),
        ("bucket?url_lifetime_s=604801", "604800"),
        ("bucket?url_lifetime_s=0", "604800"),
        ("bucket?part_bytes=1000", "5242880"),
        ("bucket?endpoint=minio:9000", "http"),
        ("bucket?public_endpoint=ftp://host", "public_endpoint"),
    ],
)
def test_what_s3_would_refuse_is_refused_with_the_way_out(rest: str, hint: str) -> None:
    with pytest.raises(InvalidParameter, match=hint):
        parse_s3_url(f"s3://{rest}")


@pytest.mark.parametrize(
    "url",
    ["s3://id:hush@bucket", "s3://hush@bucket/x", "s3://bucket?endpoint=http://id:hush@host:9000"],
)
def test_credentials_have_no_place_in_a_url_and_are_not_repeated(url: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        parse_s3_url(url)
    assert "hush" not in str(caught.value)


def test_prefix_stays_in_the_bucket() -> None:
    with pytest.raises(InvalidKey):
        parse_s3_url("s3://bucket/a/../b")
