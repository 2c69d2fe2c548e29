"""Large images through a real broker, a real worker and a real model server."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import tifffile

from kiosk_tasks.job import Status, new_job
from kiosk_tasks.jobs import find
from kiosk_tasks.run.local import run_local
from tests.conftest import forget_adapters, wait_for
from tests.integration.test_chain import (
    Client,
    Site,
    client_of,
    members,
    model_server,
    new_site,
    plugin,
    running_worker,
)
from tests.synthetic import draw_nuclei

__all__ = ["model_server", "plugin"]

KEY = "uploads/large.tif"
FIELDS = {"input_file_name": KEY, "original_name": "large.tif", "mpp": 0.65}
LOW = {"KIOSK_WHOLE_PIXELS": str(2**18)}


@pytest.fixture(scope="module")
def site(
    valkey: str, model_server: str, plugin: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Site, int]]:
    """An installation whose worker takes images of more than 512² for large."""
    folder = tmp_path_factory.mktemp("large")
    with new_site(valkey, model_server, plugin, folder) as one:
        image, _ = draw_nuclei((1000, 1300), count=250, seed=11)
        file = io.BytesIO()
        tifffile.imwrite(file, image, tile=(256, 256), photometric="minisblack")
        one.bucket.put(KEY, file.getvalue())
        with running_worker(one, "predict,cpu", **LOW) as worker:
            yield one, worker


@pytest.fixture
def client(site: tuple[Site, int], plugin: Path) -> Iterator[Client]:
    with client_of(site[0], plugin) as one:
        yield one


def files_of(client: Client, job_id: str) -> dict[str, bytes]:
    """The files of a result but its record, which has times in it."""
    files = members(client.site.bucket.get(f"output/{job_id}/large.zip"))
    record = json.loads(files.pop("large_job.json"))
    assert record["blocks"]["jobs"] > 1
    return files


@pytest.fixture(scope="module")
def here(site: tuple[Site, int], plugin: Path) -> dict[str, dict[str, bytes]]:
    """Results of runs in this process: in blocks, and in one piece."""
    found = {}
    with pytest.MonkeyPatch.context() as patch, client_of(site[0], plugin) as client:
        for name, pixels in (("blocks", 2**18), ("whole", 2**24)):
            patch.setenv("KIOSK_WHOLE_PIXELS", str(pixels))
            forget_adapters()
            job = new_job(find("predict"), FIELDS)
            run_local(job)
            found[name] = members(client.site.bucket.get(f"output/{job.id}/large.zip"))
            found[name].pop("large_job.json")
    return found


@pytest.mark.parametrize("mode", ["queue", "stage"])
def test_the_queue_gives_what_a_run_here_gives(
    client: Client, here: dict[str, dict[str, bytes]], mode: str
) -> None:
    client.links(mode)
    result = client.task("predict").delay(**FIELDS)
    result.get(timeout=120)
    record = client.record(result.id)
    assert record.status is Status.DONE
    assert record.fields["children:done"] == record.fields["children"]
    assert files_of(client, result.id) == here["blocks"]
    wait_for(lambda: not list(client.site.bucket.list("parts/")), what="parts are gone")
    kept = {key.split("/")[1] for key in client.site.bucket.list("output/")}
    assert not kept & set(record.fields["children"].split(","))
    assert list(client.site.workspace.list()) == []


def test_no_cell_is_cut_at_the_border_of_a_block(here: dict[str, dict[str, bytes]]) -> None:
    blocks, whole = (
        tifffile.imread(io.BytesIO(here[name]["large_labels.ome.tif"]), level=0)
        for name in ("blocks", "whole")
    )
    pairs = np.unique(blocks * np.int64(2**32) + whole)
    assert len(pairs) == blocks.max() + 1 == whole.max() + 1 > 200


def test_a_killed_process_loses_nothing(
    site: tuple[Site, int], client: Client, here: dict[str, dict[str, bytes]]
) -> None:
    result = client.task("predict").delay(**FIELDS)

    def at_work() -> Any:
        children = client.ledger.children(result.id)
        return [one for one in children if client.record(one).status is Status.PREDICTING]

    wait_for(at_work, limit_s=60, what="a block is worked on")
    (process,) = psutil.Process(site[1]).children()
    process.kill()
    result.get(timeout=120)
    assert files_of(client, result.id) == here["blocks"]
