"""Archives in this process: the files of a zip become children, their results one archive."""

from __future__ import annotations

import csv
import json
import stat
import zipfile
from collections.abc import Mapping
from io import BytesIO, StringIO
from typing import Any
from urllib.parse import parse_qsl
from zipfile import ZipInfo

import pytest

from kiosk_tasks import jobs
from kiosk_tasks.archive_jobs import archive_of, is_archive
from kiosk_tasks.errors import (
    ArchiveTooLarge,
    InvalidParameter,
    KioskError,
    UnknownModel,
    UnreadableArchive,
)
from kiosk_tasks.job import JobType, Limits, new_job
from kiosk_tasks.jobs import find, find_for
from kiosk_tasks.run.local import MemoryReporter, run_local
from kiosk_tasks.wiring import Adapters
from tests.fakes import fake_adapters, tiff_bytes
from tests.synthetic import draw_nuclei
from tests.unit.imaging.zips import zipped

IMAGE, TRUTH = draw_nuclei((96, 96), count=4, seed=8)
TIFF = tiff_bytes(IMAGE)
CELLS = str(int(TRUTH.max()))


class Archive:
    """What a local run of an archive left."""

    def __init__(self, files: Mapping[str, bytes] | bytes, **fields: Any) -> None:
        data = files if isinstance(files, bytes) else zipped(dict(files))
        self.outside: Adapters = fake_adapters(limits=fields.pop("limits", None), key=data)
        given = {"input_file_name": "key", "original_name": "photos.zip", **fields}
        job_type = find_for("predict", given)
        self.report = MemoryReporter()
        job = new_job(job_type, given)
        self.error: KioskError | None = None
        self.answer: dict[str, Any] = {}
        try:
            self.answer = run_local(job, given=self.outside, report=self.report)
        except KioskError as exc:
            self.error = exc

    @property
    def files(self) -> dict[str, bytes]:
        packed = self.outside.storage.get(self.answer["output_file_name"])
        with zipfile.ZipFile(BytesIO(packed)) as archive:
            assert len(set(archive.namelist())) == len(archive.namelist())
            return {name: archive.read(name) for name in archive.namelist()}

    def table(self, name: str) -> list[dict[str, str]]:
        return list(csv.DictReader(StringIO(self.files[name].decode())))

    @property
    def inputs(self) -> set[str]:
        """The inputs that there are results of, as the results are called."""
        end = "_labels.ome.tif"
        return {name.removesuffix(end) for name in self.files if name.endswith(end)}


def test_every_file_of_an_archive_is_done() -> None:
    done = Archive({"a/b.tif": TIFF, "c/b.tif": TIFF, "root.tif": TIFF})
    assert done.inputs == {"a/b", "c/b", "root"}
    assert set(done.files) == {
        *(f"{one}_{end}" for one in done.inputs for end in ENDS),
        "summary.csv",
        "photos_job.json",
    }
    rows = done.table("summary.csv")
    assert [(row["file"], row["result"], row["cells"]) for row in rows] == [
        ("a/b.tif", "done", CELLS),
        ("c/b.tif", "done", CELLS),
        ("root.tif", "done", CELLS),
    ]
    assert all(float(row["seconds"]) > 0 for row in rows)
    record = json.loads(done.files["photos_job.json"])
    assert (record["files"], record["failed"], record["cells"]) == (3, 0, 3 * int(CELLS))
    assert record["input"]["name"] == "photos.zip"
    assert record["outputs"]["a/b_labels.ome.tif"]["bytes"] > 0
    assert set(done.answer) == {"output_file_name", "output_url"}


ENDS = ("labels.ome.tif", "overlay.png", "cells.csv", "cells.geojson", "rois.zip", "job.json")


def test_nothing_but_input_and_result_is_left() -> None:
    done = Archive({"a.tif": TIFF, "b.tif": b"no image"})
    assert sorted(done.outside.storage.list()) == sorted(["key", done.answer["output_file_name"]])


def test_parameters_reach_every_file() -> None:
    done = Archive({"a.tif": TIFF}, min_size=20, mpp=0.65)
    record = json.loads(done.files["a_job.json"])
    assert (record["parameters"]["min_size"], record["parameters"]["mpp"]) == (20, 0.65)
    assert record["input"]["name"] == "a.tif"


def test_files_that_fail_are_named_and_the_rest_is_done() -> None:
    done = Archive(
        {"good.tif": TIFF, "no/image.tif": b"II*\0 and no more", "inner.zip": zipped({"x": TIFF})}
    )
    assert done.inputs == {"good"}
    reasons = {row["file"]: row["reason"] for row in done.table("failures.csv")}
    assert set(reasons) == {"no/image.tif", "inner.zip"}
    assert "is an archive itself" in reasons["inner.zip"]
    results = {row["file"]: row["result"] for row in done.table("summary.csv")}
    assert results == {"good.tif": "done", "no/image.tif": "failed", "inner.zip": "failed"}
    assert dict(parse_qsl(done.answer["failures"])) == reasons
    assert done.report.notes()["failed"] == 2


def test_failures_in_the_record_are_bounded() -> None:
    files = {f"{number:04d}{'x' * 50}.tif": b"" for number in range(400)}
    done = Archive({"good.tif": TIFF, **files})
    assert len(done.answer["failures"]) < 2**14 + 100
    *_, (mark, rest) = parse_qsl(done.answer["failures"])
    told = len(parse_qsl(done.answer["failures"])) - 1
    assert (mark, rest) == ("…", f"{400 - told} more, see failures.csv")
    assert len(done.table("failures.csv")) == 400


