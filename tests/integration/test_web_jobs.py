"""Jobs over HTTP: a real server process, a real broker, a bucket in a folder."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.conftest import Broker, place_on, wait_for
from tests.kiosk_up import Kiosk
from tests.web_process import WebProcess, web_process

LIMIT = 3_000_000
SAMPLE = Path(__file__).parents[2] / "samples" / "nuclei_512.tif"


@pytest.fixture(scope="module")
def place(valkey: str) -> Iterator[Broker]:
    with place_on(valkey) as broker:
        yield broker


@pytest.fixture(scope="module")
def web(place: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebProcess]:
    """`kiosk web`; no worker, so jobs stay new."""
    folder = tmp_path_factory.mktemp("web")
    with web_process(place, folder, MAX_FILE_BYTES=str(LIMIT), WEB_RATE="0") as process:
        yield process


@pytest.fixture(scope="module")
def http(web: WebProcess) -> Iterator[httpx.Client]:
    with web.client() as client:
        yield client


def file(content: bytes = b"x" * 1000, name: str = "a.tif") -> dict[str, Any]:
    return {"file": (name, content)}


def of_job(web: WebProcess, job: dict[str, Any]) -> list[str]:
    return [key for key in web.objects() if job["id"] in key]


def test_a_file_becomes_a_job(web: WebProcess, http: httpx.Client) -> None:
    answer = http.post("/jobs/predict", files=file(), data={"mpp": "0.65", "axes": "YX"})
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert answer.headers["Location"] == f"/jobs/{job['id']}" == job["urls"]["self"]
    assert job["params"] == {"mpp": 0.65, "axes": "YX"}
    assert (job["name"], job["type"], job["status"]) == ("a.tif", "predict", "new")
    assert job["input"] == f"uploads/{job['id']}/a.tif"
    assert not job["ended"]
    assert job["user"] is job["units"] is job["output_url"] is job["urls"]["result"] is None
    assert job["created_at"].endswith("Z")
    assert (web.bucket / job["input"]).read_bytes() == b"x" * 1000
    assert http.get(job["urls"]["self"]).json() == job
    assert http.get("/jobs").json()["jobs"][0] == job


def test_a_key_becomes_a_job(http: httpx.Client) -> None:
    key = http.post("/jobs/predict", files=file()).json()["input"]
    given = {"input_file_name": key, "original_name": "my/b.tif", "mpp": 0.5}
    job = http.post("/jobs/segmentation", json=given).json()
    assert (job["name"], job["type"], job["input"]) == ("b.tif", "predict", key)
    assert job["params"] == {"mpp": 0.5}


def test_an_archive_is_a_job_of_archives(http: httpx.Client) -> None:
    job = http.post("/jobs/predict", files=file(name="many.ZIP")).json()
    assert (job["type"], job["name"]) == ("predict-zip", "many.ZIP")


@pytest.mark.parametrize(
    ("given", "status", "says"),
    [
        ({"data": {"mppp": "1"}, "files": file()}, 422, "did you mean 'mpp'?"),
        ({"data": {"mpp": "-1"}, "files": file()}, 422, "greater than 0"),
        ({"data": {"input_file_name": "x"}, "files": file()}, 400, "not both"),
        ({"files": {"image": ("a.tif", b"x")}}, 400, "part 'file'"),
        ({"files": {"mpp": (None, "1")}}, 400, "part 'file'"),
        ({"files": file(b"")}, 422, "a.tif is empty"),
        ({"json": {"input_file_name": "uploads/none.tif"}}, 404, "no object"),
        ({"json": {"input_file_name": "../x"}}, 400, "not a key"),
        ({"json": {"input_file_name": "/etc/passwd"}}, 400, "not a key"),
        ({"json": {"input_file_name": ["a"]}}, 422, "input_file_name"),
        ({"json": {"mpp": 1}}, 422, "input_file_name"),
        ({"json": []}, 400, "JSON object"),
        ({"content": b"{"}, 400, "JSON object"),
        ({"content": b"[" * 100_000}, 400, "JSON object"),
        ({"content": b'{"a": "\xff"}'}, 400, "JSON object"),
        ({"content": b"", "headers": {"Content-Type": "multipart/form-data"}}, 400, "form"),
        ({"headers": {"Idempotency-Key": "x" * 201}, "files": file()}, 400, "200 characters"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_refused_leaves_nothing(
    web: WebProcess, http: httpx.Client, given: dict[str, Any], status: int, says: str
) -> None:
    before, jobs = web.objects(), http.get("/jobs").json()
    answer = http.post("/jobs/predict", **given)
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert body.keys() == {"message", "error"}
    assert says in body["message"]
    assert web.objects() == before
    assert http.get("/jobs").json() == jobs


def test_an_unknown_type_is_told_before_the_file_is_read(http: httpx.Client) -> None:
    answer = http.post("/jobs/prdict", files=file())
    assert answer.status_code == 404
    assert "predict" in answer.json()["message"]


@pytest.mark.parametrize("path", ["/jobs/none", "/jobs/none/retry", "/jobs/%00", "/jobs/a%2Fb"])
def test_no_such_job(http: httpx.Client, path: str) -> None:
    for method in ("GET", "DELETE", "POST"):
        answer = http.request(method, path)
        assert answer.status_code in (404, 405), answer.text
        assert answer.json().keys() == {"message", "error"}


# The limit


def chunks(count: int, size: int = 65_536) -> Iterator[bytes]:
    """A form's body in chunks, without a length."""
    head = 'Content-Disposition: form-data; name="file"; filename="big.tif"'
    yield f"--b\r\n{head}\r\n\r\n".encode()
    for _ in range(count):
        yield b"x" * size
    yield b"\r\n--b--\r\n"


