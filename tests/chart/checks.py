"""What must hold for every object of the chart, as lists of what does not, a sentence each."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import kubernetes_validate
from kubernetes_validate import utils

from kiosk_tasks.settings import Settings
from tests import custom_resources

__all__ = ["CHECKS", "Object", "containers", "environment", "faults", "pods", "schema_faults"]

Object = dict[str, Any]
Check = Callable[[list[Object]], Iterator[str]]

GIVEN = re.compile(r"^(kiosk-secrets|.*-trial|valkey-ca|shared|models|default|.*-no-rights)$")
"""Secrets, volumes and accounts that whoever installs has made before."""
FOREIGN = frozenset(
    {"HOME", "REMAP_SIGTERM", "AWS_REGION", "AWS_SHARED_CREDENTIALS_FILE"}
    | {"GOOGLE_APPLICATION_CREDENTIALS", "OMP_NUM_THREADS"}
)
"""Variables that are not ours."""
STABLE = {"app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/component"}
WITHOUT_PORT = {"worker", "reaper", "bridge"}
_SECRET = re.compile(r"(PASSWORD|SECRET|TOKENS?|AUTH|_KEY|BROKER_URL|LEDGER_URL)$")
utils.schema_contents = cache(utils.schema_contents)  # else it reads megabytes for each object


def faults(objects: list[Object]) -> list[str]:
    """Return everything that does not hold."""
    return [said for check in CHECKS for said in check(objects)]


def schema_faults(objects: list[Object], version: str) -> list[str]:
    """Return what that version of Kubernetes would not take, or would pass over in silence."""
    found = []
    for one in objects:
        name = f"{one['kind']} {one['metadata']['name']}"
        if one["kind"] in custom_resources.KINDS:
            found += [f"{name}: {said}" for said in custom_resources.faults(one)]
            continue
        try:
            kubernetes_validate.validate(one, version, strict=True)
        except kubernetes_validate.ValidationError as exc:
            found.append(f"{name}: {'.'.join(map(str, exc.path))}: {exc.message}")
    return found


def pods(objects: list[Object]) -> dict[str, Object]:
    """Return metadata and spec of each kind of pod, by the name of what makes it."""
    made = {
        one["metadata"]["name"]: one["spec"]["template"]
        for one in objects
        if one["kind"] in ("Deployment", "StatefulSet")
    }
    return made | {one["metadata"]["name"]: one for one in objects if one["kind"] == "Pod"}


def containers(pod: Object) -> list[Object]:
    """Return all containers of a pod."""
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def environment(container: Object, objects: list[Object]) -> dict[str, str]:
    """Return the variables of a container, those of its ConfigMaps included."""
    maps = {o["metadata"]["name"]: o["data"] for o in objects if o["kind"] == "ConfigMap"}
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        found |= maps.get(source["configMapRef"]["name"], {})
    return found | {one["name"]: one.get("value", "") for one in container.get("env", [])}


def _names(objects: list[Object]) -> Iterator[str]:
    seen = Counter((one["kind"], one["metadata"]["name"]) for one in objects)
    for (kind, name), count in seen.items():
        if count > 1:
            yield f"{kind} {name} is there {count} times"
        if len(name) > 63:
            yield f"{kind} {name} has a name of {len(name)} characters"


def _containers_are_safe(objects: list[Object]) -> Iterator[str]:
    for name, pod in pods(objects).items():
        context = pod["spec"].get("securityContext", {})
        if not context.get("runAsNonRoot") or not context.get("runAsUser"):
            yield f"{name} may run as root"
        if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{name} has no seccomp profile"
        if pod["spec"].get("automountServiceAccountToken") is not False:
            yield f"{name} is given a token of the cluster"
        for one in containers(pod):
            what, own = f"{name}/{one['name']}", one.get("securityContext", {})
            if not own.get("readOnlyRootFilesystem"):
                yield f"{what} can write to its root file system"
            if own.get("allowPrivilegeEscalation") is not False:
                yield f"{what} can gain rights"
            if own.get("capabilities", {}).get("drop") != ["ALL"]:
                yield f"{what} keeps capabilities"


def _containers_are_bounded(objects: list[Object]) -> Iterator[str]:
    for name, pod in pods(objects).items():
        for one in containers(pod):
            resources = one.get("resources") or {}
            if "cpu" not in resources.get("requests", {}):
                yield f"{name}/{one['name']} asks for no processor"
            if "memory" not in resources.get("limits", {}):
                yield f"{name}/{one['name']} has no limit of memory"
        for volume in pod["spec"].get("volumes", []):
            if "emptyDir" in volume and "sizeLimit" not in volume["emptyDir"]:
                yield f"{name}: the volume {volume['name']} has no limit"


def _probes(objects: list[Object]) -> Iterator[str]:
    for name, pod in pods(objects).items():
        component = pod["metadata"]["labels"]["app.kubernetes.io/component"]
        if component == "test":
            continue
        wanted = {"startupProbe", "livenessProbe"}
        if component == "worker" or component not in WITHOUT_PORT:
            wanted.add("readinessProbe")
        for one in pod["spec"]["containers"]:
            for probe in sorted(wanted - one.keys()):
                yield f"{name}/{one['name']} has no {probe}"
            ports = {port["name"] for port in one.get("ports", [])}
            for probe in wanted & one.keys():
                asked = one[probe].get("httpGet") or one[probe].get("tcpSocket")
                if asked and asked["port"] not in ports:
                    yield f"{name}: its {probe} asks at a port that it does not have"


def _queues_are_consumed(objects: list[Object]) -> Iterator[str]:
    for one in objects:
        labels = one["metadata"].get("labels", {})
        if one["kind"] != "Deployment" or labels.get("app.kubernetes.io/component") != "worker":
            continue
        command = one["spec"]["template"]["spec"]["containers"][0]["command"]
        queue, name = labels["kiosk-tasks/queue"], one["metadata"]["name"]
        if command[command.index("-Q") + 1] != queue:
            yield f"{name} does not consume {queue}"
        soft = next(float(word.partition("=")[2]) for word in command if "soft_shutdown" in word)
        grace = one["spec"]["template"]["spec"].get("terminationGracePeriodSeconds", 30)
        if grace < soft + 15:
            yield f"{name} is killed {grace - soft:g} s after its soft shutdown"
        env = {v["name"]: v.get("value") for v in _only(one)["env"]}
        if env.get("REMAP_SIGTERM") != "SIGQUIT":
            yield f"{name} does not put its running jobs back when it is told to stop"


def _only(deployment: Object) -> Object:
    found: Object = deployment["spec"]["template"]["spec"]["containers"][0]
    return found


def _no_secrets(objects: list[Object]) -> Iterator[str]:
    for one in objects:
        name = one["metadata"]["name"]
        if one["kind"] == "Secret":
            if not name.endswith("-trial"):
                yield f"the Secret {name} is rendered"
            continue
        for text in _texts(one):
            if re.search(r"://[^/\s@]*:[^/\s@]+@", text):
                yield f"{one['kind']} {name} holds a login: {text}"
    for name, pod in pods(objects).items():
        for container in containers(pod):
            for variable, value in environment(container, objects).items():
                plain = variable.endswith("_URL") and "@" not in value
                if value and _SECRET.search(variable) and not plain:
                    yield f"{name}: the value of {variable} is there for all to see"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)


def _settings_are_known(objects: list[Object]) -> Iterator[str]:
    known = {
        str(name)
        for field in Settings.model_fields.values()
        for name in getattr(field.validation_alias, "choices", ())
    }
    for name, pod in pods(objects).items():
        for container in containers(pod):
            for variable in environment(container, objects):
                if not {variable, variable.removesuffix("_FILE")} & (known | FOREIGN):
                    yield f"{name}: nobody reads {variable}"


def _one_largest_batch(objects: list[Object]) -> Iterator[str]:
    told = {o["data"]["KIOSK_MAX_BATCH"] for o in _maps(objects) if "KIOSK_MAX_BATCH" in o["data"]}
    served = {
        re.findall(r"max_batch_size { value: (\d+) }", o["data"]["batching.config"])[0]
        for o in _maps(objects)
        if "batching.config" in o["data"]
    }
    if len(told) != 1 or (served and served != told):
        yield f"workers send batches of {told}, the model server takes {served}"


def _maps(objects: list[Object]) -> list[Object]:
    return [one for one in objects if one["kind"] == "ConfigMap"]


def _selectors(objects: list[Object]) -> Iterator[str]:
    templates = pods(objects)
    for one in objects:
        kind, name, spec = one["kind"], one["metadata"]["name"], one.get("spec", {})
        if kind in ("Deployment", "StatefulSet"):
            wanted = spec["selector"]["matchLabels"]
            if not wanted.items() <= templates[name]["metadata"]["labels"].items():
                yield f"{name} does not select its own pods"
            if wanted.keys() - STABLE - {"kiosk-tasks/queue"}:
                yield f"{name} selects by labels that an upgrade changes"
            others = [
                other
                for other, pod in templates.items()
                if other != name and wanted.items() <= pod["metadata"]["labels"].items()
            ]
            if others:
                yield f"{name} selects the pods of {', '.join(others)}, too"
        elif kind in ("Service", "PodDisruptionBudget", "NetworkPolicy"):
            selector = spec["selector"] if kind != "NetworkPolicy" else spec["podSelector"]
            wanted = selector if kind == "Service" else selector["matchLabels"]
            selected = [
                pod
                for pod in templates.values()
                if wanted.items() <= pod["metadata"]["labels"].items()
            ]
            if not selected:
                yield f"{kind} {name} selects nothing"
            ports = {
                p["name"] for pod in selected for c in containers(pod) for p in c.get("ports", [])
            }
            for port in spec.get("ports", []) if kind == "Service" else []:
                if port["targetPort"] not in ports:
                    yield f"Service {name} leads to a port {port['targetPort']} that is not there"


def _references(objects: list[Object]) -> Iterator[str]:
    there = {(one["kind"], one["metadata"]["name"]) for one in objects}

    def missing(kind: str, name: str) -> bool:
        return (kind, name) not in there and not GIVEN.match(name)

    for owner, pod in pods(objects).items():
        spec, declared = pod["spec"], set[str]()
        if missing("ServiceAccount", spec["serviceAccountName"]):
            yield f"{owner}: there is no account {spec['serviceAccountName']}"
        for volume in spec.get("volumes", []):
            declared.add(volume["name"])
        for kind, name in _named(pod):
            if missing(kind, name):
                yield f"{owner}: there is no {kind} {name}"
        declared |= {
            claim["metadata"]["name"]
            for one in objects
            if one["kind"] == "StatefulSet" and one["metadata"]["name"] == owner
            for claim in one["spec"].get("volumeClaimTemplates", [])
        }
        mounted = {m["name"] for c in containers(pod) for m in c.get("volumeMounts", [])}
        if mounted != declared:
            yield f"{owner}: volumes and mounts differ: {sorted(mounted ^ declared)}"
        files = {p for v in spec.get("volumes", []) for p in _files(v)}
        for container in containers(pod):
            for name, value in environment(container, objects).items():
                if value.startswith("/run/secrets/kiosk/") and value.rsplit("/")[-1] not in files:
                    yield f"{owner}: {name} is a file that is not there, {value}"


def _named(pod: Object) -> Iterator[tuple[str, str]]:
    """Yield what a pod reads: kind and name."""
    for container in containers(pod):
        for source in container.get("envFrom", []):
            yield "ConfigMap", source["configMapRef"]["name"]
    for volume in pod["spec"].get("volumes", []):
        yield from _sources(volume)


def _sources(volume: Object) -> Iterator[tuple[str, str]]:
    if "configMap" in volume:
        yield "ConfigMap", volume["configMap"]["name"]
    if "secret" in volume:
        yield "Secret", volume["secret"]["secretName"]
    if "persistentVolumeClaim" in volume:
        yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]
    for source in volume.get("projected", {}).get("sources", []):
        yield "Secret", source["secret"]["name"]


def _files(volume: Object) -> Iterator[str]:
    for source in volume.get("projected", {}).get("sources", []):
        for item in source["secret"]["items"]:
            yield item["path"]


def _network(objects: list[Object]) -> Iterator[str]:
    policies = [one for one in objects if one["kind"] == "NetworkPolicy"]
    if not policies:
        return
    templates = pods(objects)
    for name, pod in templates.items():
        if not any(_matches(one["spec"]["podSelector"], pod) for one in policies):
            yield f"no network policy holds for {name}"
    for name, pod in templates.items():
        env = [environment(container, objects) for container in containers(pod)]
        for part, needs in (
            ("broker", any("KIOSK_BROKER_URL_FILE" in one for one in env)),
            ("model-server", pod["metadata"]["labels"]["app.kubernetes.io/component"] == "worker"),
        ):
            server = next((p for n, p in templates.items() if n.endswith(f"-{part}")), None)
            if needs and server and not _may_reach(policies, pod, server):
                yield f"{name} cannot reach the {part}"
        if name.endswith("-broker") and any(
            _may_reach(policies, pod, p) for p in templates.values()
        ):
            yield "the broker may reach others"


def _matches(selector: Object, pod: Object) -> bool:
    wanted = selector.get("matchLabels", {})
    return bool(wanted.items() <= pod["metadata"]["labels"].items())


def _may_reach(policies: list[Object], client: Object, server: Object) -> bool:
    """Tell whether the client's rules let it out and the server's let it in, at a common port."""
    out = _ports(policies, client, "egress", "to", server)
    into = _ports(policies, server, "ingress", "from", client)
    return bool(out & into)


def _ports(policies: list[Object], pod: Object, way: str, end: str, other: Object) -> set[int]:
    return {
        port["port"]
        for policy in policies
        if _matches(policy["spec"]["podSelector"], pod)
        for rule in policy["spec"].get(way, [])
        if end not in rule
        or any("podSelector" in p and _matches(p["podSelector"], other) for p in rule[end])
        for port in rule["ports"]
    }


def _volumes_have_one_owner(objects: list[Object]) -> Iterator[str]:
    """Who shares a volume shares its files' owner: each start may give the volume another group."""
    owners: dict[str, set[tuple[int, int]]] = {}
    for pod in pods(objects).values():
        spec, context = pod["spec"], pod["spec"]["securityContext"]
        for volume in spec.get("volumes", []):
            claim = volume.get("persistentVolumeClaim", {})
            for one in containers(pod) if claim and not claim.get("readOnly") else ():
                if volume["name"] in {mount["name"] for mount in one["volumeMounts"]}:
                    user = one["securityContext"].get("runAsUser", context["runAsUser"])
                    owners.setdefault(claim["claimName"], set()).add((user, context["fsGroup"]))
    yield from (
        f"the volume {name} has several owners: {sorted(found)}"
        for name, found in owners.items()
        if len(found) > 1
    )


