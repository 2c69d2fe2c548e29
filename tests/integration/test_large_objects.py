"""A large object goes through a process whose memory stays far below the object's size."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.gcs_server import gcs_bucket_url, gcs_server
from tests.s3_server import bucket_url, s3_server

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

SIZE = 120 * 2**20
GROWTH = 80 * 2**20
"""Bytes, whatever the size: some parts of 8 MiB, and what libraries load for large objects only."""


@pytest.fixture(params=["local", "s3", "gcs"])
def url(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    log = tmp_path / "server.log"
    if request.param == "local":
        yield (tmp_path / "bucket").as_uri()
    elif request.param == "s3":
        with s3_server(log) as endpoint:
            yield bucket_url(endpoint, monkeypatch)
    else:
        with gcs_server(log) as endpoint:
            yield gcs_bucket_url(endpoint, monkeypatch)


def test_memory_of_a_process_that_moves_a_large_object(url: str, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    block = Random(5).randbytes(2**20)
    digest = hashlib.sha256()
    with source.open("wb") as file:
        for number in range(SIZE // len(block)):
            piece = number.to_bytes(4, "big") + block[4:]  # parts in a wrong order would show
            file.write(piece)
            digest.update(piece)
    argv = [sys.executable, "-m", "tests.storage_writers", "copy", url, "a/key"]
    done = subprocess.run(
        [*argv, source, target],
        stdout=subprocess.PIPE,
        check=True,
        env=dict(os.environ),
        timeout=300,
    )
    told = json.loads(done.stdout)
    with target.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == digest.hexdigest()
    assert told["sha256"] == digest.hexdigest()
    assert told["peak"] - told["before"] < GROWTH, told
