"""A worker that ends in order leaves nothing uncounted, however short it lived."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.security_site import client, connect, server, site_env, worker

PATIENT = """
from kiosk_tasks.ledger import tallies
tallies._FLUSH_EVERY_S = 3600.0
"""
"""Of themselves the counts would be written in an hour."""


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_what_a_worker_counted_is_written_when_it_ends(tmp_path: Path, pool: str) -> None:
    startup = tmp_path / "startup"
    startup.mkdir()
    (startup / "sitecustomize.py").write_text(PATIENT)
    with server(tmp_path) as port:
        env = site_env(tmp_path, f"redis://127.0.0.1:{port}/0")
        late = {**env, "PYTHONPATH": os.pathsep.join([str(startup), env["PYTHONPATH"]])}
        with worker(tmp_path, late, pool=pool), connect(port) as broker:
            assert client(env, folder=tmp_path)["status"] == "done"
            assert broker.hlen("kiosk:tallies") == 0
        with connect(port) as broker:
            rows = broker.hgetall("kiosk:tallies")
    counts = [json.loads(name) for name in rows]
    assert ["stage_seconds", "spy", "begin", "sum"] in counts, (tmp_path / "worker.log").read_text()
    assert ["wait_seconds", "predict", "sum"] in counts