def _one_node(objects: list[Object]) -> Iterator[str]:
    """Who mounts a volume that only one node can mount must be where the others are."""
    claims = {
        one["metadata"]["name"]
        for one in objects
        if one["kind"] == "PersistentVolumeClaim"
        and one["spec"]["accessModes"] == ["ReadWriteOnce"]
    }
    together: set[str] = set()
    for name, pod in pods(objects).items():
        volumes = pod["spec"].get("volumes", [])
        if claims & {one.get("persistentVolumeClaim", {}).get("claimName") for one in volumes}:
            near = pod["spec"].get("affinity", {}).get("podAffinity", {})
            terms = near.get("requiredDuringSchedulingIgnoredDuringExecution", [])
            wanted = [term["labelSelector"]["matchLabels"] for term in terms]
            together |= {str(one) for one in wanted} or {"anywhere"}
            if not all(one.items() <= pod["metadata"]["labels"].items() for one in wanted):
                yield f"{name} waits for pods that are not like itself"
    if len(together) > 1 or "anywhere" in together:
        yield f"a volume of one node is mounted on several: {sorted(together)}"


CHECKS: tuple[Check, ...] = (
    _names,
    _containers_are_safe,
    _containers_are_bounded,
    _probes,
    _queues_are_consumed,
    _no_secrets,
    _settings_are_known,
    _one_largest_batch,
    _selectors,
    _references,
    _network,
    _volumes_have_one_owner,
    _one_node,
)