FORM = {"Content-Type": "multipart/form-data; boundary=b"}


def test_a_file_over_the_limit_is_stopped_in_the_middle(
    web: WebProcess, http: httpx.Client
) -> None:
    before = web.objects()
    sent = 0

    def counted() -> Iterator[bytes]:
        nonlocal sent
        for chunk in chunks(4000):  # 262 MB, if nobody stops it
            sent += len(chunk)
            yield chunk

    answer = http.post("/jobs/predict", content=counted(), headers=FORM)
    assert answer.status_code == 413, answer.text
    assert answer.json()["error"] == "FileTooLarge"
    assert "3 000 000" in answer.json()["message"].replace("\u202f", " ").replace("\u00a0", " ")
    assert sent < 120_000_000
    assert web.objects() == before
    assert http.get("/jobs").status_code == 200


def test_a_length_over_the_limit_is_refused_before_it_is_sent(
    web: WebProcess, http: httpx.Client
) -> None:
    before = web.objects()
    with socket.create_connection(("127.0.0.1", web.port), 20) as raw:
        raw.sendall(
            b"POST /jobs/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999999\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\nExpect: 100-continue\r\n\r\n"
        )
        answer = raw.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 413")
    assert web.objects() == before
    body = http.post("/jobs/predict", content=b" " * 2_000_000)
    assert body.status_code == 413


def test_a_file_as_large_as_the_limit_fits(web: WebProcess, http: httpx.Client) -> None:
    job = http.post("/jobs/predict", files=file(b"x" * LIMIT)).json()
    assert (web.bucket / job["input"]).stat().st_size == LIMIT
    assert http.post("/jobs/predict", files=file(b"x" * (LIMIT + 1))).status_code == 413


def test_an_upload_that_is_cut_off_leaves_nothing(web: WebProcess, http: httpx.Client) -> None:
    before, jobs = web.objects(), http.get("/jobs").json()
    with socket.create_connection(("127.0.0.1", web.port), 20) as raw:
        raw.sendall(
            b"POST /jobs/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2000000\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n\r\n" + b"".join(chunks(20))[:-9]
        )
        wait_for(lambda: web.objects() != before, what="the part file is there")
    wait_for(lambda: web.objects() == before, what="the part file is gone")
    assert http.get("/jobs").json() == jobs


# One key, one job


def test_the_same_key_is_the_same_job(web: WebProcess, http: httpx.Client) -> None:
    headers = {"Idempotency-Key": "one"}
    first = http.post("/jobs/predict", files=file(), headers=headers)
    again = http.post("/jobs/predict", files=file(), headers=headers)
    key = http.post("/jobs/predict", json={"input_file_name": "any"}, headers=headers)
    assert [a.status_code for a in (first, again, key)] == [202, 200, 200]
    assert first.json() == again.json() == key.json()
    assert len(of_job(web, first.json())) == 1
    other = http.post("/jobs/predict", files=file(), headers={"Idempotency-Key": "two"})
    assert other.json()["id"] != first.json()["id"]


@pytest.mark.parametrize("size", [1000, 2_000_000])
def test_the_same_key_at_the_same_time(web: WebProcess, place: Broker, size: int) -> None:
    gate, count = threading.Barrier(8), int(place.client.zcard(f"{place.prefix}jobs"))

    def send(_: int) -> httpx.Response:
        with web.client() as client:
            gate.wait(20)
            headers = {"Idempotency-Key": f"many-{size}"}
            return client.post("/jobs/predict", files=file(b"y" * size), headers=headers)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(8)))
    assert sorted(a.status_code for a in answers) == [200] * 7 + [202], [a.text for a in answers]
    assert len({a.json()["id"] for a in answers}) == 1
    assert len(of_job(web, answers[0].json())) == 1
    assert place.client.zcard(f"{place.prefix}jobs") == count + 1


