"""Jobs through a real broker, a real worker and a real model server."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import textwrap
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import redis

from kiosk_tasks.errors import (
    InternalError,
    InvalidParameter,
    MissingObject,
    OutOfMemory,
    UnknownModel,
    UnusableImage,
)
from kiosk_tasks.job import Status, new_job
from kiosk_tasks.jobs import declared, find
from kiosk_tasks.ledger import LostJobs, Record
from kiosk_tasks.queues import numbers_of
from kiosk_tasks.run.held import BrokerLists
from kiosk_tasks.run.links import ADMIT, lane_of
from kiosk_tasks.run.local import run_local
from kiosk_tasks.serving.launch import ModelServerProcess
from kiosk_tasks.settings import PROTOCOL, Settings
from kiosk_tasks.storage.local import LocalStorage
from kiosk_tasks.wiring import make_ledger
from tests.built_models import built
from tests.conftest import forget_adapters, place_on, wait_for
from tests.fakes import tiff_bytes
from tests.processes import child
from tests.synthetic import draw_nuclei

LONGEST_MESSAGE = 4000
STAGES = ("download", "preprocess", "predict", "postprocess", "upload")
INPUT = {"input_file_name": "uploads/nuclei.tif", "original_name": "my nuclei.tif"}

PLUGIN = '''
"""A job type of someone else's package: tells about its process, or fails as it is asked to."""

import os
import sys
from typing import Literal

import psutil

from kiosk_tasks.errors import StorageUnavailable, UnusableImage
from kiosk_tasks.job import JobType, Params


class SpyParams(Params):
    act: Literal["report", "refuse", "bug", "memory", "flaky"] = "report"


def begin(_, ctx):
    return ("a value that waits", ctx.params.act)


def act(value, ctx):
    match ctx.params.act:
        case "refuse":
            raise UnusableImage("nothing can be found in it.")
        case "bug":
            raise ZeroDivisionError("a bug")
        case "memory":
            raise MemoryError
        case "flaky":
            key = f"tried/{ctx.job.id}"
            if not ctx.storage.exists(key):
                ctx.storage.put(key, b"")
                raise StorageUnavailable("the bucket does not answer.")
    return value


def end(value, ctx):
    heavy = [name for name in ("tensorflow", "boto3", "google.cloud") if name in sys.modules]
    megabytes = psutil.Process().memory_info().rss / 1e6
    ctx.report.note(heavy=heavy, megabytes=megabytes, pid=os.getpid())
    return {"output_file_name": value[1], "output_url": ""}


job_type = JobType("spy", "A spy", "predict", SpyParams, (begin, act, end))
'''

SPLITTER = '''
"""A job type of someone else's package that hands its work to children, if there is enough."""

from kiosk_tasks.fan_out import Child, FanOut, Gathered
from kiosk_tasks.job import JobType, Params, stage
from kiosk_tasks.outputs import parts_folder


class SplitParams(Params):
    parts: int = 0


def split(_, ctx):
    if not ctx.params.parts:
        return "alone"
    children = []
    for number in range(ctx.params.parts):
        key = f"{parts_folder(ctx.job.id)}{number}.bin"
        ctx.storage.put_new(key, b"part")
        children.append(Child("leaf", {"input_file_name": key}))
    return FanOut(tuple(children), keep="gathered")


def gather(value, ctx):
    if not isinstance(value, Gathered):
        return value
    data = b"".join(ctx.storage.get(o.output["output_file_name"]) for o in value.outcomes)
    return f"{value.keep} {data.decode()}"


def postprocess(value, ctx):
    return value


def end(value, ctx):
    return {"output_file_name": value, "output_url": ""}


