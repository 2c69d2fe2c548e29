"""The bridge between a frontend of the old Kiosk, which only knows Redis, and a real worker."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any
from uuid import uuid4

import pytest
import redis

from kiosk_tasks.bridge import Bridge, job_id_of, make_bridge
from kiosk_tasks.bridge.bridge import Pace
from kiosk_tasks.errors import BrokerUnavailable, UnknownJob
from kiosk_tasks.job import Status
from kiosk_tasks.ledger import newest
from tests.conftest import wait_for
from tests.integration.test_chain import Client, Site, client_of, new_site, running_worker
from tests.processes import child

QUEUE = "relay"
NO_MODEL_SERVER = "127.0.0.1:1"
CREATED_AT = "2020-01-01T00:00:00.000Z"
STATUSES = ("new", *map(str, [Status.STARTED, Status.PREPROCESSING, Status.PREDICTING]))
STATUSES += (*map(str, [Status.POSTPROCESSING, Status.SAVING, Status.DONE]),)

PLUGIN = """
import time

from kiosk_tasks.job import ImageParams, JobType


class RelayParams(ImageParams):
    label: int | None = None


def download(_, ctx):
    time.sleep(0.25)
    return f"{len(ctx.storage.get(ctx.job.source.input_file_name))} bytes "


def preprocess(value, ctx):
    time.sleep(0.25)
    return value


def predict(value, ctx):
    for step in range(4):
        time.sleep(0.1)
        ctx.report.progress(step + 1, 4)
    return value


def postprocess(value, ctx):
    time.sleep(0.25)
    return value


def upload(value, ctx):
    time.sleep(0.25)
    key = f"output/{ctx.job.id}/result"
    ctx.storage.put(key, f"{value}label={ctx.params.label} axes={ctx.params.axes}".encode())
    return {"output_file_name": key, "output_url": ctx.storage.url(key)}


job_type = JobType(
    "relay",
    "A relay",
    "predict",
    RelayParams,
    (download, preprocess, predict, postprocess, upload),
    aliases=("relay_old",),
)
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "relay_job.py").write_text(PLUGIN)
    info = folder / "relay_job-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: relay-job\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[kiosk_tasks.job_types]\nrelay = relay_job:job_type\n")
    return folder


@dataclass(frozen=True)
class Frontend:
    """What the old frontend does: two commands, and polling."""

    redis: redis.Redis

    def write(self, *, queue: str = QUEUE, **changed: str) -> str:
        key = f"{queue}:my cells.tif:{uuid4()}"
        fields: dict[Any, Any] = {
            **{"original_name": "my cells.tif", "input_file_name": "uploads/nuclei.tif"},
            **{"model_name": "", "model_version": "", "postprocess_function": "deep_watershed"},
            **{"cuts": "0", "label": "", "scale": "", "channels": "0,,", "dimension_order": ""},
            **{"status": "new", "created_at": CREATED_AT, "identity_upload": "frontend"},
            **changed,
        }
        self.redis.hset(key, mapping=fields)
        return key

    def push(self, key: str | bytes, *, queue: str = QUEUE) -> None:
        self.redis.lpush(queue, key)

    def submit(self, **fields: str) -> str:
        key = self.write(**fields)
        self.push(key, queue=key.partition(":")[0])
        return key

    def poll(self, key: str) -> dict[str, str]:
        answer: Any = self.redis.hgetall(key)
        return dict(answer)

    def waiting(self) -> int:
        return sum(int(self.redis.llen(queue)) for queue in (QUEUE, "relay_old", "relay-zip"))


@pytest.fixture
def frontend(valkey: str) -> Iterator[Frontend]:
    """A frontend on the ledger's database; what it has written has no prefix, and goes."""
    with redis.Redis.from_url(valkey, decode_responses=True) as client:
        yield Frontend(client)
        keys = list(client.scan_iter(f"{QUEUE}*", count=1000))
        if keys:
            client.delete(*keys)


@pytest.fixture
def site(valkey: str, plugin: Path, tmp_path: Path) -> Iterator[Site]:
    with new_site(valkey, NO_MODEL_SERVER, plugin, tmp_path) as site:
        yield site


@pytest.fixture
def client(site: Site, plugin: Path) -> Iterator[Client]:
    with client_of(site, plugin) as one:
        yield one


@contextmanager
def bridge_process(site: Site, name: str = "one") -> Iterator[Popen[bytes]]:
    """`kiosk bridge`, ready."""
    log = site.folder / f"bridge-{name}.log"
    command = [sys.executable, "-m", "kiosk_tasks", "bridge", "--name", name]
    with child(command, log=log, env=site.process_env(), cwd=site.folder) as process:
        wait_for(
            lambda: "ready" in log.read_text() or process.poll() is not None,
            limit_s=60,
            what=f"bridge {name} is ready",
        )
        assert process.poll() is None, log.read_text()
        yield process


