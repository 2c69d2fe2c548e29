"""A model server that dies, dawdles, refuses, or answers nonsense."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.faults.conftest import Begin
from tests.faults.fleet import Fleet
from tests.faults.model_server import ModelServer
from tests.faults.site import Site

pytestmark = pytest.mark.usefixtures("reaper")

Size = Callable[[Any, Any], Any]


@pytest.fixture(scope="module")
def _server(site: Site) -> Iterator[ModelServer]:
    server = ModelServer(site.folder / "model-server", port=site.model_server_port)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def model_server(_server: ModelServer, fleet: Fleet) -> Iterator[ModelServer]:
    """A healthy server, and a fleet."""
    fleet.want(2)
    yield _server
    _server.faults()


def test_f9_killed_in_a_call(begin: Begin, model_server: ModelServer, size: Size) -> None:
    scenario = begin("F9", "model server killed in a call")
    model_server.faults(delay_s=0.1)
    scenario.submit(size(40, 100), job_type="fault_model")
    for _ in range(size(2, 5)):
        model_server.wait_call()
        model_server.kill()
        scenario.fault()
        model_server.start()
    scenario.finish(limit_s=120)


def test_f9_slow(begin: Begin, model_server: ModelServer, size: Size) -> None:
    scenario = begin("F9", "model server ten times slower")
    model_server.faults(delay_s=0.1)
    scenario.submit(size(20, 100), job_type="fault_model")
    scenario.fault()
    scenario.finish(limit_s=120, max_reruns=0)


def test_f9_unavailable(begin: Begin, model_server: ModelServer, size: Size) -> None:
    scenario = begin("F9", "model server refuses every second call")
    model_server.faults(unavailable=0.5)
    scenario.submit(size(20, 100), job_type="fault_model")
    scenario.fault()
    scenario.finish(limit_s=120)


def test_f9_wrong_shape(begin: Begin, model_server: ModelServer, size: Size) -> None:
    scenario = begin("F9", "model server answers with another shape")
    model_server.faults(wrong_shape=True)
    jobs = scenario.submit(size(10, 100), job_type="fault_model")
    scenario.fault()
    scenario.finish(failed=jobs, max_reruns=0)
    reasons = {scenario.client.ledger.record(job).fields["reason"] for job in jobs}
    assert not any("unforeseen" in reason for reason in reasons), reasons
    assert all("16" in reason for reason in reasons), reasons