job_type = JobType(
    "split", "Splits", "predict", SplitParams,
    (stage(split, fans_out=True), gather, postprocess, end),
)
'''

LEAF = """
from kiosk_tasks.job import JobType, Params


def only(_, ctx):
    key = f"output/{ctx.job.id}/result.bin"
    ctx.storage.put_new(key, ctx.storage.get(ctx.job.source.input_file_name))
    return {"output_file_name": key, "output_url": ""}


job_type = JobType("leaf", "A leaf", "predict", Params, (only,))
"""


@dataclass(frozen=True)
class Site:
    """Where the parts of one installation are: what its processes find in their environment."""

    folder: Path
    env: dict[str, str]

    @property
    def log(self) -> Path:
        return self.folder / "worker.log"

    @property
    def bucket(self) -> LocalStorage:
        return LocalStorage(self.folder / "bucket")

    @property
    def workspace(self) -> LocalStorage:
        return LocalStorage(self.folder / "workspace")

    @property
    def prefix(self) -> str:
        return self.env["KIOSK_KEY_PREFIX"]

    @property
    def broker_prefix(self) -> str:
        return f"{self.prefix}v{PROTOCOL}:"

    def process_env(self, **more: str) -> dict[str, str]:
        return {**os.environ, **self.env, **more}


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like the site-packages of an installed plugin."""
    folder = tmp_path_factory.mktemp("plugin")
    for name, code in {"spy": PLUGIN, "split": SPLITTER, "leaf": LEAF}.items():
        (folder / f"{name}_job.py").write_text(code)
    entries = "".join(f"{name} = {name}_job:job_type\n" for name in ("spy", "split", "leaf"))
    info = folder / "spy_job-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: spy-job\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[kiosk_tasks.job_types]\n{entries}")
    return folder


@pytest.fixture(scope="module")
def model_server(tmp_path_factory: pytest.TempPathFactory, kept_models: Path) -> Iterator[str]:
    """host:port of a real gRPC server with the nuclear model's signature."""
    models = built("nuclei_model", kept_models)
    log = tmp_path_factory.mktemp("model-server") / "log"
    options = ["--intra-threads", "1", "--poll-s", "60"]
    with log.open("wb") as output, ModelServerProcess([models], options=options, log=output) as it:
        yield it.target


@contextmanager
def new_site(valkey: str, model_server: str, plugin: Path, folder: Path) -> Iterator[Site]:
    with place_on(valkey) as place:
        env = {
            "KIOSK_HOME": str(folder / "home"),
            "KIOSK_BROKER_URL": valkey,
            "KIOSK_KEY_PREFIX": place.prefix,
            "KIOSK_BUCKET": (folder / "bucket").as_uri(),
            "KIOSK_WORKSPACE": (folder / "workspace").as_uri(),
            "KIOSK_MODEL_SERVER": model_server,
            "KIOSK_MODEL_WAIT": "10",
            "PYTHONPATH": str(plugin),
        }
        site = Site(folder, env)
        image, _ = draw_nuclei((600, 700), count=60, seed=3)
        site.bucket.put(INPUT["input_file_name"], tiff_bytes(image))
        yield site


@contextmanager
def running_worker(site: Site, queues: str, **env: str) -> Iterator[int]:
    """A worker with one child; ready when this yields its process id."""
    ready = site.folder / "worker.ready"
    ready.unlink(missing_ok=True)
    options = ["-Q", queues, "-c", "1", "-n", "test@%h", "--loglevel", "INFO"]
    command = [sys.executable, "-m", "celery", "-A", "kiosk_tasks", "worker", *options]
    environment = site.process_env(
        KIOSK_READY_FILE=str(ready),
        KIOSK_STAGE_QUEUES=json.dumps({"postprocess": "cpu", "preprocess": "cpu"}),
        **env,
    )
    quiet = ["--without-gossip", "--without-mingle"]
    with child([*command, *quiet], log=site.log, env=environment, cwd=site.folder) as process:
        wait_for(
            lambda: ready.exists() or process.poll() is not None, limit_s=60, what="worker is ready"
        )
        assert process.poll() is None, site.log.read_text()
        yield process.pid


@pytest.fixture(scope="module")
def busy(
    valkey: str, model_server: str, plugin: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """An installation with a worker on every queue."""
    folder = tmp_path_factory.mktemp("busy")
    with (
        new_site(valkey, model_server, plugin, folder) as site,
        running_worker(site, "predict,cpu"),
    ):
        yield site


class Client:
    """This process as a client of a site: its own Celery application, under the site's settings."""

    def __init__(self, site: Site, patch: pytest.MonkeyPatch) -> None:
        self.site = site
        self._patch = patch
        self.app = import_module("kiosk_tasks").app
        self.ledger = make_ledger(Settings.load())

    def task(self, name: str) -> Any:
        return getattr(import_module("kiosk_tasks"), name)

    def links(self, mode: str = "queue", **stage_queues: str) -> None:
        """Choose how jobs sent from now on are cut into links."""
        self._patch.setenv("KIOSK_LINKS", mode)
        self._patch.setenv("KIOSK_STAGE_QUEUES", json.dumps(stage_queues))

    def record(self, job_id: str) -> Record:
        return self.ledger.record(job_id)

    def waiting(self, queue: str) -> list[bytes]:
        """The raw messages on a queue, of every priority."""
        with redis.Redis.from_url(self.site.env["KIOSK_BROKER_URL"]) as raw:
            names = [f"{self.site.broker_prefix}{queue}{end}" for end in ("", f":{ADMIT}")]
            found: list[Any] = [raw.lrange(name, 0, -1) for name in names]
            return [message for part in found for message in part]


_FRESH = ("celeryconfig", "kiosk_tasks.run.chain", "kiosk_tasks.run.task", "kiosk_tasks.service")


@contextmanager
def client_of(site: Site, plugin: Path) -> Iterator[Client]:
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        for name, value in site.env.items():
            patch.setenv(name, value)
        patch.setenv("KIOSK_STAGE_QUEUES", '{"postprocess": "cpu"}')
        patch.syspath_prepend(str(plugin))
        _forget_application()
        stack.callback(_forget_application)
        client = Client(site, patch)
        stack.callback(client.ledger._redis.close)
        stack.callback(client.app.close)
        client.app.finalize()
        _ = client.app.conf.broker_url  # read while the queue `cpu` is named
        client.links()
        yield client


def _forget_application() -> None:
    """Let the next use of the application read its settings anew."""
    forget_adapters()
    declared.cache_clear()
    for name in _FRESH:
        sys.modules.pop(name, None)


@pytest.fixture
def client(busy: Site, plugin: Path) -> Iterator[Client]:
    with client_of(busy, plugin) as one:
        yield one


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def comparable(data: bytes) -> dict[str, Any]:
    """An output archive without what differs from run to run: id, time of submission, seconds."""
    files: dict[str, Any] = members(data)
    name = "my nuclei_job.json"
    record = json.loads(files[name])
    assert record["job"].pop("id")
    assert record["job"].pop("created_at")
    assert set(record.pop("seconds")) == set(STAGES[:-1])
    files[name] = record
    return files


MODES: dict[str, Callable[[Client], None]] = {
    "one link": lambda client: client.links(),
    "a queue of its own": lambda client: client.links(postprocess="cpu"),
    "a task per stage": lambda client: client.links("stage"),
    "both": lambda client: client.links("stage", postprocess="cpu"),
}


def test_local_and_every_cut_into_links_give_the_same_bytes(client: Client) -> None:
    job = new_job(find("predict"), INPUT)
    run_local(job)
    local = comparable(client.site.bucket.get(f"output/{job.id}/my nuclei.zip"))
    assert local["my nuclei_job.json"]["cells"] > 30
    assert len(local) == 6
    for mode, choose in MODES.items():
        choose(client)
        result = client.task("predict").delay(**INPUT)
        answer = result.get(timeout=30)
        assert answer == {
            "output_file_name": f"output/{result.id}/my nuclei.zip",
            "output_url": client.site.bucket.url(f"output/{result.id}/my nuclei.zip"),
        }
        assert comparable(client.site.bucket.get(answer["output_file_name"])) == local, mode
        record = client.record(result.id)
        assert record.status is Status.DONE
        assert record.progress == 100
        assert record.fields["output_url"] == answer["output_url"]
        assert set(record.seconds()) == set(STAGES)
        assert float(record.fields["total_time"]) > 0
        assert client.ledger.open_count() == 0
        assert list(client.site.workspace.list()) == [], mode


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("parts", "output"), [(0, "alone"), (3, "gathered partpartpart")])
def test_a_stage_that_may_fan_out(client: Client, mode: str, parts: int, output: str) -> None:
    MODES[mode](client)
    before = sorted(client.site.bucket.list())
    result = client.task("split").delay(input_file_name="x", parts=parts)
    assert result.get(timeout=30)["output_file_name"] == output
    record = client.record(result.id)
    assert record.status is Status.DONE
    children = record.fields.get("children", "")
    assert children == ",".join(client.ledger.children(result.id))
    assert record.fields.get("children:done", "") == children
    assert record.fields.get("total_jobs", "0") == str(parts)
    wait_for(lambda: sorted(client.site.bucket.list()) == before, what="parts and results are gone")
    assert list(client.site.workspace.list()) == []
    assert client.ledger.open_count() == 0


@pytest.mark.parametrize(("parts", "output"), [(0, "alone"), (2, "gathered partpart")])
def test_a_stage_that_may_fan_out_sent_by_name_only(
    client: Client, parts: int, output: str
) -> None:
    fields = {"input_file_name": "x", "parts": parts}
    result = client.app.send_task("split", kwargs=fields, queue="predict")
    assert result.get(timeout=30)["output_file_name"] == output


@pytest.mark.parametrize(("parts", "output"), [(0, "alone"), (2, "gathered partpart")])
def test_a_stage_that_may_fan_out_here(client: Client, parts: int, output: str) -> None:
    before = sorted(client.site.bucket.list())
    job = new_job(find("split"), {"input_file_name": "x", "parts": parts})
    assert run_local(job)["output_file_name"] == output
    assert sorted(client.site.bucket.list()) == before


@pytest.mark.parametrize("mode", ["queue", "stage"])
def test_result_is_kept_only_where_somebody_has_it(client: Client, mode: str) -> None:
    """Of a job that the ledger is asked about, and of children, Celery's backend hears nothing."""
    client.links(mode)
    kept, fields = f"{client.site.broker_prefix}celery-task-meta-", {"input_file_name": "x"}
    with redis.Redis.from_url(client.site.env["KIOSK_BROKER_URL"], decode_responses=True) as raw:
        before = set(raw.scan_iter(f"{kept}*"))
        own = import_module("kiosk_tasks.service").submit("spy", fields)
        result = client.task("split").delay(**fields, parts=3)
        assert result.get(timeout=30)["output_file_name"] == "gathered partpartpart"
        wait_for(lambda: client.record(own.id).status is Status.DONE)
        assert set(raw.scan_iter(f"{kept}*")) - before == {f"{kept}{result.id}"}


def test_what_a_job_asks_of_the_broker(client: Client) -> None:
    """Submission, claim, end and message; a command more is paid by each of 100,000 jobs."""
    service = import_module("kiosk_tasks.service")
    count = 20

    def calls() -> Counter[str]:
        with redis.Redis.from_url(
            client.site.env["KIOSK_BROKER_URL"], decode_responses=True
        ) as raw:
            stats: Any = raw.info("commandstats")
        return Counter({name.removeprefix("cmdstat_"): one["calls"] for name, one in stats.items()})

    service.submit("spy", {"input_file_name": "x"})  # who connects asks more
    wait_for(lambda: client.ledger.open_count() == 0)
    before = calls()
    for _ in range(count):
        service.submit("spy", {"input_file_name": "x"})
    wait_for(lambda: client.ledger.open_count() == 0)
    asked = calls() - before
    assert not {"eval", "setex", "subscribe", "unsubscribe"} & asked.keys()
    assert asked["evalsha"] <= 4 * count, asked  # a slow machine's stages are told of
    assert asked["publish"] < count, asked  # Flower's events of several jobs, and heartbeats
    assert asked["brpop"] <= 2 * count, asked


def test_named_model_and_version(client: Client) -> None:
    task = client.task("predict")
    result = task.delay(
        input_file_name=INPUT["input_file_name"],
        model_name="NuclearSegmentation",
        model_version=1,
    )
    answer = result.get(timeout=30)
    assert set(answer) == {"output_file_name", "output_url"}
    assert client.record(result.id).notes()["model"] == {
        "name": "NuclearSegmentation",
        "version": 1,
    }


def test_message_sent_by_name_only(client: Client) -> None:
    result = client.app.send_task("predict", kwargs=dict(INPUT), queue="predict")
    assert result.get(timeout=30)["output_file_name"] == f"output/{result.id}/my nuclei.zip"
    assert client.record(result.id).status is Status.DONE


def test_wrong_parameter_sent_by_name_only(client: Client) -> None:
    result = client.app.send_task("predict", kwargs={**INPUT, "chanel": 1}, queue="predict")
    with pytest.raises(InvalidParameter, match="did you mean 'channel'"):
        result.get(timeout=30)


def test_wrong_parameter_is_told_before_anything_is_sent(client: Client) -> None:
    with pytest.raises(InvalidParameter, match="did you mean 'channel'"):
        client.task("predict").delay(**INPUT, chanel=1)
    assert client.waiting("predict") == []


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("act", "error", "sentence"),
    [
        ("refuse", UnusableImage, "nothing can be found in it."),
        ("bug", InternalError, "ZeroDivisionError: a bug"),
        ("memory", OutOfMemory, "Split the image"),
    ],
)
def test_job_that_fails_halfway(
    client: Client, mode: str, act: str, error: type[Exception], sentence: str
) -> None:
    MODES[mode](client)
    spy = client.task("spy")
    result = spy.delay(input_file_name="x", act=act)
    with pytest.raises(error, match=sentence):
        result.get(timeout=30)
    record = client.record(result.id)
    assert record.status is Status.FAILED
    assert sentence in record.fields["reason"]
    assert list(client.site.workspace.list()) == []
    assert client.ledger.open_count() == 0
    next_one = spy.delay(input_file_name="x")
    assert next_one.get(timeout=30)["output_file_name"] == "report"


@pytest.mark.parametrize("mode", ["one link", "a task per stage"])
def test_what_may_pass_is_tried_again(client: Client, mode: str) -> None:
    MODES[mode](client)
    result = client.task("spy").delay(input_file_name="x", act="flaky")
    assert result.get(timeout=30)["output_file_name"] == "flaky"
    assert client.record(result.id).status is Status.DONE
    assert list(client.site.workspace.list()) == []


def test_message_sent_by_name_only_is_tried_again_too(client: Client) -> None:
    result = client.app.send_task(
        "spy", kwargs={"input_file_name": "x", "act": "flaky"}, queue="predict"
    )
    assert result.get(timeout=30)["output_file_name"] == "flaky"


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"input_file_name": "uploads/gone.tif"}, MissingObject),
        ({**INPUT, "model_version": 7}, UnknownModel),
        ({**INPUT, "model_name": "Nobody"}, UnknownModel),
    ],
)
def test_reason_reaches_the_record(
    client: Client, fields: dict[str, Any], error: type[Exception]
) -> None:
    result = client.task("predict").delay(**fields)
    with pytest.raises(error) as told:
        result.get(timeout=30)
    record = client.record(result.id)
    assert record.status is Status.FAILED
    assert record.fields["reason"] == str(told.value)


def test_submitted_twice_runs_once(client: Client) -> None:
    spy = client.task("spy")
    first = spy.apply_async(kwargs={"input_file_name": "x"}, task_id="the-same")
    assert first.get(timeout=30)
    again = spy.apply_async(kwargs={"input_file_name": "x"}, task_id="the-same")
    assert again.get(timeout=30) == first.get(timeout=30)
    assert client.record("the-same").fields["attempts"] == "1"


def test_echo_of_an_ended_job_changes_nothing(client: Client) -> None:
    spy = client.task("spy")
    result = spy.delay(input_file_name="x")
    result.get(timeout=30)
    before = client.record(result.id).fields
    echo = spy.apply_async(kwargs={"job_id": result.id, "stop": 3}, task_id="echo")
    spy.delay(input_file_name="x").get(timeout=30)  # behind the echo on the same queue
    assert client.record(result.id).fields == before
    assert client.app.backend.get_state(echo.id) in ("PENDING", "IGNORED")


def test_child_of_the_worker_stays_small(client: Client) -> None:
    client.task("predict").delay(**INPUT).get(timeout=30)
    result = client.task("spy").delay(input_file_name="x")
    result.get(timeout=30)
    notes = client.record(result.id).notes()
    assert notes["heavy"] == []
    assert notes["megabytes"] < 400


def test_ping_from_another_folder(busy: Site, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "celery", "-A", "kiosk_tasks", "inspect", "ping"]
    done = subprocess.run(
        [*command, "--timeout", "20", "--json", "-d", f"test@{socket.gethostname()}"],
        cwd=tmp_path,
        env=busy.process_env(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "pong" in done.stdout


@pytest.fixture
def idle(
    valkey: str, model_server: str, plugin: Path, tmp_path: Path
) -> Iterator[tuple[Site, Client]]:
    """An installation where no worker runs."""
    with (
        new_site(valkey, model_server, plugin, tmp_path) as site,
        client_of(site, plugin) as client,
    ):
        yield site, client


LONG_NAME = {
    "input_file_name": f"uploads/{'k' * 150}/{'k' * 150}.tif",
    "original_name": "µ" * 90 + ".tif",
}


@pytest.mark.parametrize("mode", MODES)
def test_messages_carry_no_pixels_and_no_names(idle: tuple[Site, Client], mode: str) -> None:
    site, client = idle
    MODES[mode](client)
    result = client.task("predict").delay(**LONG_NAME, axes="YX", mpp=0.325, min_size=30)
    (message,) = client.waiting("predict")
    assert len(message) < LONGEST_MESSAGE
    assert "k" * 20 not in message.decode()
    lists = BrokerLists(client.ledger._redis, prefix=site.broker_prefix)
    assert lists.look("predict").length == 0
    assert lists.look(lane_of("predict", ADMIT)).length == 1
    assert not lists.look("predict").held
    (load,) = numbers_of(client.ledger, ["predict"]).queues
    assert (load.waiting, load.in_flight) == (1, 0)
    assert client.record(result.id).status is Status.NEW


@pytest.mark.parametrize("mode", MODES)
def test_a_job_goes_on_in_a_chain_of_the_users_own(idle: tuple[Site, Client], mode: str) -> None:
    _, client = idle
    MODES[mode](client)
    predict = client.task("predict")
    after = predict.si(job_id="of-the-user", stop=1)
    (predict.s(input_file_name="uploads/x.tif") | after).apply_async()
    (message,) = client.waiting("predict")
    body = json.loads(base64.b64decode(json.loads(message)["body"]))
    assert body[2]["chain"][0]["kwargs"]["job_id"] == "of-the-user"  # the last comes first


def test_depth_first_and_small_messages_on_the_way(idle: tuple[Site, Client]) -> None:
    site, client = idle
    predict = client.task("predict")
    client.links("stage")
    results = [predict.delay(**INPUT) for _ in range(8)]
    with running_worker(site, "predict"):
        for result in results:
            result.get(timeout=60)
        order = re.findall(r"stage job_id=(\w+) stage=(\w+)", site.log.read_text())
        assert len(order) == 40
        assert [stage for _, stage in order].index("upload") + 1 <= 6
        assert [job_id for job_id, stage in order if stage == "upload"] == [r.id for r in results]

        client.links("stage", preprocess="cpu")  # where nobody listens: the next link stays there
        predict.delay(**INPUT)
        (message,) = wait_for(lambda: client.waiting("cpu"))
        assert len(message) < LONGEST_MESSAGE
        assert BrokerLists(client.ledger._redis, prefix=site.broker_prefix).look("cpu").length == 1
        (load,) = numbers_of(client.ledger, ["cpu"]).queues
        assert (load.waiting, load.in_flight) == (1, 0)
        assert len(list(site.workspace.list())) == 1


def test_celery_beat_may_look_for_lost_jobs(idle: tuple[Site, Client]) -> None:
    site, client = idle
    (scheduled,) = client.app.conf.beat_schedule.values()
    result = client.task("spy").delay(input_file_name="x")
    client.ledger.scripts.client.delete(f"{site.broker_prefix}{lane_of('predict', ADMIT)}")
    wait_for(lambda: age_of(client, result.id) > 2, what="it is no longer on its way")
    with running_worker(site, "predict,reaper"):
        client.app.send_task(scheduled["task"])
        assert result.get(timeout=30)["output_file_name"] == "report"
    assert client.record(result.id).fields["sent_again"] == "1"


def age_of(client: Client, job_id: str) -> float:
    """Seconds since the job was sent, by the broker's clock."""
    lost = LostJobs(client.ledger)
    (since,) = lost.since(lane_of("predict", ADMIT), [job_id])
    assert since
    return lost.time() - since


def test_import_is_quick_and_light() -> None:
    script = textwrap.dedent("""
        import sys, time
        start = time.perf_counter()
        import kiosk_tasks
        print(time.perf_counter() - start)
        heavy = ("tensorflow", "boto3", "google.cloud", "celery", "numpy")
        print([name for name in heavy if name in sys.modules])
        from kiosk_tasks import predict
        print([name for name in heavy[:3] if name in sys.modules])
    """)
    seconds = []
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
        )
        took, at_once, with_tasks = done.stdout.split("\n")[:3]
        seconds.append(float(took))
        assert (at_once, with_tasks) == ("[]", "[]")
    assert statistics.median(seconds) <= 0.3
