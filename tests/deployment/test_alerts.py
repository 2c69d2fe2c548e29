"""Alerts, recording rules and the dashboard: tested by promtool, and of metrics that there are."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.custom_resources import promql_faults
from tests.tools import tool

ROOT = Path(__file__).parents[2]
FILES = Path("helm/kiosk-tasks/files")
TESTED = Path("tests/chart/alerts_test.yaml")
RULES, ALERTS = FILES / "rules.yaml", FILES / "alerts.yaml"
DASHBOARD = ROOT / FILES / "dashboards" / "kiosk.json"

OURS = frozenset(
    {
        "kiosk_broker_up",
        "kiosk_http_request_seconds_bucket",
        "kiosk_http_requests_total",
        "kiosk_job_wait_seconds_bucket",
        "kiosk_jobs",
        "kiosk_jobs_ended_total",
        "kiosk_jobs_submitted_total",
        "kiosk_model_batch_slots_total",
        "kiosk_model_request_seconds_bucket",
        "kiosk_model_servers_wanted",
        "kiosk_model_tiles_total",
        "kiosk_queue_in_flight",
        "kiosk_queue_max_workers",
        "kiosk_queue_model_seconds",
        "kiosk_queue_oldest_wait_seconds",
        "kiosk_queue_outstanding_seconds",
        "kiosk_queue_waiting",
        "kiosk_queue_wanted_workers",
        "kiosk_reaper_jobs_total",
        "kiosk_reaper_seconds_since_look",
        "kiosk_stage_seconds_bucket",
        "kiosk_web_open_streams",
    }
)
"""What the exporter and the web service tell (`test_metrics_agree.py` holds them to it)."""
OTHERS = frozenset(
    {
        "flower_events_total",
        "flower_task_runtime_seconds_bucket",
        "flower_worker_number_of_currently_executing_tasks",
        "flower_worker_online",
        "kube_deployment_status_replicas_ready",
    }
)
"""What Flower 2.2 and kube-state-metrics tell, of which the dashboard asks."""
_NAME = re.compile(r"\b(?:kiosk|flower|kube)[_:][a-z0-9_:]+")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Rules, alerts and their tests in a folder of their own, to plant mistakes in."""
    for name in (RULES, ALERTS, TESTED):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def promtool(root: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    argv = [str(tool("promtool")), *map(str, arguments)]
    return subprocess.run(argv, cwd=root, capture_output=True, text=True, timeout=60, check=False)


def rules(root: Path = ROOT) -> Iterator[dict[str, Any]]:
    for name in (RULES, ALERTS):
        for group in yaml.safe_load((root / name).read_text())["groups"]:
            yield from group["rules"]


def unknown_metrics(expression: str) -> set[str]:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    return set(_NAME.findall(expression)) - OURS - OTHERS - recorded


def panel_expressions() -> list[str]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [t["expr"] for panel in panels for t in panel.get("targets", [])]


def test_rules_are_written_right() -> None:
    said = promtool(ROOT, "check", "rules", RULES, ALERTS)
    assert said.returncode == 0, said.stdout + said.stderr


def test_rules_do_what_they_should() -> None:
    said = promtool(ROOT, "test", "rules", TESTED)
    assert said.returncode == 0, said.stdout + said.stderr


def test_every_rule_is_tested() -> None:
    tested = (ROOT / TESTED).read_text()
    for rule in rules():
        name = rule.get("record") or f"alertname: {rule['alert']}\n        exp_alerts:"
        assert name in tested, f"no test in which {name} gives something"
        if "alert" in rule:
            quiet = f"alertname: {rule['alert']}, exp_alerts: []"
            assert quiet in tested, f"no test in which {rule['alert']} does not fire"


def test_alert_says_what_to_do_and_where_to_read_on() -> None:
    headings = {
        line.removeprefix("### ").strip().lower()
        for line in (ROOT / "docs/operate.md").read_text().splitlines()
        if line.startswith("### ")
    }
    for rule in rules():
        if "alert" not in rule:
            continue
        notes = rule["annotations"]
        assert ". " in notes["summary"], f"{rule['alert']}: what is the matter, and what to do"
        assert notes["runbook_url"] == f"docs/operate.md#{rule['alert'].lower()}"
        assert rule["alert"].lower() in headings, f"docs/operate.md has no {rule['alert']}"
        assert rule["labels"]["severity"] in {"critical", "warning"}


MISTAKES = {
    "PromQL syntax": (RULES, "max by (namespace, queue) (kiosk_queue_waiting)", "max by ("),
    "metric of no such name": (ALERTS, "(kiosk_broker_up) == 0", "(kiosk_brok_up) == 0"),
    "counted twice": (RULES, "max by (namespace, queue) (kiosk_queue_waiting)",
                      "sum by (namespace, queue) (kiosk_queue_waiting)"),
    "threshold of the wait": (ALERTS, "> 900", "> 9000"),
    "threshold of failures": (ALERTS, "ratio_rate15m > 0.1", "ratio_rate15m > 0.5"),
    "wrong way round": (ALERTS, "kiosk:model_request_seconds:p95_5m > 10",
                        "kiosk:model_request_seconds:p95_5m < 10"),
    "fires at once": (ALERTS, "for: 30m", "for: 1m"),
    "cancelled jobs are failures": (RULES, '{status="failed"}', '{status!="done"}'),
    "p95 is p50": (RULES, "histogram_quantile(0.95, max by (namespace, model",
                   "histogram_quantile(0.5, max by (namespace, model"),
    "half a batch is full": (RULES, "kiosk_model_batch_slots_total[5m])) > 0",
                             "kiosk_model_tiles_total[5m])) > 0"),
    "any reaper that has not looked": (ALERTS, "== 1 unless", ">= 0 unless"),
    "tidied runs are dead runs": (ALERTS, "run_died|given_up", ".+"),
    "a 404 is an error": (ALERTS, "5..", "[45].."),
    "a 503 is an error": (ALERTS, ',status!="503"', ""),
    "summary": (ALERTS, "and no worker has one", "and somebody has one"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_planted_mistake_is_found(copy: Path, mistake: str) -> None:
    file, right, wrong = MISTAKES[mistake]
    text = (copy / file).read_text()
    assert right in text
    (copy / file).write_text(text.replace(right, wrong))
    said = promtool(copy, "test", "rules", TESTED)
    assert said.returncode != 0, said.stdout


def test_only_metrics_that_there_are() -> None:
    asked = " ".join([*(rule["expr"] for rule in rules()), *panel_expressions()])
    assert unknown_metrics(asked) == set()
    assert unknown_metrics("sum(kiosk_queue_waitin) + flower_queue_length") == {
        "kiosk_queue_waitin",
        "flower_queue_length",
    }


def test_every_panel_can_be_asked_for(tmp_path: Path) -> None:
    expressions = panel_expressions()
    assert len(expressions) > 25
    assert promql_faults(expressions, tmp_path) == ""
    assert "parse error" in promql_faults([*expressions, "sum(kiosk_jobs"], tmp_path)


def test_panels_do_not_lie_on_each_other() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(p["description"] for p in panels if p["type"] != "row")
