"""Many images: few jobs open, results as they come, and going on where it was."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

from kiosk_tasks.client.batches import Batch, Mapped
from kiosk_tasks.client.calls import Calls
from kiosk_tasks.client.effects import Listen, NetworkDown, Send
from kiosk_tasks.client.errors import CannotSend, ServerUnavailable, TooManyJobs
from kiosk_tasks.client.wire import Reply, Upload
from tests.unit.client.network import Network, reply

CALLS = Calls("http://kiosk.test", retries=0)


class Server(Network):
    """A Kiosk that ends a job at the second look, and admits so many at a time."""

    def __init__(self, *, admits: int = 99, refusal: int = 429) -> None:
        super().__init__()
        self.admits = admits
        self.refusal = refusal
        self.jobs: dict[str, dict[str, Any]] = {}
        self.by_key: dict[str, str] = {}
        self.sent = 0
        self.refused = 0
        self.most_open = 0
        self.dies_after = 10**9

    def answer(self, effect: Send) -> Reply:
        request = effect.request
        if request.method == "POST":
            return self._submit(request.headers["Idempotency-Key"], request.upload)
        job = self.jobs[request.path.split("/")[1]]
        if request.path.endswith("/result"):
            assert effect.into is not None
            effect.into.write_bytes(_zip(f"{Path(job['name']).stem}_cells.csv"))
            return Reply(200, {})
        job["looks"] += 1
        if job["looks"] > 1 and not job["ended"]:
            bad = "bad" in job["name"]
            job |= {"ended": True, "status": "failed" if bad else "done"}
            job |= {"reason": "too dark."} if bad else {}
        return reply(200, job)

    def _submit(self, key: str, upload: Upload | None) -> Reply:
        assert upload is not None
        if key in self.by_key:
            return reply(200, self.jobs[self.by_key[key]])
        still_open = sum(not job["ended"] for job in self.jobs.values())
        if still_open >= self.admits:
            self.refused += 1
            return reply(self.refusal, {"message": "too many."})
        self.sent += 1
        if self.sent > self.dies_after:
            raise KeyboardInterrupt
        self.most_open = max(self.most_open, still_open + 1)
        job = {"id": f"j{self.sent}", "type": "predict", "status": "new", "ended": False}
        self.jobs[job["id"]] = job | {"name": upload.name, "looks": 0}  # type: ignore[index]
        self.by_key[key] = job["id"]  # type: ignore[assignment]
        return reply(202, self.jobs[job["id"]])  # type: ignore[index]

    def _do(self, effect: Any) -> Any:
        assert not isinstance(effect, Listen)
        return self.answer(effect) if isinstance(effect, Send) else super()._do(effect)

    def map(self, images: Any, out: Path, open_jobs: int = 3, **params: Any) -> list[Mapped]:
        batch = Batch(CALLS, "predict", images, out, params).at_most(open_jobs)
        found = []
        while (ended := self.run(batch.next())) is not None:
            found.append(ended)
        return found


def _zip(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, "label\n1\n")
    return buffer.getvalue()


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(7):
        (folder / f"i{number}.tif").write_bytes(b"II*" + bytes([number]))
    return folder


def test_all_are_done_with_few_open_at_a_time(images: Path, tmp_path: Path) -> None:
    server = Server()
    (images / "bad.tif").write_bytes(b"II*bad")
    found = server.map(images, tmp_path / "out")
    assert server.most_open == 3
    assert {one.name for one in found} == {path.name for path in images.iterdir()}
    assert {one.name: one.reason for one in found if one.reason} == {"bad.tif": "too dark."}
    assert sorted(path.name for one in found for path in one.files) == [
        f"i{number}_cells.csv" for number in range(7)
    ]


def test_the_same_call_again_does_only_what_is_left(images: Path, tmp_path: Path) -> None:
    server, out = Server(), tmp_path / "out"
    (images / "bad.tif").write_bytes(b"II*bad")
    server.map(images, out)
    assert server.sent == 8
    (out / "i3_cells.csv").unlink()
    (images / "i4.tif").write_bytes(b"II*new pixels")
    again = server.map(images, out)
    assert server.sent == 8 + 3  # bad.tif, i3.tif, i4.tif
    assert sorted(one.name for one in again if one.there) == [f"i{n}.tif" for n in (0, 1, 2, 5, 6)]
    assert all(one.files for one in again if one.there)
    server.map(images, out, mpp=0.5)
    assert server.sent == 8 + 3 + 8


def test_a_batch_that_was_killed_takes_its_jobs_up_again(images: Path, tmp_path: Path) -> None:
    server, out = Server(), tmp_path / "out"
    server.dies_after = 4
    with pytest.raises(KeyboardInterrupt):
        server.map(images, out)
    with (out / ".kiosk-map.jsonl").open("a") as journal:
        journal.write('{"mark": "cut sho')
    server.dies_after, server.sent = 10**9, 4
    found = server.map(images, out)
    assert len(found) == 7
    assert not any(one.reason for one in found)
    assert len(server.jobs) == 7  # none twice


def test_what_is_written_behind_a_line_that_was_cut_short_is_not_lost(
    images: Path, tmp_path: Path
) -> None:
    server, out = Server(), tmp_path / "out"
    out.mkdir()
    (out / ".kiosk-map.jsonl").write_text('{"mark": "cut sho')
    server.dies_after = 1
    with pytest.raises(KeyboardInterrupt):
        server.map(images, out)
    server.dies_after, server.sent = 10**9, 1
    server.map(images, out)
    assert len(server.jobs) == 7  # none twice


@pytest.mark.parametrize("refusal", [429, 503])
def test_a_server_that_allows_fewer_is_not_pressed(
    images: Path, tmp_path: Path, refusal: int
) -> None:
    server = Server(admits=2, refusal=refusal)
    found = server.map(images, tmp_path / "out", open_jobs=5)
    assert len(found) == 7
    assert not any(one.reason for one in found)
    assert server.most_open == 2
    assert server.refused <= 7  # it is asked again when a job has ended, not all the time


def test_images_of_one_name_do_not_overwrite_each_other(tmp_path: Path) -> None:
    paths = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        paths.append(tmp_path / folder / "x.ome.tif")
        paths[-1].write_bytes(b"II*" + folder.encode())
    for name in ("x.png", "X-2.tif"):  # results have the stem of the name, in any letters
        paths.append(tmp_path / name)
        paths[-1].write_bytes(name.encode())
    found = Server().map(paths, tmp_path / "out")
    names = [one.name for one in found]
    assert sorted(names) == ["X-2-2.tif", "x-2.ome.tif", "x-3.png", "x.ome.tif"]
    assert len({path for one in found for path in one.files}) == 4


def test_what_cannot_be_sent_does_not_stop_the_rest(images: Path, tmp_path: Path) -> None:
    found = Server().map([tmp_path / "none.tif", images / "i0.tif"], tmp_path / "out")
    reasons = {Path(one.name).name: one.reason for one in found}
    assert reasons["i0.tif"] is None
    assert "does not exist" in str(reasons["none.tif"])
    with pytest.raises(CannotSend, match="at least one"):
        Server().map(images, tmp_path / "out", open_jobs=0)


def test_a_server_that_is_gone_ends_the_batch(images: Path, tmp_path: Path) -> None:
    batch = Batch(CALLS, "predict", images, tmp_path / "out", {})
    with pytest.raises(ServerUnavailable):
        Network(NetworkDown("refused", sent=False)).run(batch.next())


def test_a_server_that_never_has_room_is_given_up(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kiosk_tasks.client.batches._MOST_BUSY", 3)
    with pytest.raises(TooManyJobs):
        Server(admits=0).map(images, tmp_path / "out")