@pytest.fixture
def bridge(client: Client) -> Iterator[Bridge]:
    """A bridge in this process; nothing happens but what a test asks for."""
    made = make_bridge("one")
    yield made
    made._inbox.close()
    assert client.ledger.open_count() >= 0


def drain(bridge: Bridge) -> None:
    """Let it deal with all that there is: it takes one key of each queue at a time."""
    while bridge.take():
        pass


def held(site: Site, frontend: Frontend) -> list[str]:
    """What lies in the bridges' own lists."""
    found: list[str] = []
    for key in frontend.redis.scan_iter(f"{site.prefix}bridge:processing:*", count=1000):
        lines: Any = frontend.redis.lrange(key, 0, -1)
        found += lines
    return found


def test_job_of_an_old_client_from_end_to_end(
    site: Site, client: Client, frontend: Frontend
) -> None:
    with running_worker(site, "predict,cpu"), bridge_process(site) as process:
        key = frontend.submit(queue="relay_old", label="1", dimension_order="XYC")
        seen = ["new"]

        def ended() -> bool:
            status = frontend.poll(key)["status"]
            if status != seen[-1]:
                seen.append(status)
            return Status(status).terminal

        wait_for(ended, limit_s=60, what="the job has ended")
        hash_ = frontend.poll(key)
        assert hash_["status"] == "done", hash_.get("reason")
        assert seen == [status for status in STATUSES if status in seen]
        assert len(seen) >= 6
        assert (hash_["created_at"], hash_["progress"]) == (CREATED_AT, "100")
        assert hash_["finished_at"]
        assert hash_["job_id"] == job_id_of(key)
        output = site.bucket.get(hash_["output_file_name"])
        assert output.endswith(b"label=1 axes=YXC")
        assert hash_["output_url"] == site.bucket.url(hash_["output_file_name"])
        assert client.record(job_id_of(key)).fields["mirror"] == key
        assert frontend.redis.expire(key, 60) == 1
        assert 0 < int(frontend.redis.ttl(key)) <= 60

        frontend.push(key, queue="relay_old")
        other = frontend.submit(input_file_name="uploads/gone.tif")
        wait_for(lambda: frontend.poll(other)["status"] == "failed", what="the second has failed")
        assert "gone.tif" in frontend.poll(other)["reason"]
        assert frontend.poll(key) == hash_, "a finished hash that was pushed again was run again"

        process.terminate()
        assert process.wait(10) == 0

        client.links("stage")
        chained, bridge = frontend.submit(), make_bridge("two")
        drain(bridge)
        wait_for(lambda: frontend.poll(chained)["status"] == "done", what="the chain is done")
        assert frontend.redis.pubsub_channels(f"*{job_id_of(chained)}*") == []
        bridge._inbox.close()
    assert held(site, frontend) == []
    assert frontend.redis.exists(f"{site.prefix}bridge:alive:one") == 0
    assert client.ledger.open_count() == 0


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"input_file_name": ""}, "no 'input_file_name'"),
        ({"status": ""}, "no 'status'"),
        ({"input_file_name": "s3://other/x.tif"}, "reads 'bucket'"),
        ({"input_file_name": "uploads/../../x.tif"}, "'..'"),
        ({"model_version": "newest"}, "'model_version' is 'newest'"),
    ],
)
def test_hash_that_cannot_be_a_job(
    bridge: Bridge, frontend: Frontend, site: Site, changed: dict[str, str], reason: str
) -> None:
    key = frontend.submit(**changed)
    good = frontend.submit()
    drain(bridge)
    answer = frontend.poll(key)
    assert answer["status"] == "failed"
    assert reason in answer["reason"]
    assert answer["finished_at"]
    assert answer["created_at"] == CREATED_AT
    assert frontend.poll(good)["job_id"] == job_id_of(good)
    assert held(site, frontend) == []
    frontend.push(key)
    assert bridge.take() == 1
    assert frontend.poll(key) == answer


def test_hash_that_is_gone_fails_and_expires(bridge: Bridge, frontend: Frontend) -> None:
    key = f"{QUEUE}:gone.tif:{uuid4()}"
    frontend.push(key)
    assert bridge.take() == 1
    assert frontend.poll(key)["status"] == "failed"
    assert "hash is gone" in frontend.poll(key)["reason"]
    assert int(frontend.redis.ttl(key)) > 0