def test_the_same_key_while_the_first_is_still_sending(web: WebProcess, http: httpx.Client) -> None:
    """The second one waits, and gets the first one's job; it uploads nothing."""
    go_on = threading.Event()

    def slowly() -> Iterator[bytes]:
        parts = list(chunks(40))
        yield from parts[:30]
        assert go_on.wait(20)
        yield from parts[30:]

    headers = {**FORM, "Idempotency-Key": "slow"}
    before = web.objects()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(http.post, "/jobs/predict", content=slowly(), headers=headers)
        wait_for(lambda: web.objects() != before, what="the first one is being written")
        parts = web.objects()
        second = pool.submit(http.post, "/jobs/predict", content=chunks(40), headers=headers)
        time.sleep(0.3)  # it has sent everything by now, and must neither write nor answer
        assert not second.done()
        assert web.objects() == parts
        go_on.set()
        answers = first.result(), second.result()
    assert [answer.status_code for answer in answers] == [202, 200]
    assert answers[0].json() == answers[1].json()


def test_a_first_attempt_that_is_cut_off_is_followed_by_another(
    web: WebProcess, http: httpx.Client
) -> None:
    before = web.objects()
    head = (
        "POST /jobs/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nIdempotency-Key: cut\r\n"
        "Content-Length: 2000000\r\nContent-Type: multipart/form-data; boundary=b\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", web.port), 20) as raw:
        raw.sendall(head.encode() + b"".join(chunks(20))[:-9])
        wait_for(lambda: web.objects() != before, what="the part file is there")
    headers = {"Idempotency-Key": "cut"}

    def taken() -> httpx.Response | None:
        answer = http.post("/jobs/predict", files=file(), headers=headers)
        return None if answer.status_code == 409 else answer

    answer = wait_for(taken, what="the cut off one is known to be over")
    assert answer.status_code == 202
    assert len(of_job(web, answer.json())) == 1


# Lists, cancelling, doing again


def test_pages(http: httpx.Client) -> None:
    made = [http.post("/jobs/predict", files=file()).json()["id"] for _ in range(5)]
    shown, before = list[str](), ""
    while len(shown) < 5:
        page = http.get("/jobs", params={"limit": 2, "before": before}).json()
        shown += [job["id"] for job in page["jobs"]]
        before = page["next"]
    assert shown[:5] == made[::-1]
    assert http.get("/jobs", params={"before": "2001-01-01T00:00:00Z"}).json() == {
        "jobs": [],
        "next": None,
    }
    for wrong in ({"limit": 0}, {"limit": 501}, {"limit": "many"}, {"before": "x" * 41}):
        assert http.get("/jobs", params=wrong).status_code == 400
    assert http.get("/jobs", params={"before": "noon"}).status_code == 422


def test_cancel_and_do_again(http: httpx.Client) -> None:
    job = http.post("/jobs/predict", files=file(), data={"mpp": "0.7"}).json()
    early = http.post(f"{job['urls']['self']}/retry")
    assert (early.status_code, early.json()["error"]) == (409, "NotEnded")
    for _ in range(2):
        cancelled = http.delete(job["urls"]["self"])
        assert cancelled.status_code == 200
        assert cancelled.json()["status"] == "cancelled"
        assert cancelled.json()["ended"]
    headers = {"Idempotency-Key": "again"}
    again = http.post(f"{job['urls']['self']}/retry", headers=headers)
    assert again.status_code == 202
    assert again.json()["id"] != job["id"]
    for field in ("params", "input", "name", "type"):
        assert again.json()[field] == job[field]
    twice = http.post(f"{job['urls']['self']}/retry", headers=headers)
    assert (twice.status_code, twice.json()) == (200, again.json())


def test_an_ended_job_cannot_be_cancelled(http: httpx.Client, place: Broker) -> None:
    job = http.post("/jobs/predict", files=file()).json()
    place.client.hset(f"{place.prefix}job:{job['id']}", "status", "done")
    answer = http.delete(job["urls"]["self"])
    assert (answer.status_code, answer.json()["error"]) == (409, "AlreadyEnded")


def test_a_job_whose_input_is_gone_is_not_done_again(web: WebProcess, http: httpx.Client) -> None:
    job = http.post("/jobs/predict", files=file()).json()
    http.delete(job["urls"]["self"])
    (web.bucket / job["input"]).unlink()
    answer = http.post(f"{job['urls']['self']}/retry")
    assert (answer.status_code, answer.json()["error"]) == (404, "MissingObject")


# Limits of a user; a broker that is away; memory


