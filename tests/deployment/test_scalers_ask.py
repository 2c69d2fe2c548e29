"""What scalers, rules and the dashboard ask is answered: by a real exporter, Flower, Prometheus."""

from __future__ import annotations

import base64
import json
import re
import sys
import urllib.error
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import wait_for
from tests.deployment.test_alerts import OTHERS, OURS, panel_expressions
from tests.kiosk_up import Kiosk
from tests.ports import free_port
from tests.processes import child
from tests.prometheus import Prometheus, get
from tests.rendered import CHART, NAMESPACE, VARIANTS, by_queue, of_kind, render
from tests.security_site import ask
from tests.tools import tool

LOGIN = "lab:word-12345"
BASIC = f"Basic {base64.b64encode(LOGIN.encode()).decode()}"
MONITORING = Path(__file__).parents[2] / "docs" / "monitoring.md"
_NAMES = re.compile(r"^# TYPE (\w+) (\w+)$", re.MULTILINE)


@dataclass(frozen=True)
class Site:
    """Ports of what is asked, beside one running stack."""

    web: int
    exporter: int
    flower: int
    prometheus: Prometheus


@pytest.fixture(scope="module")
def site(kiosk: Kiosk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Exporter, Flower and a Prometheus with our rules, set up as the page says."""
    folder = tmp_path_factory.mktemp("site")
    ports = {name: free_port() for name in ("exporter", "flower", "prometheus")}
    ports["web"] = int(kiosk.url.rsplit(":", 1)[1].strip("/"))
    config = folder / "prometheus.yml"
    config.write_text(scrape_config(ports))
    kiosk_command = [sys.executable, "-m", "kiosk_tasks"]
    env = {**kiosk.env, "KIOSK_FLOWER_AUTH": LOGIN}
    place = f"127.0.0.1:{ports['prometheus']}"
    series = f"--storage.tsdb.path={folder / 'series'}"
    server = [str(tool("prometheus")), f"--config.file={config}", series, "--log.level=warn"]
    commands = {
        "exporter": [*kiosk_command, "exporter", "--port", str(ports["exporter"])],
        "flower": [*kiosk_command, "flower", "--port", str(ports["flower"])],
        "prometheus": [*server, f"--web.listen-address={place}"],
    }
    log = folder / "log"
    with (
        child(commands["exporter"], log=log, env=env, cwd=folder),
        child(commands["flower"], log=log, env=env, cwd=folder),
        child(commands["prometheus"], log=log),
    ):
        prometheus = Prometheus(ports["prometheus"])
        wait_for(lambda: _scraped(prometheus), limit_s=120, what=f"all are scraped, see {log}")
        yield Site(ports["web"], ports["exporter"], ports["flower"], prometheus)


def scrape_config(ports: dict[str, int]) -> str:
    """Return the page's configuration with this machine's addresses, and quicker."""
    text = MONITORING.read_text()
    block = text[text.index("<!-- test: scrape -->") :].split("```yaml\n")[1].split("```")[0]
    config = yaml.safe_load(block)
    config["global"] |= {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(CHART / "files" / name) for name in config["rule_files"]]
    for job in config["scrape_configs"]:
        for static in job["static_configs"]:
            static["targets"] = [f"127.0.0.1:{ports[job['job_name']]}"]
            static["labels"] = {"namespace": NAMESPACE}  # as the operator's monitors set it
    return yaml.safe_dump(config)


def _scraped(prometheus: Prometheus) -> bool:
    try:
        up = prometheus.query("up == 1")
        return len(up) == 3 and bool(prometheus.query("kiosk:queue_waiting"))
    except OSError:
        return False


def located(answer: Any, location: str) -> Any:
    r"""Return what a GJSON path leads to: `a.b`, `a\.b` and `#(a=="b")` are what the chart uses."""
    for step in re.findall(r"#\([^)]*\)|(?:\\.|[^.\\])+", location):
        query = re.fullmatch(r'#\((\w+)=="(.*)"\)', step)
        if query:
            (answer,) = [each for each in answer if each[query[1]] == query[2]]
        else:
            answer = answer[step.replace("\\.", ".")]
    return answer


def test_exporter_answers_each_scaler(site: Site) -> None:
    answer = json.loads(get(site.exporter, "/queues.json"))
    objects = render(*VARIANTS["models"])
    scalers = of_kind(objects, "ScaledObject").values()
    assert len(scalers) == len(by_queue(objects, "ScaledObject")) + 1
    for found in scalers:
        asked = found["spec"]["triggers"][0]["metadata"]
        assert asked["url"].endswith("/queues.json")
        value = located(answer, asked["valueLocation"])
        assert isinstance(value, int)
    with pytest.raises(KeyError):
        located(answer, "queues.predict.wanted_worker")


def test_flower_answers_each_scaler_that_knows_the_password(site: Site) -> None:
    asked = [
        found["spec"]["triggers"][0]["metadata"]
        for found in by_queue(render(*VARIANTS["flower"]), "ScaledObject").values()
    ]
    paths = {"/" + one["url"].split("/", 3)[3] for one in asked}
    assert paths == {"/api/queues/length"}
    assert ask(site.flower, "/api/queues/length") == 401
    answer = json.loads(get(site.flower, "/api/queues/length", Authorization=BASIC))
    for one in asked:
        assert one["authMode"] == "basic"
        assert isinstance(located(answer, one["valueLocation"]), int)


def test_prometheus_answers_each_scaler_as_the_exporter_does(site: Site) -> None:
    told = json.loads(get(site.exporter, "/queues.json"))["queues"]
    for queue, found in by_queue(render(*VARIANTS["prometheus"]), "ScaledObject").items():
        asked = found["spec"]["triggers"][0]["metadata"]["query"]
        (answer,) = site.prometheus.query(asked)
        assert float(answer["value"][1]) == told[queue]["wanted_workers"]
    assert site.prometheus.query('max(kiosk_queue_wanted_workers{queue="nobodys"})') == []


def test_every_metric_that_is_asked_for_is_told(site: Site) -> None:
    web, exporter = (told(get(port, "/metrics")) for port in (site.web, site.exporter))
    alone = {name for name in OURS if "http" in name or "web" in name}
    not_yet = {"kiosk_reaper_seconds_since_look"}  # where nobody has looked
    assert OURS - web - not_yet == set()
    assert OURS - exporter - not_yet == alone
    flower = {name for name in OTHERS if name.startswith("flower_")}
    assert flower - told(get(site.flower, "/metrics")) == set()
    assert flower


def told(metrics: str) -> set[str]:
    """Return the names of the series that metrics of these names have."""
    ends = {"counter": ("",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
    return {f"{name}{end}" for name, kind in _NAMES.findall(metrics) for end in ends.get(kind, ())}


def test_rules_and_dashboard_work_on_a_real_server(site: Site) -> None:
    groups = json.loads(get(site.prometheus.port, "/api/v1/rules"))["data"]["groups"]
    health = {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}
    assert set(health.values()) == {"ok"}, health
    assert len(health) > 20
    for expression in panel_expressions():
        site.prometheus.query(re.sub(r"\$\w+", ".*", expression))
    for gauge in ("kiosk:queue_waiting", "kiosk:queue_in_flight", "kiosk:queue_drain_seconds"):
        assert len(site.prometheus.query(gauge)) >= 5
    with pytest.raises(urllib.error.HTTPError, match="400"):
        site.prometheus.query("sum(kiosk_jobs")
