"""The SDK's client is for the region that the bucket is in."""

from __future__ import annotations

import pytest

from kiosk_tasks.storage.s3_client import make_client
from kiosk_tasks.storage.s3_options import parse_s3_url


@pytest.mark.parametrize(
    ("url", "variables", "region"),
    [
        ("s3://results", {"AWS_REGION": "eu-central-1"}, "eu-central-1"),
        ("s3://results", {"AWS_REGION": "", "AWS_DEFAULT_REGION": "eu-west-1"}, "eu-west-1"),
        (
            "s3://results",
            {"AWS_REGION": "eu-central-1", "AWS_DEFAULT_REGION": "eu-west-1"},
            "eu-central-1",
        ),
        ("s3://results?region=us-west-2", {"AWS_REGION": "eu-central-1"}, "us-west-2"),
    ],
)
def test_the_region_of_links_is_the_one_that_is_set(
    url: str, variables: dict[str, str], region: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    options = parse_s3_url(url)[2]
    client = make_client(options, None)
    assert client.meta.region_name == region
    client.close()
