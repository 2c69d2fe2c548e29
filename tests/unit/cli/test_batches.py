"""What a command line means by its arguments, what is there already, and the closing table."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from kiosk_tasks import service
from kiosk_tasks.cli import batch
from kiosk_tasks.cli.batch import Request
from kiosk_tasks.cli.display import Outcome, summary_table
from kiosk_tasks.cli.images import find_images, result_names
from kiosk_tasks.cli.in_process import run_here
from kiosk_tasks.cli.resume import results_there
from kiosk_tasks.errors import InvalidFileType, StorageFull
from kiosk_tasks.job import Status, new_job
from kiosk_tasks.jobs import find
from kiosk_tasks.ledger import Ledger, Record
from kiosk_tasks.outputs import stem_of
from kiosk_tasks.wiring import Adapters
from tests.conftest import Broker
from tests.fakes import fake_adapters, tiff_bytes
from tests.synthetic import draw_nuclei
from tests.unit.imaging.zips import zipped

IMAGE, TRUTH = draw_nuclei((96, 96), count=4, seed=8)
TIFF = tiff_bytes(IMAGE)
CELLS = int(TRUTH.max())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("b.tif", "a.png"):
        (folder / name).write_bytes(TIFF)
    for name in ("notes.txt", "movie.trk", "photos.zip"):
        (folder / name).write_bytes(b"no image")
    return folder


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["."], ["a.png", "b.tif"]),
        (["*"], ["a.png", "b.tif", "movie.trk", "photos.zip"]),
        (["*.zip", "b.tif", "b.tif"], ["photos.zip", "b.tif"]),
        (["notes.txt"], ["notes.txt"]),
    ],
)
def test_what_arguments_name(folder: Path, arguments: list[str], names: list[str]) -> None:
    found = find_images([str(folder / argument) for argument in arguments])
    assert [path.name for path in found] == names


def test_an_argument_that_names_nothing(folder: Path) -> None:
    with pytest.raises(InvalidFileType, match=r"names no image.*zip archive"):
        find_images([str(folder / "*.lif")])


def test_names_of_results() -> None:
    paths = [Path("1/a.tif"), Path("2/a.tif"), Path("a.zip"), Path("b.tif")]
    assert result_names(paths) == ["a.tif", "a-2.tif", "a-3.zip", "b.tif"]


@pytest.mark.parametrize("letter", ["x", "核"])
def test_names_of_results_of_images_with_long_names(letter: str) -> None:
    names = result_names([Path(f"{letter * 160}{number}.tif") for number in range(12)])
    assert len({stem_of(name) for name in names}) == 12
    assert {name[-4:] for name in names} == {".tif"}
    assert max(len(stem_of(name).encode()) for name in names) == 150


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> Adapters:
    made = fake_adapters()
    for module in ("kiosk_tasks.service", "kiosk_tasks.cli.in_process", "kiosk_tasks.wiring"):
        monkeypatch.setattr(f"{module}.adapters", lambda: made)
    return made


class Site:
    """A folder of images, and one of results."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results = folder / "results"
        self.images = {"a.tif": TIFF, "photos.zip": zipped({"x/a.tif": TIFF, "bad.tif": b""})}
        for name, data in self.images.items():
            (folder / name).write_bytes(data)

    def request(self, **params: Any) -> Request:
        paths = {name: self.folder / name for name in self.images}
        return Request("predict", {"min_size": 10, **params}, paths, self.results)

    def run(self) -> None:
        request = self.request()
        for name, path in request.images.items():
            record = run_here("predict", path, request.params, name=name, on_change=lambda _: None)
            assert record.status == "done", record.fields
            service.fetch(record, self.results)
            service.forget_files(record)


@pytest.fixture
def site(tmp_path: Path, outside: Adapters) -> Site:
    site = Site(tmp_path)
    site.run()
    assert list(outside.storage.list()) == []
    return site


def test_results_of_the_same_images_and_parameters_are_found(site: Site) -> None:
    there = results_there(site.request())
    assert list(there) == ["a.tif", "photos.zip"]
    one, archive = there.values()
    assert (one.status, one.there, one.counts) == ("done", True, {"cells": CELLS})
    assert archive.counts == {"cells": CELLS}
    assert (one.reason, archive.reason) == ("", "1 of its 2 files failed, see failures.csv.")
    for outcome in (one, archive):
        assert outcome.files
        assert all(Path(file).is_file() for file in outcome.files)
    assert str(site.results / "photos" / "x" / "a_labels.ome.tif") in archive.files
    assert (site.results / "photos" / "failures.csv").is_file()


