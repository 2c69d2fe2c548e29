"""Compare rules of scaling over simulated days: `python -m benchmarks.autoscale`.

It is a model, see `benchmarks/autoscaling`; docs/scaling.md says what it leaves out. Prints
Markdown. `--targets` shows what the target does, `--alike` ours and list length with the same
damping, `--grid` many settings of each rule, `--sensitivity` what could be otherwise,
`--plots FOLDER` writes pictures of two days, `--seeds N` takes the mean of N days of each kind.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.autoscaling.cluster import Cluster
from benchmarks.autoscaling.conditions import Conditions
from benchmarks.autoscaling.measure import Figures, Rule, measure
from benchmarks.autoscaling.plot import draw
from benchmarks.autoscaling.policies import MOST, cpu, list_length, ours, ratio
from benchmarks.autoscaling.tables import by_trace, details, fronts, table
from benchmarks.autoscaling.traces import all_traces
from kiosk_tasks.scaling import Policy

OURS = "ours"
FIRST_SEED = 6
TARGETS_S = (2.0, 5.0, 10.0, 30.0, 60.0)
RULES = (
    Rule("list length", list_length),
    Rule("old ratio", ratio),
    Rule("CPU", cpu),
    Rule(OURS, ours),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Simulate and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.autoscale", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="days of each kind")
    parser.add_argument("--targets", action="store_true", help="ours, by its target")
    parser.add_argument("--alike", action="store_true", help="ours and list length, damped alike")
    parser.add_argument("--grid", action="store_true", help="many settings of each rule")
    parser.add_argument("--sensitivity", action="store_true", help="what could be otherwise")
    parser.add_argument("--plots", type=Path, help="write pictures into this folder")
    parser.add_argument("--days", nargs="*", help="only these kinds of days")
    wish = parser.parse_args(argv)
    seeds = range(FIRST_SEED, FIRST_SEED + wish.seeds)
    days = wish.days or [trace.name for trace in all_traces(FIRST_SEED)]
    if wish.plots:
        _plots(wish.plots)
    elif wish.targets:
        _side_by_side(days, seeds, [RULES[0], *(_ours(target_s, 120.0) for target_s in TARGETS_S)])
    elif wish.alike:
        lengths, targets = (2, 5, 20), (5.0, 10.0, 30.0)
        rules = [*(_list_length(n, 60.0) for n in lengths), *(_ours(t, 60.0) for t in targets)]
        _side_by_side(days, seeds, rules)
    elif wish.grid:
        _grid(days, seeds)
    elif wish.sensitivity:
        _sensitivity(days, seeds)
    else:
        _compare(days, seeds)
    seconds, load = time.process_time(), os.getloadavg()[0]
    print(f"\n{seconds:.0f} s of CPU, Python {platform.python_version()}, load {load:.0f}")
    return 0


def _compare(days: Sequence[str], seeds: Sequence[int]) -> None:
    _about(days)
    for gpu_stays in (True, False):
        conditions = Conditions(gpu_stays=gpu_stays)
        found = {
            day: {rule.name: measure(day, rule, conditions, seeds) for rule in RULES}
            for day in days
        }
        model_server = "a model server is always there" if gpu_stays else "each rule's own GPU"
        print(f"\n## {model_server}: p95 of waits, worker-hours\n")
        print(by_trace(found, OURS))
        print(f"\n## {model_server}: details\n")
        print(details(found), flush=True)


def _about(days: Sequence[str]) -> None:
    rows = []
    for trace in all_traces(FIRST_SEED):
        if trace.name in days:
            jobs = trace.jobs()
            hours = sum(job.cpu_s + job.model_s for job in jobs) / 3600
            rows.append([trace.name, trace.about, str(len(jobs)), f"{hours:.2f}"])
    print(table(["day", "what", "jobs", "hours of work"], rows, left=2))


def _side_by_side(days: Sequence[str], seeds: Sequence[int], rules: Sequence[Rule]) -> None:
    conditions = Conditions(gpu_stays=True)
    found = [[measure(day, rule, conditions, seeds) for rule in rules] for day in days]
    rows = [
        [day, *(f"{f.p95_s:.1f} s, {f.worker_h:.1f} h" for f in row)]
        for day, row in zip(days, found, strict=True)
    ]
    columns = list(zip(*found, strict=True))
    hours = [f"{sum(f.worker_h for f in column):.0f} h" for column in columns]
    reruns = [f"{sum(f.reruns for f in column):.1f}" for column in columns]
    print("## Side by side: p95 of waits, worker-hours; rule, its setting, its window\n")
    head = ["day", *(f"{rule.name} {rule.settings}".strip() for rule in rules)]
    print(table(head, [*rows, ["all days", *hours], ["re-runs", *reruns]]))


def _grid(days: Sequence[str], seeds: Sequence[int]) -> None:
    conditions = Conditions(gpu_stays=True)
    tried = list(_settings())
    shipped = {day: measure(day, RULES[-1], conditions, seeds) for day in days}
    found: dict[str, dict[tuple[str, str], Figures]] = {
        day: {(rule.name, rule.settings): measure(day, rule, conditions, seeds) for rule in tried}
        for day in days
    }
    print(f"## {len(tried)} settings: the cheapest that is as quick as ours, else the quickest\n")
    print(fronts(found, shipped))


def _settings() -> list[Rule]:
    """Return what is tried of each rule: its main knob, and how long it keeps what it has."""
    rules = []
    for window_s in (60.0, 120.0, 300.0):
        for length in (1, 2, 5, 20):
            rules.append(_list_length(length, window_s))
        for factor in (0.1, 0.3, 1.0):
            rules.append(_ratio(factor, window_s))
        for target in (0.2, 0.4, 0.8):
            rules.append(_cpu(target, window_s))
        for drain_s in TARGETS_S:
            rules.append(_ours(drain_s, window_s))
    return sorted(rules, key=lambda rule: [r.name for r in RULES].index(rule.name))


def _list_length(length: int, window_s: float) -> Rule:
    make = partial(list_length, length, window_s=window_s, cooldown_s=window_s)
    return Rule("list length", make, f"{length}, {window_s:.0f} s")


def _ratio(factor: float, window_s: float) -> Rule:
    make = partial(ratio, factor, window_s=window_s)
    return Rule("old ratio", make, f"×{factor}, {window_s:.0f} s")


def _cpu(target: float, window_s: float) -> Rule:
    return Rule("CPU", partial(cpu, target, window_s=window_s), f"{target:.0%}, {window_s:.0f} s")


def _ours(drain_s: float, window_s: float) -> Rule:
    policy = Policy(target_drain_s=drain_s, slots=Conditions.slots, most=MOST)
    make = partial(ours, policy, window_s=window_s, cooldown_s=window_s)
    return Rule(OURS, make, f"{drain_s:.0f} s, {window_s:.0f} s")


def _sensitivity(days: Sequence[str], seeds: Sequence[int]) -> None:
    """Ours as shipped where something is not as assumed."""
    usual = Conditions(gpu_stays=True)
    one_stays = Policy(slots=usual.slots, least=1, most=MOST)
    cases: list[tuple[str, Rule, Conditions]] = [
        ("as above", RULES[-1], usual),
        ("predicted seconds half of the true", RULES[-1], replace(usual, misprediction=0.5)),
        ("twice the true", RULES[-1], replace(usual, misprediction=2.0)),
        ("KEDA looks every 30 s", Rule(OURS, partial(ours, poll_s=30.0)), usual),
        ("through Prometheus", Rule(OURS, partial(ours, stale=True)), usual),
        ("a pod starts in 60 s", RULES[-1], replace(usual, pod_start_s=60.0)),
        ("one worker stays", Rule(OURS, partial(ours, one_stays)), usual),
        ("list length, a pod starts in 60 s", RULES[0], replace(usual, pod_start_s=60.0)),
        ("GPU from zero", RULES[-1], Conditions()),
        ("the same, waits not learnt", RULES[-1], Conditions(learns_waits=False)),
        (
            "the same, GPU kept 30 min",
            Rule(OURS, partial(ours, gpu_cooldown_s=1800.0)),
            Conditions(),
        ),
    ]
    rows = []
    for name, rule, conditions in cases:
        found = [measure(day, rule, conditions, seeds) for day in days]
        rows.append([name, *(f"{f.p95_s:.1f} s, {f.worker_h:.1f} h" for f in found)])
    print("## Ours, where something is otherwise: p95 of waits, worker-hours\n")
    print(table(["", *days], rows))


def _plots(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for day, hours in (("movie", (10.5, 12.5)), ("flash crowd", (10.0, 12.0))):
        conditions = Conditions(gpu_stays=True)
        (trace,) = [trace for trace in all_traces(FIRST_SEED) if trace.name == day]
        outcomes = {rule.name: Cluster(trace, rule.make(), conditions).run() for rule in RULES}
        path = folder / f"autoscale_{day.replace(' ', '_')}.png"
        draw(path, f"{day}: {trace.about}", outcomes, hours)
        print(path)


if __name__ == "__main__":
    sys.exit(main())
