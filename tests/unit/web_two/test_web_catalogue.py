"""What a form is made of: units, ranges, choices and defaults of every job type's parameters."""

from __future__ import annotations

import re
from typing import Any, Literal

import pytest
from pydantic import Field

from kiosk_tasks.job import JobType, new_job
from kiosk_tasks.jobs import job_types
from kiosk_tasks.params import Params, form
from kiosk_tasks.web.catalogue import described, form_schema

NAMES = sorted(job_types())


class OddParams(Params):
    """Parameters of a job type of somebody else."""

    wanted: Literal["a", "b"] | None = Field(None, title="What is wanted")
    depth_um: float | None = Field(2.0, ge=0, lt=9, json_schema_extra=form(unit="µm"))
    either: int | str = Field("x", json_schema_extra=form(rare=True))
    must: int


ODD: JobType[Any] = JobType("odd", "Odd", "odd", OddParams, (print,))


def properties(name: str) -> dict[str, Any]:
    found: dict[str, Any] = form_schema(job_types()[name])["properties"]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_is_there_in_the_order_of_declaration(name: str) -> None:
    assert list(properties(name)) == list(job_types()[name].params.model_fields)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_can_be_drawn(name: str) -> None:
    for parameter, shape in properties(name).items():
        assert shape["type"] in ("string", "integer", "number", "boolean"), parameter
        assert shape["title"], parameter
        assert shape["description"], parameter
        assert "null" not in str(shape), parameter


@pytest.mark.parametrize("name", NAMES)
def test_a_description_that_names_a_unit_has_it_as_metadata(name: str) -> None:
    for parameter, shape in properties(name).items():
        said = re.search(r", (px²?)[.;]|(µm) per pixel", shape["description"])
        if said:
            assert shape["x-unit"] == (said[1] or "µm/px"), parameter


@pytest.mark.parametrize("name", NAMES)
def test_defaults_of_the_schema_are_a_job_that_is_taken(name: str) -> None:
    shown = {p: s["default"] for p, s in properties(name).items() if "default" in s}
    fields = {"input_file_name": "a.tif", **shown}
    assert new_job(job_types()[name], fields).params == job_types()[name].params()


def test_what_a_biologist_sets_first_is_not_hidden_and_what_few_need_is() -> None:
    shapes = properties("predict")
    rare = {name for name, shape in shapes.items() if shape.get("x-group") == "advanced"}
    assert {"mpp", "label", "channel", "min_size", "diameter"}.isdisjoint(rare)
    assert {"model_name", "model_version", "axes", "preprocess", "postprocess"} <= rare


def test_choices_by_number_have_words() -> None:
    label = properties("predict")["label"]
    assert dict(zip(label["enum"], label["x-enum-labels"], strict=True)) == {
        0: "nuclei",
        1: "cytoplasm",
        2: "phase contrast",
    }


def test_a_job_type_of_somebody_else_is_described_alike() -> None:
    schema = form_schema(ODD)
    assert schema["required"] == ["must"]
    assert schema["properties"]["wanted"] == {
        "title": "What is wanted",
        "type": "string",
        "enum": ["a", "b"],
    }
    depth = schema["properties"]["depth_um"]
    assert (depth["minimum"], depth["exclusiveMaximum"], depth["default"]) == (0, 9, 2.0)
    assert (depth["title"], depth["x-unit"]) == ("Depth um", "µm")
    assert [kind["type"] for kind in schema["properties"]["either"]["anyOf"]] == [
        "integer",
        "string",
    ]
    assert schema["properties"]["either"]["x-group"] == "advanced"


def test_archives_are_not_listed_but_accepted() -> None:
    shown = {one["name"]: one for one in described()}
    assert list(shown) == NAMES
    assert shown["track"]["accepts"] == [".tif", ".tiff", ".trk", ".trks", ".zip"]
    assert ".png" in shown["predict"]["accepts"]
    assert (shown["predict"]["mpp"], shown["mesmer"]["mpp"]) == (0.65, 0.5)
    assert "multiplex" in shown["mesmer"]["aliases"]