SPOIL: dict[str, Callable[[Site], Any]] = {
    "another image": lambda site: (site.folder / "a.tif").write_bytes(TIFF[:-1] + b"?"),
    "a longer image": lambda site: (site.folder / "a.tif").write_bytes(TIFF + b"?"),
    "a file is gone": lambda site: (site.results / "a_labels.ome.tif").unlink(),
    "a file is cut": lambda site: (site.results / "a_cells.csv").write_bytes(b""),
    "no record": lambda site: (site.results / "a_job.json").unlink(),
    "half a record": lambda site: (site.results / "a_job.json").write_text("{"),
    "another kind of record": lambda site: (site.results / "a_job.json").write_text("[1]"),
    "a record of less": lambda site: (site.results / "a_job.json").write_text('{"job": {}}'),
    "of another job type": lambda site: changed(site.results / "a_job.json"),
}


def changed(record: Path) -> None:
    fields = json.loads(record.read_bytes())
    fields["job"]["type"] = "track"
    record.write_text(json.dumps(fields))


@pytest.mark.parametrize("what", SPOIL)
def test_results_that_are_not_those_asked_for(site: Site, what: str) -> None:
    SPOIL[what](site)
    assert list(results_there(site.request())) == ["photos.zip"]


def test_an_image_that_cannot_be_read_has_no_results(site: Site) -> None:
    (site.folder / "a.tif").unlink()
    assert list(results_there(site.request())) == ["photos.zip"]


def test_results_of_other_parameters_are_not_those_asked_for(site: Site) -> None:
    assert results_there(site.request(min_size=11)) == {}
    assert results_there(site.request(mpp=0.65)) == {}


def test_a_result_may_not_leave_its_folder(outside: Adapters, tmp_path: Path) -> None:
    outside.storage.put("output/1/x.zip", zipped({"../evil": b"x"}))
    record = Record("1", {"output_file_name": "output/1/x.zip"})
    with pytest.raises(Exception, match="leaves the archive"):
        service.fetch(record, tmp_path / "results")
    assert not (tmp_path / "evil").exists()
    assert list((tmp_path / "results").iterdir()) == []


def test_a_result_is_named_as_its_input_is(outside: Adapters, tmp_path: Path) -> None:
    outside.storage.put("output/1/x.zip", zipped({"1:2_cells.csv": b"x"}))
    record = Record("1", {"output_file_name": "output/1/x.zip"})
    assert service.fetch(record, tmp_path) == [tmp_path / "1:2_cells.csv"]


def test_a_result_may_have_folders(outside: Adapters, tmp_path: Path) -> None:
    outside.storage.put("output/1/x.zip", zipped({"a/": b"", "a/b.txt": b"x"}))
    record = Record("1", {"output_file_name": "output/1/x.zip"})
    assert service.fetch(record, tmp_path / "results") == [tmp_path / "results" / "a" / "b.txt"]


def test_a_result_that_is_no_archive_is_one_file(outside: Adapters, tmp_path: Path) -> None:
    outside.storage.put("output/1/count.txt", b"4")
    record = Record("1", {"output_file_name": "output/1/count.txt"})
    assert service.fetch(record, tmp_path / "results") == [tmp_path / "results" / "count.txt"]
    assert (tmp_path / "results" / "count.txt").read_bytes() == b"4"


def outcome(name: str, *, there: bool = False, reason: str = "", **counts: int) -> Outcome:
    failed = reason.startswith("broken")
    status = "failed" if failed else "done"
    return Outcome(name, "", status, 1.0, 2.0, counts, reason, (), {}, there)


def shown(outcomes: list[Outcome]) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(summary_table(outcomes, seconds=2.0))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_table_has_what_the_jobs_have_counted() -> None:
    text = shown(
        [
            outcome("a.tif", cells=3, spots=40),
            outcome("b.tif", spots=2),
            outcome("c.tif", there=True, spots=1),
            outcome("d.tif", reason="broken."),
        ]
    )
    head, *_ = text.splitlines()[1:]
    assert [word.strip() for word in head.split("┃") if word.strip()] == [
        *("image", "result", "cells", "spots", "seconds", "MB/s")
    ]
    assert "done before" in text
    assert "done before: 1 of its 9 files failed." in shown(
        [outcome("e.zip", there=True, reason="1 of its 9 files failed.")]
    )
    assert "failed: broken." in text
    footer = text.splitlines()[-2].replace("│", " ").split()
    assert " ".join(footer) == "4 images 3 done 3 43 2.00 3.00"  # of 6 MB that were done now


def test_the_table_has_no_column_for_what_nobody_counted() -> None:
    assert "cells" not in shown([outcome("a.tif")])


