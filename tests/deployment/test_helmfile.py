"""The example for those who come from the old Kiosk, by helm: helmfile itself is not here."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.tools import tool

HELM = Path(__file__).parents[2] / "helm"


def release(tmp_path: Path) -> dict[str, Any]:
    """Render our release with the values that the example names; return objects by kind/name."""
    read = yaml.safe_load((HELM / "helmfile.yaml").read_text("utf-8"))
    keda, ours = read["releases"]
    assert keda["chart"].partition("/")[0] in {one["name"] for one in read["repositories"]}
    assert ours["needs"] == [f"{keda['namespace']}/{keda['name']}"]
    options = []
    for number, values in enumerate(ours["values"]):
        file = HELM / values if isinstance(values, str) else tmp_path / f"{number}.yaml"
        if not isinstance(values, str):
            file.write_text(yaml.safe_dump(values))
        options += ["-f", str(file)]
    done = subprocess.run(
        [tool("helm"), "template", ours["name"], HELM / ours["chart"], *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    objects = [one for one in yaml.safe_load_all(done.stdout) if one]
    return {f"{one['kind']}/{one['metadata']['name']}": one for one in objects}


def test_the_example_renders(tmp_path: Path) -> None:
    objects = release(tmp_path)
    assert "Deployment/kiosk-bridge" in objects
    assert "gs://my-bucket/kiosk" in yaml.safe_dump(objects)


def test_the_broker_is_where_its_comments_say(tmp_path: Path) -> None:
    text = (HELM / "helmfile.yaml").read_text("utf-8")
    (host, port) = re.findall(r"kiosk deploy secrets \w+ --broker (\S+):(\d+)", text)[0]
    service = release(tmp_path)[f"Service/{host}"]
    assert int(port) in {one["port"] for one in service["spec"]["ports"]}
    (secret,) = re.findall(r"create secret generic (\S+)", text)
    values = yaml.safe_load((HELM / "kiosk-tasks/values.yaml").read_text("utf-8"))
    assert values["secrets"]["existingSecret"] == secret


def test_the_values_that_its_comments_name_are_there() -> None:
    text = (HELM / "helmfile.yaml").read_text("utf-8")
    values = yaml.safe_load((HELM / "kiosk-tasks/values.yaml").read_text("utf-8"))
    named = re.findall(
        r"modelServer\.maxBatch|monitoring\.prometheusRule|scaling\.modelServer", text
    )
    assert len(named) == 3
    for name in named:
        part, _, inner = name.partition(".")
        assert inner in values[part], name
    assert {"broker", "exporter", "reaper", "web", "queues"} <= set(values)
