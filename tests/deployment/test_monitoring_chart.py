"""What the chart gives Prometheus and Grafana: monitors, rules, a dashboard."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.rendered import CHART, MONITORED, VARIANTS, Object, helm, of_kind, render


def unserved(objects: list[Object]) -> list[str]:
    """Return the ServiceMonitors whose Service, or whose port, is not there."""
    services = of_kind(objects, "Service").values()
    said = []
    for name, found in of_kind(objects, "ServiceMonitor").items():
        wanted = found["spec"]["selector"]["matchLabels"].items()
        chosen = [each for each in services if wanted <= each["metadata"]["labels"].items()]
        ports = {port.get("name") for each in chosen for port in each["spec"]["ports"]}
        if len(chosen) != 1:
            said.append(f"{name} chooses {len(chosen)} Services")
        said += [
            f"{name} asks for the port {end['port']}"
            for end in found["spec"]["endpoints"]
            if end["port"] not in ports
        ]
    return said


def test_every_monitor_finds_its_service() -> None:
    objects = render(*VARIANTS["token"])
    assert unserved(objects) == []
    monitors = of_kind(objects, "ServiceMonitor")
    assert {name.removeprefix("lab-") for name in monitors} == {
        "web", "exporter", "flower", "model-server",
    }  # fmt: skip
    monitor = next(iter(monitors.values()))
    monitor["spec"]["endpoints"][0]["port"] = "htpp"
    assert "asks for the port htpp" in unserved(objects)[0]
    monitor["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"] = "webb"
    assert "chooses 0 Services" in unserved(objects)[0]


def test_embedded_server_has_no_numbers_to_scrape() -> None:
    objects = render(*MONITORED, "modelServer.kind=embedded")
    assert unserved(objects) == []
    assert "lab-model-server" not in of_kind(objects, "ServiceMonitor")


def test_monitor_of_the_web_service_has_its_token() -> None:
    monitors = of_kind(render(*VARIANTS["token"]), "ServiceMonitor")
    assert "lab-web" not in of_kind(render(*MONITORED), "ServiceMonitor")
    credentials = {
        name: found["spec"]["endpoints"][0].get("authorization") for name, found in monitors.items()
    }
    assert credentials.pop("lab-web") == {
        "type": "Bearer",
        "credentials": {"name": "web-token", "key": "token"},
    }
    assert set(credentials.values()) == {None}


def test_rules_and_dashboard_reach_the_cluster_as_they_are() -> None:
    values = (*MONITORED, "monitoring.prometheusRule.runbook=https://wiki/kiosk")
    objects = render(*values)
    rules = of_kind(objects, "PrometheusRule")
    for name in ("rules", "alerts"):
        text = (CHART / "files" / f"{name}.yaml").read_text()
        expected: Mapping[str, Any] = yaml.safe_load(
            text.replace("docs/operate.md", "https://wiki/kiosk")
        )
        assert rules[f"lab-{name}"]["spec"] == expected
    board = of_kind(objects, "ConfigMap")["lab-dashboards"]
    assert board["metadata"]["labels"]["grafana_dashboard"] == "1"
    file = CHART / "files" / "dashboards" / "kiosk.json"
    assert json.loads(board["data"]["kiosk.json"]) == json.loads(file.read_text())


def test_values_on_the_pages_are_taken(tmp_path: Path) -> None:
    known = set(yaml.safe_load((CHART / "values.yaml").read_text()))
    taken = 0
    for page in ("scaling", "monitoring"):
        text = (CHART.parents[1] / "docs" / f"{page}.md").read_text()
        for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL):
            if set(yaml.safe_load(block)) <= known:
                file = tmp_path / "values.yaml"
                file.write_text(block)
                said = helm(file=file)
                assert said.returncode == 0, said.stderr
                taken += 1
    assert taken >= 2
    (tmp_path / "values.yaml").write_text("scaling: {mod: keda}")
    assert "mod" in helm(file=tmp_path / "values.yaml").stderr