def test_what_systems_leave_in_archives_is_left_out() -> None:
    clutter = ("__MACOSX/._a.tif", ".DS_Store", "a/Thumbs.db", "desktop.ini", "folder/")
    done = Archive({"a.tif": TIFF, **dict.fromkeys(clutter, b"")})
    assert [row["file"] for row in done.table("summary.csv")] == ["a.tif"]
    assert "failures.csv" not in done.files


@pytest.mark.parametrize(
    "names",
    [
        ("b.tif", "b.png", "b-2.tif"),
        ("photos.tif", "summary.tif", "failures.tif"),
        tuple(f"{'x' * 160}{number}.tif" for number in range(3)),
        tuple(f"{'核' * 60}{number}.tif" for number in range(3)),
    ],
)
def test_results_of_files_of_one_name_have_numbers(names: tuple[str, ...]) -> None:
    done = Archive(dict.fromkeys(names, TIFF))
    assert len({one.casefold() for one in done.inputs}) == len(names)
    assert len(done.files) == len(ENDS) * len(names) + 2
    assert len({name.casefold() for name in done.files}) == len(done.files)


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({}, "photos.zip holds no file to work on"),
        ({"__MACOSX/._a.tif": b"x"}, "photos.zip holds no file to work on"),
        (
            {"a.zip": zipped({"x.tif": TIFF}), "b.zip": zipped({"y.tif": TIFF})},
            "none of the 2 files in photos.zip could be used; the first: a.zip in photos.zip is an "
            "archive itself; send its files instead.",
        ),
        ({"a.zip": zipped({"x.tif": TIFF})}, "the one file in photos.zip could not be used: a.zip"),
        ({"a.tif": b"no", "b.tif": b"image"}, "none of the 2 files in photos.zip could be used"),
        (b"PK\3\4 but no zip", "photos.zip"),
        (zipped({"a.tif": TIFF})[:-30], "photos.zip"),
    ],
)
def test_archives_of_which_nothing_can_be_done(
    files: Mapping[str, bytes] | bytes, sentence: str
) -> None:
    failed = Archive(files)
    assert isinstance(failed.error, UnreadableArchive)
    assert sentence in str(failed.error)
    assert "\n" not in str(failed.error)
    assert list(failed.outside.storage.list()) == ["key"]


def test_links_and_names_that_leave_the_archive_are_refused() -> None:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("good.tif", TIFF)
        archive.writestr("../../evil.tif", TIFF)
        link = ZipInfo("link.tif")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    done = Archive(buffer.getvalue())
    reasons = [row["reason"] for row in done.table("failures.csv")]
    assert "leaves the archive" in reasons[0]
    assert "is a link" in reasons[1]
    assert not [name for name in done.files if ".." in name]


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(max_archive_members=2), "this queue takes 2"),
        (Limits(max_archive_bytes=1000), "once unpacked"),
    ],
)
def test_limits_hold_before_anything_is_unpacked(limits: Limits, words: str) -> None:
    failed = Archive(dict.fromkeys(("a.tif", "b.tif", "c.tif"), TIFF), limits=limits)
    assert isinstance(failed.error, ArchiveTooLarge)
    assert words in str(failed.error)
    assert failed.report.seconds == {}


def test_model_that_is_not_served_is_said_before_anything_is_unpacked() -> None:
    failed = Archive({"a.tif": TIFF}, model_name="Nobody")
    assert isinstance(failed.error, UnknownModel)


def test_parameters_are_those_of_the_job_type() -> None:
    with pytest.raises(InvalidParameter, match="did you mean 'min_size'"):
        Archive({"a.tif": TIFF}, min_siz=3)


@pytest.mark.parametrize(
    ("names", "archive"),
    [
        ({"input_file_name": "uploads/1/x.zip"}, True),
        ({"input_file_name": "uploads/1/x", "original_name": "X.ZIP"}, True),
        ({"input_file_name": "uploads/1/x.zip.tif", "original_name": ""}, False),
        ({}, False),
    ],
)
def test_archives_are_known_by_name(names: dict[str, str], archive: bool) -> None:
    assert is_archive(names) is archive
    assert find_for("image", names).name == ("predict-zip" if archive else "predict")


def test_the_job_type_of_archives_is_derived() -> None:
    declared, twin = find("predict"), find("predict-zip")
    assert twin is find("segmentation-zip") is archive_of(declared)
    assert (twin.queue, twin.params, twin.fans_out) == (declared.queue, declared.params, True)
    assert "predict-zip" not in jobs.job_types()
    assert jobs.task_types()["predict-zip"] is twin
    assert find_for("predict-zip", {"input_file_name": "no-zip.tif"}) is twin


def test_a_job_type_may_read_archives_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    base = find("predict")
    own = JobType("own", "Own", "own", base.params, base.stages, reads_archives=True)
    monkeypatch.setattr(jobs, "declared", lambda: {"own": own})
    assert find_for("own", {"input_file_name": "x.zip"}) is find("own-zip") is own
    assert "own-zip" not in jobs.task_types()


def test_odd_names_are_their_own_affair() -> None:
    done = Archive({"good.tif": TIFF, ".": TIFF, "..tif": TIFF, "a/...tif": TIFF, "x/.": TIFF})
    assert "good" in done.inputs
    rows = {row["file"]: row["result"] for row in done.table("summary.csv")}
    assert rows.pop("good.tif") == "done"
    assert {rows["."], rows["x/."]} == {"failed"}
    assert len(rows) == 4