def test_what_is_no_hash_of_a_job_is_dropped_and_left_alone(
    bridge: Bridge, frontend: Frontend, site: Site
) -> None:
    text, foreign = f"{QUEUE}:text:1", f"{site.prefix}job:x"
    frontend.redis.set(text, "a string")
    frontend.redis.hset(foreign, "status", "new")
    for key in (text, foreign, "", QUEUE, b"relay:\xff:1"):
        frontend.push(key)
    drain(bridge)
    assert frontend.redis.get(text) == "a string"
    assert frontend.poll(foreign) == {"status": "new"}
    assert frontend.redis.exists("", QUEUE, b"relay:\xff:1") == 0
    assert held(site, frontend) == []
    assert frontend.waiting() == 0


def test_queue_that_is_no_list_stops_no_other(
    bridge: Bridge, client: Client, frontend: Frontend
) -> None:
    frontend.redis.set("relay_old", "a string")
    bridge._inbox._busiest = "relay_old"
    assert bridge.take() == 0
    bridge._inbox.wait(0.01)
    key = frontend.submit()
    drain(bridge)
    assert len(client.waiting("predict")) == 1
    assert frontend.poll(key)["job_id"] == job_id_of(key)


def test_hash_that_is_not_utf8_fails(bridge: Bridge, frontend: Frontend) -> None:
    key = frontend.write()
    frontend.redis.hset(key, "original_name", b"\xff.tif")
    frontend.push(key)
    bridge.take()
    assert frontend.redis.hget(key, "reason") == "the job's hash holds text that is not UTF-8."