def test_open_jobs_of_a_user(place: Broker, tmp_path: Path) -> None:
    settings = {"WEB_OPEN_JOBS": "2", "API_TOKENS": "ann:token-a,ben:token-b"}
    with web_process(place, tmp_path, **settings) as web, web.client("token-a") as ann:
        jobs = [ann.post("/jobs/predict", files=file()).json() for _ in range(2)]
        assert [job["user"] for job in jobs] == ["ann", "ann"]
        refused = ann.post("/jobs/predict", files=file())
        assert (refused.status_code, refused.json()["error"]) == (429, "TooManyJobs")
        assert refused.headers["Retry-After"]
        key = {"input_file_name": jobs[0]["input"]}
        assert ann.post("/jobs/predict", json=key).status_code == 429
        assert len(web.objects()) == 2
        with web.client("token-b") as ben:
            headers = {"Idempotency-Key": "k"}
            his = ben.post("/jobs/predict", files=file(), headers=headers).json()
        assert ann.delete(jobs[0]["urls"]["self"]).status_code == 200
        hers = ann.post("/jobs/predict", files=file(), headers=headers)
        assert hers.status_code == 202  # a key is its user's own
        assert hers.json()["id"] != his["id"]


def test_without_a_broker_it_is_503_and_goes_on(tmp_path: Path) -> None:
    nowhere = Broker("redis://127.0.0.1:1/0", "x:", None)  # type: ignore[arg-type]
    with web_process(nowhere, tmp_path) as web, web.client() as client:
        for answer in (
            client.post("/jobs/predict", files=file()),
            client.get("/jobs"),
            client.get("/jobs/x"),
        ):
            assert (answer.status_code, answer.json()["error"]) == (503, "BrokerUnavailable")
            assert answer.headers["Retry-After"]
        assert client.get("/healthz").status_code == 200


def test_memory_is_bounded_by_chunks(place: Broker, tmp_path: Path) -> None:
    with web_process(place, tmp_path) as web, web.client() as client:
        client.post("/jobs/predict", files=file())
        before = web.memory()
        answer = client.post("/jobs/predict", content=chunks(300, 2**20), headers=FORM)
        assert answer.status_code == 202
        assert (web.bucket / answer.json()["input"]).stat().st_size == 300 * 2**20
        assert web.memory() - before < 60e6


# The whole way


@contextmanager
def a_client(kiosk: Kiosk) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=kiosk.url, timeout=60, trust_env=False) as client:
        yield client


def test_from_file_to_result(kiosk: Kiosk) -> None:
    """And no answer on the way has a path of the server in it."""
    home = str(kiosk.home)
    with a_client(kiosk) as client:
        files = {"file": (SAMPLE.name, SAMPLE.read_bytes())}
        answer = client.post("/jobs/predict", files=files, data={"mpp": "0.65"})
        url = answer.json()["urls"]["self"]
        job = wait_for(lambda: ended(client, url), limit_s=90)
        assert job["status"] == "done", job
        assert job["progress"] == 100
        assert job["units"]["done"] == job["units"]["total"] > 0
        assert job["seconds"].keys() >= {"download", "predict", "postprocess", "upload"}
        assert job["finished_at"] > job["started_at"] > job["created_at"]
        result = httpx.get(job["output_url"], trust_env=False)  # without any further right
        assert result.content.startswith(b"PK")
        assert "attachment" in result.headers["Content-Disposition"]
        assert result.headers["Content-Type"] == "application/zip"
        assert home not in json.dumps([job, client.get("/jobs").json()])
    record = json.loads(kiosk.run("status", job["id"], "--json").stdout)
    assert httpx.get(record["output_url"], trust_env=False).content == result.content


def test_a_failed_job_says_why(kiosk: Kiosk) -> None:
    with a_client(kiosk) as client:
        answer = client.post("/jobs/predict", files=file(b"no image at all"))
        job = wait_for(lambda: ended(client, answer.json()["urls"]["self"]), limit_s=60)
    assert job["status"] == "failed"
    assert "a.tif" in job["reason"]
    assert job["output_url"] is job["urls"]["result"] is None
    assert str(kiosk.home) not in json.dumps(job)


def ended(client: httpx.Client, url: str) -> dict[str, Any] | None:
    job: dict[str, Any] = client.get(url).json()
    return job if job["ended"] else None


def test_nobody_listens_for_the_results_of_celery(place: Broker, web: WebProcess) -> None:
    """Each thread would have a connection for that, whose news nobody reads."""
    with ThreadPoolExecutor(8) as pool, web.client() as client:
        answers = list(pool.map(lambda _: client.post("/jobs/predict", files=file()), range(80)))
    assert 202 in {answer.status_code for answer in answers}
    ports = {one.laddr.port for one in psutil.Process(web.pid).net_connections()}
    clients = [c for c in place.client.client_list() if int(c["addr"].split(":")[-1]) in ports]
    assert clients
    assert [one["cmd"] for one in clients if "subscribe" in one["cmd"]] == []
