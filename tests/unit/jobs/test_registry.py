"""Job types are found in the package's folder and in installed packages."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import kiosk_tasks
from kiosk_tasks import jobs
from kiosk_tasks.errors import UnknownJobType
from kiosk_tasks.run.links import queue_names

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Return a function that installs a job type from a package with one file."""

    def make(
        module: str, *, name: str, aliases: tuple[str, ...] = (), internal: bool = False
    ) -> None:
        code = f"""
            from kiosk_tasks.job import JobType, Params

            def only(value, ctx):
                return value

            job_type = JobType(
                {name!r}, "Mine", "my_queue", Params, (only,), {aliases!r}, internal={internal}
            )
        """
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(code))
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        entry = f"[{jobs.ENTRY_POINTS}]\n{name} = {module}:job_type\n"
        (info / "entry_points.txt").write_text(entry)

    monkeypatch.syspath_prepend(str(tmp_path))
    modules = set(sys.modules)
    fresh = ("celeryconfig", "kiosk_tasks.run.chain", "kiosk_tasks.run.task")

    def forget() -> None:
        jobs.declared.cache_clear()
        for name in (*fresh, *(name for name in set(sys.modules) - modules if "plugin" in name)):
            sys.modules.pop(name, None)

    forget()
    yield make
    forget()


def test_own_job_types_are_found_in_the_folder() -> None:
    jobs.declared.cache_clear()
    found = jobs.job_types()
    assert "predict" in found
    assert found["predict"].name == "predict"
    with pytest.raises(TypeError):
        found["other"] = found["predict"]  # type: ignore[index]


def test_alias_leads_to_the_same_job_type() -> None:
    assert jobs.find("image") is jobs.find("segmentation") is jobs.find("predict")


def test_archives_have_no_archives() -> None:
    assert jobs.find("predict-zip").name == "predict-zip"
    with pytest.raises(UnknownJobType, match='no job type "predict-zip-zip"'):
        jobs.find("predict-zip-zip")


def test_unknown_name_lists_those_that_there_are() -> None:
    with pytest.raises(UnknownJobType, match=r'no job type "predcit"; there are .*predict'):
        jobs.find("predcit")


def test_one_file_gives_task_queue_and_route(install: Install) -> None:
    install("plugin_one", name="mine", aliases=("older_name",))
    assert jobs.find("older_name").name == "mine"
    task = kiosk_tasks.mine
    assert task.name == "mine"
    assert "my_queue" in {queue.name for queue in kiosk_tasks.app.conf.task_queues}
    route = kiosk_tasks.app.amqp.router.route({}, "mine")
    assert (route["queue"].name, route["priority"]) == ("my_queue", 6)
    assert "my_queue" in queue_names(jobs.job_types(), {})
    kiosk_tasks.app.close()


@pytest.mark.parametrize(("name", "aliases"), [("predict", ()), ("mine", ("image",))])
def test_names_are_not_shared(install: Install, name: str, aliases: tuple[str, ...]) -> None:
    install("plugin_two", name=name, aliases=aliases)
    with pytest.raises(ValueError, match=r"kiosk_tasks\.jobs\.predict and in plugin_two"):
        jobs.job_types()


def test_internal_job_types_are_run_and_not_offered(install: Install) -> None:
    install("plugin_three", name="part_of_mine", aliases=("part",), internal=True)
    assert "part_of_mine" not in jobs.job_types()
    assert "part_of_mine" in jobs.task_types()
    assert "part_of_mine-zip" not in jobs.task_types()
    assert jobs.find("part_of_mine").internal  # as a parent submits its children
    for name in ("part", "part_of_mine-zip"):
        with pytest.raises(UnknownJobType):
            jobs.find(name)
    with pytest.raises(UnknownJobType, match="there are mesmer, polaris, predict"):
        jobs.find_for("part_of_mine", {})


def test_package_gives_tasks_by_name() -> None:
    from kiosk_tasks import predict

    assert predict.name == "predict"
    assert kiosk_tasks.celery is kiosk_tasks.app
    with pytest.raises(AttributeError, match="no attribute or job type 'nothing'"):
        _ = kiosk_tasks.nothing
    with pytest.raises(AttributeError):
        _ = kiosk_tasks._nothing
