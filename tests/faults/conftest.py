"""What the scenarios share: a site, its fleet, its reaper, sizes; and the table at the end."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from tests.faults.client import Client, client_of
from tests.faults.fleet import Fleet, Reaper
from tests.faults.scenario import Scenario
from tests.faults.site import Site, new_site
from tests.faults.table import ROWS, markdown
from tests.faults.valkey import Valkey

T = TypeVar("T")
Begin = Callable[[str, str], Scenario]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faults")
    group.addoption(
        "--fault-size", choices=("ci", "nightly"), default="ci", help="how much is broken"
    )
    group.addoption("--fault-table", metavar="FILE", help="write the table as Markdown, too")
    group.addoption("--soak-minutes", type=float, default=120.0, help="length of the soak")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.faults)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if not ROWS:
        return
    terminalreporter.section("faults")
    terminalreporter.write_line(markdown(ROWS))
    target = config.getoption("--fault-table", None)
    if target:
        Path(target).write_text(markdown(ROWS) + "\n", encoding="utf-8")


@pytest.fixture(scope="session")
def nightly(pytestconfig: pytest.Config) -> bool:
    """Whether the large sizes are asked for."""
    return bool(pytestconfig.getoption("--fault-size", "ci") == "nightly")


@pytest.fixture(scope="session")
def size(nightly: bool) -> Callable[[T, T], T]:
    """Return a function that picks the first value in CI, the second at night."""
    return lambda ci, night: night if nightly else ci


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A broker that the scenarios may kill."""
    valkey = Valkey(tmp_path_factory.mktemp("fault-valkey"))
    try:
        valkey.start()
    except ImportError as exc:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no Valkey server: {exc}")
    yield valkey
    valkey.stop()


@pytest.fixture(scope="session")
def site(server: Valkey, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The installation that most scenarios share."""
    return new_site(tmp_path_factory.mktemp("fault-site"), server)


@pytest.fixture(scope="session")
def _session_fleet(site: Site) -> Iterator[Fleet]:
    fleet = Fleet(site)
    yield fleet
    fleet.stop()


@pytest.fixture
def fleet(_session_fleet: Fleet) -> Fleet:
    """The shared site's workers; a scenario says how many it wants."""
    return _session_fleet


@pytest.fixture(scope="session")
def _session_reaper(site: Site) -> Iterator[Reaper]:
    reaper = Reaper(site)
    yield reaper
    reaper.stop()


@pytest.fixture
def reaper(_session_reaper: Reaper) -> Iterator[Reaper]:
    """The shared site's reaper; it outlives every scenario."""
    _session_reaper.check()
    yield _session_reaper
    _session_reaper.check()


@pytest.fixture
def client(site: Site) -> Iterator[Client]:
    """This process as a client of the shared site."""
    with client_of(site) as one:
        yield one


@pytest.fixture
def begin(client: Client, fleet: Fleet) -> Iterator[Begin]:
    """Return a function that begins a scenario on the shared site: number, fault in words.

    What a failed scenario leaves does not reach the next one.
    """
    begun: list[Scenario] = []

    def make(fault: str, what: str) -> Scenario:
        begun.append(Scenario(fault, what, client))
        return begun[-1]

    yield make
    for scenario in begun:
        scenario.abandon()
    if not all(scenario.sound for scenario in begun):
        fleet.stop()
        client.site.empty()
