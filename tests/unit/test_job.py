"""What clients send becomes a job, or a sentence that says why not."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import Field, field_validator

from kiosk_tasks.errors import InvalidParameter
from kiosk_tasks.job import ImageParams, JobType, Params, Stage, Status, new_job, stage


class ToyParams(ImageParams):
    channel: int | None = Field(None, ge=0)
    even: int = 0

    @field_validator("even")
    @classmethod
    def _is_even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("an even number")
        return value


def download(value: Any, _ctx: Any) -> Any:
    return value


def postprocess(value: Any, _ctx: Any) -> Any:
    return value


def job_type(**changes: Any) -> JobType[Any]:
    fields: dict[str, Any] = {
        "name": "toy",
        "title": "Toy",
        "queue": "toy",
        "params": ToyParams,
        "stages": (download, postprocess),
    }
    return JobType(**{**fields, **changes})


INPUT = {"input_file_name": "uploads/a.tif"}


def test_job_of_valid_fields() -> None:
    job = new_job(job_type(), {**INPUT, "channel": "2", "mpp": 0.5, "axes": "CYX"})
    assert job.type_name == "toy"
    assert job.source.name == "a.tif"
    assert job.params == ToyParams(channel=2, mpp=0.5, axes="CYX")
    assert len(job.id) == 32
    assert job.created_at.endswith("+00:00")
    assert new_job(job_type(), INPUT, job_id="mine").id == "mine"


def test_empty_strings_and_none_mean_not_given() -> None:
    fields = {"original_name": "", "channel": "", "mpp": None, "model_name": "", "even": ""}
    assert new_job(job_type(), {**INPUT, **fields}).params == ToyParams()


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"chanel": 1}, "job type \"toy\" has no parameter 'chanel'; did you mean 'channel'?"),
        ({"qqq": 1}, "it takes axes, channel, even, input_file_name,"),
        ({"input_file_name": ""}, "job type \"toy\" needs the parameter 'input_file_name'."),
        ({"mpp": -1}, "parameter 'mpp' is -1, but should be greater than 0."),
        ({"channel": "two"}, "parameter 'channel' is 'two', but should be a valid integer,"),
        ({"axes": "Y X"}, "parameter 'axes' is 'Y X', but should match pattern"),
        ({"model_version": 0}, "parameter 'model_version' is 0, but should be greater than or"),
        ({"even": 3}, "parameter 'even' is 3, but should be an even number."),
        ({"original_name": 5}, "parameter 'original_name' is 5, but should be a valid string."),
    ],
)
def test_sentence_names_the_parameter(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidParameter) as told:
        new_job(job_type(), {**INPUT, **fields})
    assert sentence in str(told.value)


def test_parameters_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        new_job(job_type(), INPUT).params.mpp = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("original", "name"),
    [
        ("", "a.tif"),
        ("my image.tif", "my image.tif"),
        ("folder/my image.tif", "my image.tif"),
        ("C:\\lab\\my image.tif", "my image.tif"),
    ],
)
def test_name_a_person_knows(original: str, name: str) -> None:
    assert new_job(job_type(), {**INPUT, "original_name": original}).source.name == name


@pytest.mark.parametrize("name", ["", "Toy", "1toy", "to y", "to-y", "toy.x"])
def test_names_that_no_queue_can_have(name: str) -> None:
    with pytest.raises(ValueError, match="lower-case"):
        job_type(name=name)
    with pytest.raises(ValueError, match="lower-case"):
        job_type(queue=name)


@pytest.mark.parametrize("stages", [(), (download, download), (download, stage(download))])
def test_stages_need_names_of_their_own(stages: Any) -> None:
    with pytest.raises(ValueError, match="each with a name of its own"):
        job_type(stages=stages)


def test_stage_of_a_function() -> None:
    assert stage(postprocess) == Stage("postprocess", postprocess, Status.POSTPROCESSING)
    assert stage(download, name="own", queue="cpu") == Stage("own", download, None, "cpu")
    assert [step.name for step in job_type().steps] == ["download", "postprocess"]


def test_terminal_words() -> None:
    assert {status for status in Status if status.terminal} == {"done", "failed", "cancelled"}


def test_params_keep_what_is_not_a_mapping_out() -> None:
    with pytest.raises(ValueError, match="valid dictionary"):
        Params.model_validate("text")
