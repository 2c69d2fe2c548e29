"""How stages are cut into links."""

from __future__ import annotations

from typing import Any

import pytest

from kiosk_tasks.errors import InvalidParameter
from kiosk_tasks.job import JobType, Params, Stage, stage
from kiosk_tasks.jobs import find
from kiosk_tasks.run.links import Link, plan_links, queue_names


def _same(value: Any, _ctx: Any) -> Any:
    return value


def job_type(name: str = "toy", **queues: str) -> JobType[Any]:
    names = ("download", "predict", "postprocess", "upload")
    stages = tuple(stage(_same, name=one, queue=queues.get(one)) for one in names)
    return JobType(name, "Toy", "main", Params, stages)


@pytest.mark.parametrize(
    ("declared", "chosen", "links"),
    [
        ({}, {}, [(0, 4, "main")]),
        ({}, {"postprocess": "cpu"}, [(0, 2, "main"), (2, 3, "cpu"), (3, 4, "main")]),
        ({}, {"toy.upload": "io"}, [(0, 3, "main"), (3, 4, "io")]),
        ({}, {"upload": "cpu", "toy.upload": "io"}, [(0, 3, "main"), (3, 4, "io")]),
        ({}, {"other.upload": "io"}, [(0, 4, "main")]),
        ({}, {"upload": "main"}, [(0, 4, "main")]),
        ({"download": "io"}, {}, [(0, 1, "io"), (1, 4, "main")]),
        ({"download": "io"}, {"download": "main"}, [(0, 4, "main")]),
        ({}, {"postprocess": "cpu", "upload": "cpu"}, [(0, 2, "main"), (2, 4, "cpu")]),
    ],
)
def test_neighbours_on_one_queue_are_a_link(
    declared: dict[str, str], chosen: dict[str, str], links: list[tuple[int, int, str]]
) -> None:
    planned = plan_links(job_type(**declared), stage_queues=chosen)
    assert planned == tuple(Link(*link) for link in links)


def test_a_stage_that_seldom_fans_out_ends_no_link() -> None:
    ends = {"fans_out": True}
    for more, links in (({"seldom": True}, [(0, 3)]), ({}, [(0, 2), (2, 3)])):
        steps = (stage(_same, name="a"), Stage("b", _same, **ends, **more), stage(_same, name="c"))
        planned = plan_links(JobType("toy", "Toy", "main", Params, steps))
        assert [(link.start, link.stop) for link in planned] == links


@pytest.mark.parametrize("name", ["predict", "mesmer"])
def test_an_ordinary_segmentation_is_one_message(name: str) -> None:
    assert plan_links(find(name)) == (Link(0, 5, name),)


def test_a_link_for_each_stage() -> None:
    links = plan_links(job_type(), mode="stage", stage_queues={"predict": "gpu"})
    assert [(link.start, link.stop) for link in links] == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert [link.queue for link in links] == ["main", "gpu", "main", "main"]


def test_stage_that_the_job_has_not() -> None:
    with pytest.raises(InvalidParameter, match=r'"toy\.postproces".*has download, predict'):
        plan_links(job_type(), stage_queues={"toy.postproces": "cpu"})


def test_every_queue_is_named_once() -> None:
    types = {"toy": job_type(download="io"), "other": job_type("other")}
    assert queue_names(types, {"upload": "cpu"}) == ("cpu", "io", "main")


@pytest.mark.parametrize("key", ["postproces", "nobody.upload", "toy.uplod"])
def test_names_that_no_job_type_has_are_refused(key: str) -> None:
    with pytest.raises(InvalidParameter, match=key):
        queue_names({"toy": job_type()}, {key: "cpu"})