def test_bug_fails_one_job_and_no_more(
    bridge: Bridge, frontend: Frontend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr("kiosk_tasks.bridge.bridge.job_of", broken)
        key = frontend.submit()
        bridge.take()
    assert "ZeroDivisionError: a bug" in frontend.poll(key)["reason"]
    assert frontend.poll(key)["status"] == "failed"


def test_pushed_twice_is_one_job(bridge: Bridge, client: Client, frontend: Frontend) -> None:
    key = frontend.submit()
    frontend.push(key)
    drain(bridge)
    assert len(client.waiting("predict")) == 1
    assert [record.id for record in newest(client.ledger, 9).records] == [job_id_of(key)]
    assert frontend.redis.pubsub_channels(f"*{job_id_of(key)}*") == [], "it awaits the result"


def test_finished_hash_is_not_run_again_even_when_its_record_has_expired(
    bridge: Bridge, client: Client, frontend: Frontend
) -> None:
    key = frontend.submit(status="done")
    bridge.take()
    assert frontend.poll(key)["status"] == "done"
    with pytest.raises(UnknownJob):
        client.record(job_id_of(key))


def test_hash_that_has_expired_does_not_come_back(
    bridge: Bridge, client: Client, frontend: Frontend, site: Site
) -> None:
    key = frontend.submit()
    bridge.take()
    frontend.redis.delete(key)
    claim = client.ledger.claim(job_id_of(key), stage_index=0)
    assert claim
    client.ledger.write(claim, {"progress": "50"})
    frontend.push(key)
    bridge.take()
    client.ledger.finish(claim.job_id, Status.DONE, {}, claim=claim)
    frontend.push(key)
    bridge.take()
    assert frontend.redis.exists(key) == 0
    assert held(site, frontend) == []


def test_the_clients_own_expiry_stands(bridge: Bridge, client: Client, frontend: Frontend) -> None:
    soon, never = frontend.submit(), frontend.submit()
    drain(bridge)
    frontend.redis.expire(soon, 100)
    for key in (soon, never):
        client.ledger.finish(job_id_of(key), Status.DONE, {})
        assert frontend.poll(key)["status"] == "done"
    assert 0 < int(frontend.redis.ttl(soon)) <= 100
    assert int(frontend.redis.ttl(never)) > 100


def test_cancelled_job_has_failed_for_a_frontend_that_knows_no_other_word(
    bridge: Bridge, client: Client, frontend: Frontend
) -> None:
    key = frontend.submit()
    bridge.take()
    client.ledger.finish(job_id_of(key), Status.CANCELLED, {"reason": "it was cancelled."})
    told = frontend.poll(key)
    assert (told["status"], told["reason"]) == ("failed", "it was cancelled.")
    assert client.record(job_id_of(key)).status is Status.CANCELLED


def paced(client: Client, name: str, **pace: float) -> Bridge:
    submit = sys.modules["kiosk_tasks.run.chain"].submit
    return Bridge(
        client.ledger,
        name,
        bucket_url=client.site.env["KIOSK_BUCKET"],
        submit=submit,
        pace=Pace(**pace),
    )


def turn(bridge: Bridge) -> None:
    """What a running bridge does, once."""
    for chore in bridge._chores:
        chore.do_if_due()
    bridge.take()


def test_what_a_dead_replica_held_is_taken_over(client: Client, frontend: Frontend) -> None:
    ours = paced(client, "ours", rescue_every=0.0)
    dead, alive = paced(client, "dead"), paced(client, "alive")
    for other in (dead, alive):
        turn(other)  # so that it is known
    keys = [frontend.write() for _ in range(5)]
    prefix = f"{client.site.prefix}bridge:"
    frontend.redis.lpush(f"{prefix}processing:dead", *keys[:4])
    frontend.redis.lpush(f"{prefix}processing:alive", keys[4])
    dead._inbox.leave()
    turn(ours)
    assert ["job_id" in frontend.poll(key) for key in keys] == [True] * 4 + [False]
    assert held(client.site, frontend) == keys[4:]
    assert frontend.redis.smembers(f"{prefix}replicas") == {"ours", "alive"}


def test_hash_that_nobody_pushed_is_taken_after_a_while(
    client: Client, frontend: Frontend, wait_until: Callable[..., Any]
) -> None:
    bridge = paced(client, "ours", orphan_age=0.3, orphan_step_every=0.0)
    orphan, done = frontend.write(), frontend.write(status="done")
    waiting = frontend.submit()
    turn(bridge)
    assert "job_id" not in frontend.poll(orphan)

    def adopted() -> bool:
        turn(bridge)
        return "job_id" in frontend.poll(orphan)

    wait_until(adopted)
    assert {record.id for record in newest(client.ledger, 9).records} == set(
        map(job_id_of, [orphan, waiting])
    )
    assert "job_id" not in frontend.poll(done)
    assert len(client.waiting("predict")) == 2


class Killed(BaseException):
    """This process dies here, as far as the bridge can tell."""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("good", [True, False], ids=["job", "refused"])
def test_killed_between_any_two_commands(
    client: Client,
    frontend: Frontend,
    monkeypatch: pytest.MonkeyPatch,
    when: str,
    good: bool,
) -> None:
    """before: the command is not sent any more. after: it is, but its answer is not read."""
    send: Any = redis.Connection.send_packed_command
    left = 0

    def counted(self: Any, command: Any, **options: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0 and when == "before":
            self.disconnect()
            raise Killed
        send(self, command, **options)
        if left == 0:
            self.disconnect()
            raise Killed

    keys, died = [], True
    while died:
        keys.append(frontend.submit(**({} if good else {"input_file_name": "/"})))
        bridge = make_bridge("one")
        with monkeypatch.context() as patch:
            patch.setattr(redis.Connection, "send_packed_command", counted)
            left = len(keys)
            try:
                bridge.take()
                died = left <= 0
            except Killed:
                died = True
        again = make_bridge("one")
        drain(again)
        for one in (bridge, again):
            one._inbox.close()
    assert len(keys) > (8 if good else 4)
    assert frontend.waiting() == 0
    assert held(client.site, frontend) == []
    ids = {record.id for record in newest(client.ledger, 1000).records}
    if good:
        assert ids == {job_id_of(key) for key in keys}
        waiting = f"{client.site.prefix}waiting:predict:6"
        # Recorded and not sent is a job that the reaper sends: it waits in the ledger's eyes.
        assert set(frontend.redis.zrange(waiting, 0, -1)) == ids
        sent = [json.loads(message)["headers"]["id"] for message in client.waiting("predict")]
        assert len(sent) == len(set(sent))
        assert set(sent) < ids
    else:
        assert ids == set()
        assert {frontend.poll(key)["status"] for key in keys} == {"failed"}


@pytest.mark.usefixtures("client")
def test_server_that_is_away(frontend: Frontend) -> None:
    bridge = make_bridge("one")
    key = frontend.submit()
    pool = bridge._redis.connection_pool
    pool.reset()
    port, pool.connection_kwargs["port"] = pool.connection_kwargs["port"], 1
    with pytest.raises(BrokerUnavailable):
        bridge.take()
    pool.reset()
    pool.connection_kwargs["port"] = port
    assert bridge.take() == 1
    assert frontend.poll(key)["job_id"] == job_id_of(key)
    bridge._inbox.close()


def test_two_bridges_at_once(client: Client, frontend: Frontend, site: Site) -> None:
    with bridge_process(site, "one"), bridge_process(site, "two"):
        keys = [frontend.submit() for _ in range(60)]
        wait_for(lambda: all("job_id" in frontend.poll(key) for key in keys), what="all are taken")
    assert held(site, frontend) == []
    assert len(client.waiting("predict")) == 60