class Bench:
    """A queue without a worker: its jobs end when the test says so."""

    def __init__(self, broker: Broker, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.ledger = Ledger(broker.client, prefix=broker.prefix, expires_s=60)
        self.outside = fake_adapters(ledger=self.ledger)
        self.open: list[str] = []
        self.most_open = 0
        self.interrupted_by = ""
        patch.setattr(batch, "IN_FLIGHT", 3)
        patch.setattr(service, "_POLL_S", 0.0)
        patch.setattr(service, "adapters", lambda: self.outside)
        patch.setattr(service, "submit_file", self._submit)
        patch.setattr(service, "cancel", self._cancel)
        paths = {f"{n}.tif": folder / f"{n}.tif" for n in range(8)}
        for path in paths.values():
            path.write_bytes(b"x")
        self.request = Request("predict", {}, paths, folder / "out")

    def _submit(self, name_of_type: str, path: Path, fields: Any, *, name: str, job_id: str) -> Any:
        given = {**fields, "input_file_name": f"uploads/{path.name}", "original_name": name}
        job = new_job(find(name_of_type), given, job_id=job_id)
        self.outside.storage.put(job.source.input_file_name, path.read_bytes())
        self.ledger.submit(job, lane="predict:6")
        self.open.append(job.id)
        self.most_open = max(self.most_open, len(self.open))
        if path.name == self.interrupted_by:
            raise KeyboardInterrupt
        return job

    def _cancel(self, job_id: str) -> None:
        self.ledger.finish(job_id, Status.CANCELLED, {})

    def end_newest(self) -> None:
        job = self.open.pop()
        name = self.ledger.record(job).fields["original_name"]
        self.outside.storage.put(f"output/{job}/x.zip", zipped({f"{name}.txt": b"result"}))
        self.ledger.finish(job, Status.DONE, {"output_file_name": f"output/{job}/x.zip"})


@pytest.fixture
def bench(broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(broker, tmp_path, monkeypatch)


QUIET = Console(file=io.StringIO(), quiet=True)


def test_only_so_many_are_in_flight_and_each_result_comes_at_once(bench: Bench) -> None:
    written: list[int] = []

    def check() -> None:
        written.append(len(list(bench.request.output.glob("*.txt"))))
        if bench.open:
            bench.end_newest()

    outcomes = batch.run_queued(bench.request, QUIET, check)
    assert bench.most_open == 3
    assert written == list(range(9))
    assert [outcome.image for outcome in outcomes] == [f"{n}.tif" for n in range(8)]
    assert {outcome.status for outcome in outcomes} == {"done"}
    assert list(bench.outside.storage.list()) == []


def test_an_interrupt_cancels_what_is_in_flight(bench: Bench) -> None:
    def check() -> None:
        if len(list(bench.request.output.glob("*.txt"))) == 2:
            raise KeyboardInterrupt
        bench.end_newest()

    with pytest.raises(batch.Interrupted) as told:
        batch.run_queued(bench.request, QUIET, check)
    assert told.value.done == 2
    assert bench.ledger.open_count() == 0
    assert list(bench.outside.storage.list()) == []


def test_an_interrupt_while_a_job_is_submitted_cancels_it_too(bench: Bench) -> None:
    bench.interrupted_by = "1.tif"
    with pytest.raises(batch.Interrupted):
        batch.run_queued(bench.request, QUIET, None)
    assert len(bench.open) == 2
    assert bench.ledger.open_count() == 0


def test_an_image_that_has_gone_does_not_stop_the_others(bench: Bench) -> None:
    (bench.request.images["1.tif"]).unlink()

    def check() -> None:
        if bench.open:
            bench.end_newest()
        (bench.request.images["0.tif"]).unlink(missing_ok=True)  # it has been sent

    outcomes = batch.run_queued(bench.request, QUIET, check)
    assert [outcome.status for outcome in outcomes] == ["done", "failed", *["done"] * 6]
    assert "1.tif cannot be read: No such file or directory." in outcomes[1].reason


@pytest.mark.usefixtures("outside")
def test_an_image_that_has_gone_does_not_stop_the_others_here(tmp_path: Path) -> None:
    images = {name: tmp_path / name for name in ("gone.tif", "a.tif")}
    images["a.tif"].write_bytes(TIFF)
    request = Request("predict", {}, images, tmp_path / "out")
    gone, done = batch.run_here_one_by_one(request, QUIET)
    assert (gone.status, done.status) == ("failed", "done")


def test_a_result_that_cannot_be_written_is_left_in_a_bucket_that_stays(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.request.output.write_bytes(b"a file, where the folder should be")
    only = dict(list(bench.request.images.items())[:1])
    request = Request("predict", {}, only, bench.request.output)
    say_done = service.watch

    def watch(jobs: Any) -> Any:
        bench.end_newest()
        return say_done(jobs)

    monkeypatch.setattr(service, "watch", watch)
    (outcome,) = batch.run_queued(request, QUIET, None)
    (left,) = bench.outside.storage.list()
    assert outcome.status == "failed"
    assert outcome.reason.endswith(f"It is still in the bucket, as {left}.")


def test_what_is_in_flight_is_cancelled_when_no_more_can_be_sent(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **more: Any) -> Any:
        if len(bench.open) == 2:
            raise StorageFull("the bucket is full.")
        return bench._submit(*args, **more)

    monkeypatch.setattr(service, "submit_file", full)
    with pytest.raises(StorageFull):
        batch.run_queued(bench.request, QUIET, None)
    assert len(bench.open) == 2
    assert bench.ledger.open_count() == 0
    assert list(bench.outside.storage.list()) == []
