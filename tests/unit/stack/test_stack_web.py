"""The web service as a part: its port, its address, its links."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from kiosk_tasks.stack import OpenWeb, PortTaken, Stack
from kiosk_tasks.stack.sockets import HOST, Reservation
from kiosk_tasks.stack.web import WebPlan, check_web, link_secret, web_argv, web_values


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another program listens on."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_port_that_is_taken_is_refused_in_a_sentence(taken: int) -> None:
    with pytest.raises(PortTaken, match=f"Port {taken} cannot be listened on"):
        Reservation(taken)


def test_another_port_will_do_where_none_was_asked_for(taken: int) -> None:
    with closing(Reservation(taken, or_another=True)) as port:
        assert port.port not in (0, taken)


def test_the_port_is_the_one_that_was_asked_for() -> None:
    with closing(Reservation()) as any_port:
        number = any_port.port
    with closing(Reservation(number, or_another=True)) as port:
        assert port.port == number


@pytest.mark.parametrize("address", ["", "::", "192.168.1.5", "example.org"])
def test_nobody_opens_it_to_the_network_by_accident(address: str) -> None:
    with pytest.raises(OpenWeb, match="KIOSK_API_TOKENS"):
        check_web(address, tokens=False)
    check_web(address, tokens=True)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "localhost"])
def test_this_machine_needs_no_token(address: str) -> None:
    check_web(address, tokens=False)


def test_links_are_made_for_where_browsers_find_it() -> None:
    with closing(Reservation()) as port:
        url = f"http://127.0.0.1:{port.port}"
        here = web_values(WebPlan(port, HOST, "s"), {})
        assert here == {"KIOSK_URL": url, "KIOSK_LINK_SECRET": "s", "KIOSK_PUBLIC_URL": url}
        everywhere = web_values(WebPlan(port, "::", "s"), {})
        assert everywhere == {"KIOSK_URL": url, "KIOSK_LINK_SECRET": "s"}
        told = {"KIOSK_PUBLIC_URL": "https://k.org", "KIOSK_LINK_SECRET": "mine"}
        assert web_values(WebPlan(port, "::", "s"), told) == {"KIOSK_URL": url, **told}
        in_a_file = {"KIOSK_LINK_SECRET_FILE": "/run/secrets/link"}  # every part reads it itself
        assert web_values(WebPlan(port, "::", "s"), in_a_file) == {"KIOSK_URL": url}


def test_links_outlive_a_restart(tmp_path: Path) -> None:
    starts = []
    for _ in range(2):
        with ExitStack() as cleanup:
            plan = Stack(tmp_path, queues=["predict"], web_port=0)._plan(cleanup)
            starts.append(plan.values["KIOSK_LINK_SECRET"])
    assert len(starts[0]) == 64
    assert starts[0] == starts[1]
    assert (tmp_path / "link.secret").stat().st_mode & 0o777 == 0o600


def test_an_empty_secret_signs_nothing(tmp_path: Path) -> None:
    (tmp_path / "link.secret").write_text("\n")
    assert len(link_secret(tmp_path)) == 64


def test_neither_command_line_nor_text_shows_the_secret() -> None:
    with closing(Reservation()) as port:
        plan = WebPlan(port, HOST, "hidden-secret")
        assert "hidden" not in repr(plan) + " ".join(web_argv(plan))
        assert web_argv(plan)[-5:] == ("web", "--address", HOST, "--port", str(port.port))
