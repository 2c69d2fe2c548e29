"""What a frontend of the old Kiosk writes into Redis, for every job type, comes back done."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from io import BytesIO
from typing import Any
from urllib.parse import parse_qsl
from uuid import uuid4
from zipfile import ZipFile

import httpx
import numpy as np
import pytest
import redis
import tifffile
from numpy.typing import NDArray

from kiosk_tasks.bridge.events import job_id_of, queue_names
from kiosk_tasks.imaging import io
from kiosk_tasks.storage.local import LocalStorage
from models.multiplex.tissue import draw_tissue
from tests.acceptance.conftest import SAMPLES
from tests.conftest import wait_for
from tests.kiosk_up import Kiosk
from tests.processes import child
from tests.simulated_movies import MovieParams, simulate
from tests.simulated_spots import draw_culture
from tests.unit.imaging.zips import zipped

OF_EVERY_JOB = (
    *("status", "progress", "created_at", "finished_at", "updated_at", "updated_by"),
    *("identity_started", "output_file_name", "output_url", "total_time", "upload_time"),
    *("predict_retries", "dim_order", "job_id"),
)
"""What the Python client, the page and the ImageJ plugin read of any job that is done."""
OF_A_TYPE = {
    **dict.fromkeys(
        ("predict", "mesmer", "polaris"), ("download_time", "prediction_time", "postprocess_time")
    ),
    "spot": ("download_time", "prediction_time"),  # it has no step after the model's
    "track": ("prediction_time", "postprocess_time"),  # the download is a part of the first
}
OF_AN_ARCHIVE = (
    *("total_jobs", "children", "children:done", "children:failed", "failures"),
    *("children_upload_time", "cleanup_time"),
)
TYPES = {
    **dict.fromkeys(("image", "segmentation"), "predict"),
    **dict.fromkeys(("tracking", "caliban"), "track"),
    **{"multiplex": "mesmer", "spots": "spot"},
}
CREATED_AT = "2020-01-01T00:00:00.000Z"
LIMIT_S = 400.0


@cache
def sample(type_name: str) -> bytes:
    """A small image of the kind that the job type takes."""
    rng = np.random.default_rng(7)
    if type_name == "predict":
        return _tiff(io.read(SAMPLES / "nuclei_512.tif", name="nuclei").data[:160, :160], "YX")
    if type_name == "track":
        params = MovieParams(frames=3, side=128, cells=6)
        return _tiff(simulate(params, seed=5).pixels, "TYX")
    if type_name == "mesmer":
        return _tiff(np.moveaxis(draw_tissue(rng).image[:160, :160], -1, 0), "CYX", mpp=0.5)
    field = draw_culture(seed=31, shape=(128, 128), nuclei=6, spots=900).image
    if type_name == "spot":
        return _tiff(np.ascontiguousarray(field[..., 0]), "YX", mpp=None)
    return _tiff(np.moveaxis(field, -1, 0), "CYX", mpp=None)


def _tiff(pixels: NDArray[Any], axes: str, *, mpp: float | None = 0.65) -> bytes:
    buffer, metadata = BytesIO(), {"axes": axes}
    for side in "XY" if mpp else "":
        metadata |= {f"PhysicalSize{side}": str(mpp), f"PhysicalSize{side}Unit": "µm"}
    tifffile.imwrite(buffer, pixels, metadata=metadata, photometric="minisblack", ome=True)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def bridged(kiosk: Kiosk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kiosk]:
    """The stack, and a `kiosk bridge` beside it."""
    log = tmp_path_factory.mktemp("bridge") / "log"
    command = [sys.executable, "-m", "kiosk_tasks", "bridge", "--name", "events"]
    with child(command, log=log, env=kiosk.env) as process:
        wait_for(lambda: "ready" in log.read_text() or process.poll() is not None, limit_s=60)
        assert process.poll() is None, log.read_text()
        yield kiosk


@pytest.fixture(scope="module")
def frontend(bridged: Kiosk) -> Iterator[redis.Redis]:
    """The old frontend's connection to Redis."""
    url = bridged.values["KIOSK_LEDGER_URL"]
    with redis.Redis.from_url(url, decode_responses=True) as client:
        yield client


