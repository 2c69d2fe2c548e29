"""Requests, retries and errors of the client, without a network."""

from __future__ import annotations

from pathlib import Path

import pytest

from kiosk_tasks.client.calls import Calls, require_done
from kiosk_tasks.client.effects import NetworkDown
from kiosk_tasks.client.errors import (
    JobCancelled,
    JobFailed,
    KioskClientError,
    NotFound,
    Refused,
    ServerError,
    ServerUnavailable,
    TooManyJobs,
    Unauthorized,
)
from kiosk_tasks.client.state import State
from kiosk_tasks.client.wire import Reply, Upload, error_of
from tests.unit.client.network import Network, job, reply

CALLS = Calls("http://kiosk.test", retries=2)
UNSENT, SENT = NetworkDown("refused", sent=False), NetworkDown("broke", sent=True)


def test_a_submission_that_nobody_answered_is_sent_again_as_the_same_job() -> None:
    network = Network(SENT, reply(503), reply(202, job()))
    params = {"mpp": 0.65, "labels_only": True, "channels": [0, 1], "scale": None}
    state = network.run(CALLS.submit("predict", Upload("x.tif", b"II*"), params))

    assert (state.id, state.status, state.ended) == ("j1", "new", False)
    keys = {request.headers["Idempotency-Key"] for request in network.requests}
    assert len(network.requests) == 3
    assert len(keys) == 1
    assert network.requests[0].path == "jobs/predict"
    assert network.requests[0].fields == {"mpp": "0.65", "labels_only": "true", "channels": "0,1"}


def test_two_submissions_are_two_jobs() -> None:
    network = Network(reply(202, job()), reply(202, job()))
    for _ in range(2):
        network.run(CALLS.submit("predict", "uploads/x.tif", {"mpp": 1}, name="mine.tif"))
    one, other = network.requests
    assert one.headers["Idempotency-Key"] != other.headers["Idempotency-Key"]
    assert one.json == {"input_file_name": "uploads/x.tif", "original_name": "mine.tif", "mpp": 1}


def test_a_retry_may_have_been_done_and_is_not_sent_twice() -> None:
    network = Network(SENT)
    with pytest.raises(ServerUnavailable, match=r"no Kiosk answers at http://kiosk.test \(broke\)"):
        network.run(CALLS.retry("j1"))
    assert Network(UNSENT, reply(202, job())).run(CALLS.retry("j1")).id == "j1"


def test_pauses_grow_and_what_the_server_asks_for_counts() -> None:
    network = Network(UNSENT, UNSENT, reply(200, job()))
    network.run(CALLS.job("j1"))
    first, second = network.pauses
    assert 0.18 < first < 0.32
    assert 0.37 < second < 0.63

    network = Network(
        reply(429, Retry_After="7"), reply(503, Retry_After="9000"), reply(200, job())
    )
    network.run(CALLS.job("j1"))
    assert 7 <= network.pauses[0] <= 8  # not all who are told the same at the same moment
    assert network.pauses[1] == 60.0


def test_the_last_attempt_tells_what_was_wrong() -> None:
    busy = reply(429, {"message": "you have 20 open jobs; wait.", "error": "TooManyJobs"})
    network = Network(busy, busy, busy)
    with pytest.raises(TooManyJobs, match="you have 20 open jobs; wait") as caught:
        network.run(CALLS.job("j1"))
    assert (len(network.pauses), caught.value.error) == (2, "TooManyJobs")
    with pytest.raises(TooManyJobs):
        Network(busy).run(Calls("http://x", patient=False).job("j1"))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Refused),
        (404, NotFound),
        (413, Refused),
        (401, Unauthorized),
        (403, Unauthorized),
        (429, TooManyJobs),
        (500, ServerError),
        (503, ServerUnavailable),
        (302, ServerError),
    ],
)
def test_errors_are_the_servers_sentences(status: int, kind: type[KioskClientError]) -> None:
    told = error_of(reply(status, {"message": "a sentence.", "error": "Kind"}), "http://x")
    assert type(told) is kind
    assert (told.status, told.error) == (status, "Kind")
    assert "a sentence" in str(told)
    silent = error_of(Reply(status, {}, b"<html>not ours</html>"), "http://x")
    assert type(silent) is kind
    assert f"HTTP status {status}" in str(silent)


def test_without_a_token_the_way_in_is_told() -> None:
    told = error_of(reply(401, {"message": "no token.", "error": "NotLoggedIn"}), "http://x")
    assert str(told) == (
        "http://x does not let you in: no token. Give Client a token of yours, or set KIOSK_TOKEN."
    )


def test_what_is_no_kiosk_is_told_apart() -> None:
    with pytest.raises(ServerError, match="is the URL that of a Kiosk"):
        Network(Reply(200, {}, b"<html>")).run(CALLS.job("j1"))


def test_jobs_are_listed_over_several_pages() -> None:
    network = Network(
        reply(200, {"jobs": [job()] * 200, "next": "2026"}),
        reply(200, {"jobs": [job()] * 50, "next": None}),
    )
    assert len(network.run(CALLS.jobs(300))) == 250
    assert [dict(r.query) for r in network.requests] == [
        {"limit": 200},
        {"limit": 100, "before": "2026"},
    ]


def test_cancelling_what_has_ended_tells_how_it_ended() -> None:
    network = Network(reply(409, {"message": "it is over."}), reply(200, job("done")))
    assert network.run(CALLS.cancel("j1")).status == "done"
    with pytest.raises(NotFound):
        Network(reply(404, {"message": "none."})).run(CALLS.cancel("j1"))


def test_ids_and_names_are_quoted() -> None:
    network = Network(reply(200, job()), Reply(200, {}, b"x"))
    network.run(CALLS.job("../a b"))
    assert network.requests[0].path == "jobs/..%2Fa%20b"
    network.run(CALLS.file("j1", "a/ä b#.csv"))
    assert network.requests[1].path == "jobs/j1/files/a/%C3%A4%20b%23.csv"


def test_a_result_needs_a_job_that_is_done() -> None:
    require_done(State.parse(job("done")))
    with pytest.raises(JobFailed, match="too dark") as failed:
        require_done(State.parse(job("failed", reason="too dark.")))
    assert failed.value.reason == "too dark."
    with pytest.raises(JobCancelled):
        require_done(State.parse(job("cancelled")))


def test_what_the_client_does_not_know_is_left_out() -> None:
    state = State.parse(job("waiting", units={"done": 2, "total": 7}, news=1, reason=None))
    assert state.units == (2, 7)
    assert state.reason is None


def test_a_whole_result_goes_to_a_file(tmp_path: Path) -> None:
    network = Network(Reply(200, {}, b"zip"))
    network.run(CALLS.whole("j1", tmp_path / "r.zip"))
    assert (tmp_path / "r.zip").read_bytes() == b"zip"
