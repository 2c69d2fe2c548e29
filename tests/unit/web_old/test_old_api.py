"""What the old frontend's API means: submissions as jobs, and what clients read of them."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kiosk_tasks.bridge import job_id_of
from kiosk_tasks.errors import InvalidKey, InvalidParameter, UnknownJobType, UserError
from kiosk_tasks.job import Job
from kiosk_tasks.ledger import Record
from kiosk_tasks.signed_links import Signer
from kiosk_tasks.web.old_api import (
    _FROM_BODY,
    _FROM_FORM,
    RETRY_WINDOW_S,
    event_of,
    id_of,
    job_for,
    told,
)

UPLOAD = f"uploads/{'0' * 32}/cells.tif"
BUCKET = "s3://bucket"
SUBMISSION = {"jobType": "segmentation", "imageName": "cells.tif", "uploadedName": UPLOAD}


LINKS = Signer("secret", seconds=60)


class FakeLedger:
    """Records that a test puts there."""

    def __init__(self) -> None:
        self.known: dict[str, Record] = {}

    def records(self, job_ids: Collection[str]) -> list[Record]:
        return [self.known[job_id] for job_id in job_ids if job_id in self.known]

    def add(self, job: Job, status: str, *, ended_s_ago: float = 0.0) -> None:
        ended = datetime.now(UTC) - timedelta(seconds=ended_s_ago)
        fields = {"status": status, "finished_at": ended.isoformat()}
        self.known[job.id] = Record(job.id, fields)


@pytest.fixture
def ledger() -> FakeLedger:
    return FakeLedger()


def submitted(ledger: Any = None, *, user: str = "", **changed: Any) -> tuple[str, Job]:
    known: Any = ledger or FakeLedger()
    body = {**SUBMISSION, **changed}
    return job_for(body, ledger=known, bucket_url=BUCKET, user=user)


@pytest.mark.parametrize(
    ("sent", "type_name", "params"),
    [
        ({}, "predict", {}),
        ({"jobType": "image"}, "predict", {}),
        ({"jobType": "tracking"}, "track", {}),
        ({"jobType": "caliban"}, "track", {}),
        ({"jobType": "multiplex"}, "mesmer", {}),
        ({"jobType": "spots"}, "spot", {}),
        ({"jobType": "polaris"}, "polaris", {}),
        ({"jobType": "segmentation-zip"}, "predict-zip", {}),
        ({"imageName": "many.ZIP"}, "predict-zip", {}),
        ({"modelName": "M", "modelVersion": 3}, "predict", {"model_name": "M", "model_version": 3}),
        ({"modelName": "", "modelVersion": "2"}, "predict", {"model_version": 2}),
        ({"dataRescale": 0.5, "dataLabel": 1}, "predict", {"scale": 0.5, "label": 1}),
        ({"dataRescale": "", "dataLabel": 0}, "predict", {"label": 0}),
        ({"dataRescale": False, "dataLabel": None}, "predict", {}),
        ({"preprocessFunction": "none"}, "predict", {"preprocess": "none"}),
        ({"postprocessFunction": "watershed"}, "predict", {"postprocess": "watershed"}),
        ({"cuts": "3", "somethingElse": {"a": [1]}}, "predict", {}),
        (
            {"jobForm": {"dimensionOrder": "XYC", "scale": "2"}},
            "predict",
            {"axes": "YXC", "scale": 2},
        ),
        ({"jobForm": {"scale": ""}, "dataRescale": 3}, "predict", {"scale": 3}),
        ({"jobForm": "no form"}, "predict", {}),
        (
            {"jobType": "mesmer", "jobForm": {"selectedChannels": [1, 0]}},
            "mesmer",
            {"channels": "1,0"},
        ),
        ({"jobForm": {"selectedChannels": [None, 2, None]}}, "predict", {"channels": ",2,"}),
        ({"jobForm": {"selectedChannels": "0,,"}}, "predict", {"channels": "0,,"}),
        ({"jobType": "tracking", "jobForm": {"selectedChannels": [1]}}, "track", {"channel": 1}),
        (
            {"jobType": "polaris", "jobForm": {"segmentationType": "cell culture"}},
            "polaris",
            {"segmentation_type": "cell culture"},
        ),
    ],
)
def test_submission(sent: dict[str, Any], type_name: str, params: dict[str, Any]) -> None:
    key, job = submitted(**sent)
    assert job.type_name == type_name
    assert job.params.model_dump(exclude_defaults=True) == params
    assert job.source.input_file_name == UPLOAD
    assert job.id == job_id_of(key) == id_of(key)


@pytest.mark.parametrize(
    ("sent", "error", "sentence"),
    [
        ({"jobType": ""}, InvalidParameter, "no 'jobType'"),
        ({"imageName": None}, InvalidParameter, "no 'imageName'"),
        ({"jobType": "washing"}, UnknownJobType, '"washing"'),
        ({"modelVersion": "newest"}, InvalidParameter, "'model_version' is 'newest'"),
        ({"dataRescale": 99}, InvalidParameter, "'scale' is '99'"),
        ({"dataLabel": {"a": 1}}, InvalidParameter, "'dataLabel' should be"),
        ({"dataLabel": True}, InvalidParameter, "'dataLabel' should be"),
        ({"uploadedName": "s3://other/x.tif"}, InvalidKey, "reads 'bucket'"),
        ({"uploadedName": "uploads/../../x.tif"}, InvalidKey, "'..'"),
        ({"imageName": "\ud800.tif"}, InvalidParameter, "no text"),
    ],
)
def test_submission_that_cannot_be_a_job(
    sent: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        submitted(**sent)


@pytest.mark.parametrize(
    ("sent", "key"),
    [
        ({"uploadedName": None, "imageName": "abc/x.tif"}, "uploads/abc/x.tif"),
        ({"uploadedName": "", "imageName": "uploads/x.tif"}, "uploads/x.tif"),
        ({"uploadedName": "", "imageUrl": "https://host/bucket/uploads/y.tif"}, "uploads/y.tif"),
        ({"uploadedName": "uploads/../http:/host/bucket/uploads/z.tif"}, "uploads/z.tif"),
        (
            {"uploadedName": "", "imageUrl": f"https://k.org{LINKS.plain_path('uploads/µ 1.tif')}"},
            "uploads/µ 1.tif",
        ),
    ],
)
def test_where_the_input_is(sent: dict[str, Any], key: str) -> None:
    assert submitted(**sent)[1].source.input_file_name == key


def test_the_key_is_one_that_a_frontend_would_have_written() -> None:
    key, job = submitted(imageName="a/cells.zip")
    queue, name, last = key.split(":")
    assert (queue, name, len(last)) == ("segmentation-zip", "cells.zip", 36)
    assert job.source.name == "cells.zip"
    assert event_of({**SUBMISSION, "imageName": "cells.zip"})[0] == "segmentation-zip"


def test_the_same_submission_is_the_same_job(ledger: FakeLedger) -> None:
    key, job = submitted(ledger)
    for status in ("new", "started", "done", "failed", "cancelled"):
        ledger.add(job, status)
        assert submitted(ledger)[0] == key
    ledger.add(job, "done", ended_s_ago=10 * RETRY_WINDOW_S)
    assert submitted(ledger)[0] == key


@pytest.mark.parametrize(
    "changed",
    [
        {"uploadedName": f"uploads/{'1' * 32}/cells.tif"},
        {"jobType": "tracking"},
        {"modelVersion": "2"},
        {"dataLabel": 1},
        {"jobForm": {"scale": 2}},
        {"user": "bob"},
    ],
)
def test_another_submission_is_another_job(changed: dict[str, Any]) -> None:
    assert submitted(**changed)[1].id != submitted()[1].id


def test_what_says_nothing_makes_no_other_job() -> None:
    assert submitted(dataLabel="", cuts=None, unheard="of")[1].id == submitted()[1].id


def test_one_that_failed_a_while_ago_is_begun_anew(ledger: FakeLedger) -> None:
    ids = set()
    for status in ("failed", "cancelled", "failed"):
        _key, job = submitted(ledger)
        ids.add(job.id)
        ledger.add(job, status, ended_s_ago=RETRY_WINDOW_S + 1)
    assert len(ids) == 3


def test_a_file_that_was_not_uploaded_here_is_another_job_each_time(ledger: FakeLedger) -> None:
    """As the Python client's benchmark mode asks for."""
    keys = {submitted(ledger, uploadedName="uploads/mine.tif")[0] for _ in range(3)}
    assert len(keys) == 3


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
names = st.sampled_from(["segmentation", "mesmer-zip", "x.tif", "uploads/x", "s3://bucket/k"])
values = names | leaves | st.lists(leaves, max_size=3)
forms = st.dictionaries(st.sampled_from([*_FROM_FORM, "x"]), values, max_size=3)
submissions = st.dictionaries(
    st.sampled_from([*_FROM_BODY, "jobType", "imageName", "uploadedName", "imageUrl", "jobForm"]),
    values | forms,
    max_size=6,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(submissions)
def test_any_json_is_a_job_or_told_why_not(body: dict[str, Any]) -> None:
    ledger: Any = FakeLedger()
    given_type = {"jobType": "image", "imageName": "x.tif", **body}
    for one in (body, given_type):
        try:
            key, job = job_for(one, ledger=ledger, bucket_url=BUCKET, user="")
        except UserError as exc:
            str(exc).encode()  # it can be told
        else:
            assert job.id == id_of(key)
            assert len(job.source.name.encode()) <= 255


PARAMS = {"label": 1, "axes": "YX", "preprocess": "none", "input_file_name": "uploads/x.tif"}
FIELDS = {
    **{"status": "done", "progress": "100", "created_at": "then", "token": "secret"},
    **{"params": json.dumps(PARAMS), "prediction_time": "0.5000", "output_url": "file:///srv/x"},
}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("status", "done"),
        ("progress", "100"),
        ("created_at", "then"),
        ("prediction_time", "0.5000"),
        ("label", "1"),
        ("dimension_order", "YX"),
        ("preprocess_function", "none"),
        ("postprocess_function", None),
        ("output_url", "http://here/x.zip"),
        ("job_id", "a1"),
        ("reason", None),
        ("total_jobs", None),
        ("token", None),
        ("params", None),
        ("", None),
    ],
)
def test_what_a_client_reads(field: str, value: str | None) -> None:
    assert told(Record("a1", FIELDS), field, output_url="http://here/x.zip") == value


def test_a_cancelled_job_ends_for_clients_that_wait_for_done_or_failed() -> None:
    record: Any = SimpleNamespace(id="a1", status=Record("a1", {"status": "cancelled"}).status)
    assert told(record, "status", output_url=None) == "failed"
    assert id_of("a1") == "a1"