def submit(frontend: redis.Redis, bucket: LocalStorage, queue: str) -> str:
    """Do what a frontend does when a person has uploaded a file, with two commands."""
    plain = queue.removesuffix("-zip")
    type_name = TYPES.get(plain, plain)
    name, data = "cells.ome.tif", sample(type_name)
    if queue != plain:
        name = "cells.zip"
        data = zipped({"a.ome.tif": data, "b.ome.tif": data, "notes.tif": b"no image"})
    key, upload = f"{queue}:{name}:{uuid4()}", f"uploads/{uuid4().hex}/{name}"
    bucket.put(upload, data)
    now = datetime.now(UTC).isoformat()
    fields: dict[Any, Any] = {
        **{"original_name": name, "input_file_name": upload, "url": f"http://old/{upload}"},
        **{"model_name": "", "model_version": "", "preprocess_function": ""},
        **{"postprocess_function": "", "cuts": "0", "label": "", "scale": ""},
        **{"channels": _channels(type_name), "dimension_order": "", "compartment": ""},
        **{"segmentation_type": "none" if type_name == "polaris" else ""},
        **{"status": "new", "progress": "0", "identity_upload": "frontend-1"},
        **{"created_at": CREATED_AT, "updated_at": now},
    }
    frontend.hset(key, mapping=fields)  # HMSET, under its newer name
    frontend.lpush(queue, key)
    return key


def _channels(type_name: str) -> str:
    return {"mesmer": "0,1", "track": "0,,", "spot": "0", "predict": ""}.get(type_name, "")


def test_events_of_every_name_are_done(bridged: Kiosk, frontend: redis.Redis) -> None:
    bucket = LocalStorage(bridged.home / "bucket")
    names = queue_names()
    assert {*TYPES, *TYPES.values(), "polaris"} | {f"{n}-zip" for n in TYPES} <= set(names)
    keys = {queue: submit(frontend, bucket, queue) for queue in names}
    end = time.monotonic() + LIMIT_S
    while not all(_ended(frontend, key) for key in keys.values()) and time.monotonic() < end:
        time.sleep(0.1)
    hashes: dict[str, dict[str, str]] = {q: dict(frontend.hgetall(k)) for q, k in keys.items()}  # type: ignore[arg-type]
    lacking = {queue: _lacks(queue, hash_) for queue, hash_ in hashes.items()}
    assert {queue: what for queue, what in lacking.items() if what} == {}
    for queue, hash_ in hashes.items():
        assert hash_["job_id"] == job_id_of(keys[queue])
        assert (hash_["created_at"], hash_["progress"]) == (CREATED_AT, "100")
        assert datetime.fromisoformat(hash_["finished_at"])
        files = _result(hash_)
        if queue.endswith("-zip"):
            _check_archive(hash_, files)
        else:
            _check_one(TYPES.get(queue, queue), hash_, files)
        assert frontend.llen(queue) == 0
        assert frontend.expire(keys[queue], 3600) == 1


def _ended(frontend: redis.Redis, key: str) -> bool:
    return frontend.hget(key, "status") in ("done", "failed", "cancelled")


def _lacks(queue: str, hash_: Mapping[str, str]) -> list[str]:
    """Return what is wrong with a hash, at a glance."""
    if hash_["status"] != "done":
        return [f"{hash_['status']}: {hash_.get('reason')}"]
    plain = queue.removesuffix("-zip")
    needed = [*OF_EVERY_JOB, *OF_A_TYPE[TYPES.get(plain, plain)]]
    if plain != queue:
        needed = [*needed, *OF_AN_ARCHIVE]
    return [field for field in needed if not hash_.get(field)]


def _result(hash_: Mapping[str, str]) -> dict[str, bytes]:
    """Fetch the result as a person does who clicks on the link."""
    answer = httpx.get(hash_["output_url"])
    assert answer.status_code == 200, hash_["output_url"]
    with ZipFile(BytesIO(answer.content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _check_one(type_name: str, hash_: Mapping[str, str], files: Mapping[str, bytes]) -> None:
    axes = {"track": "TYX", "mesmer": "CYX", "polaris": "CYX"}.get(type_name, "YX")
    assert hash_["dim_order"] == axes
    assert float(hash_["total_time"]) > 0
    assert hash_["predict_retries"] == "0"
    if type_name in ("spot", "polaris"):
        table = next(data for name, data in files.items() if name.endswith("_spots.csv"))
        assert len(table.splitlines()) > 40
        return
    labels = [data for name, data in files.items() if name.endswith(".ome.tif")]
    assert max(int(tifffile.imread(BytesIO(data)).max()) for data in labels) >= 2


def _check_archive(hash_: Mapping[str, str], files: Mapping[str, bytes]) -> None:
    assert hash_["total_jobs"] == "3"
    children = hash_["children"].split(",")
    done, failed = (hash_[f"children:{how}"].split(",") for how in ("done", "failed"))
    assert (len(done), len(failed)) == (2, 1)
    assert sorted(children) == sorted(done + failed)
    assert [name for name, _reason in parse_qsl(hash_["failures"])] == ["notes.tif"]
    for field in ("total_time", "children_upload_time", "cleanup_time"):
        assert float(hash_[field]) >= 0
    first, second = hash_["dim_order"].split(",")
    assert first == second
    assert len(hash_["upload_time"].split(",")) == 2
    assert {"summary.csv", "failures.csv"} <= files.keys()
