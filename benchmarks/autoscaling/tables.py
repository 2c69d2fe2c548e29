"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.autoscaling.measure import Figures

__all__ = ["by_trace", "details", "fronts", "table"]

Days = Mapping[str, Mapping[str, Figures]]


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Lay out a table; all columns but the first `left` are numbers."""
    marks = ["---" if n < left else "---:" for n in range(len(head))]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, marks, *rows))


def by_trace(days: Days, ours: str) -> str:
    """One row per day: p95 of the waits and worker-hours of each rule; whom ours beats in both."""
    rules = list(next(iter(days.values())))
    rows = []
    for name, found in days.items():
        mine = found[ours]
        verdicts = [_verdict(mine, found[rule]) for rule in rules if rule != ours]
        cells = [f"{found[r].p95_s:.1f} s, {found[r].worker_h:.1f} h" for r in rules]
        rows.append([name, *cells, " · ".join(verdicts)])
    return table(["day", *rules, "ours is better in, against each"], rows)


def _verdict(mine: Figures, other: Figures) -> str:
    """Say in what ours is better, as far as the table shows it."""
    wait = round(other.p95_s, 1) - round(mine.p95_s, 1)
    hours = round(other.worker_h, 1) - round(mine.worker_h, 1)
    if wait > 0:
        return "both" if hours > 0 else "wait"
    if hours > 0:
        return "hours" if wait < 0 else "hours (same wait)"
    return "neither"


def details(days: Days) -> str:
    """Everything of every rule on every day."""
    head = ["day", "rule", "p50, s", "p95, s", "longest, s", "worker-hours", "GPU-hours"]
    head += ["re-runs", "turns an hour", "not done"]
    rows = [
        [
            *(day if number == 0 else "", rule),
            *(f"{f.p50_s:.1f}", f"{f.p95_s:.1f}", f"{f.longest_s:.0f}"),
            *(f"{f.worker_h:.1f}", f"{f.gpu_h:.1f}"),
            *(f"{f.reruns:.1f}", f"{f.turns:.1f}", str(f.unfinished)),
        ]
        for day, found in days.items()
        for number, (rule, f) in enumerate(found.items())
    ]
    return table(head, rows, left=2)


def fronts(
    days: Mapping[str, Mapping[tuple[str, str], Figures]], ours: Mapping[str, Figures]
) -> str:
    """What each rival needs to be as quick as ours, by its best setting; how close it comes else.

    days: by day, by (rule, settings). ours: by day.
    """
    rules = list(dict.fromkeys(rule for rule, _ in next(iter(days.values()))))
    rows = []
    for day, found in days.items():
        mine = ours[day]
        cells = [f"{mine.p95_s:.1f} s, {mine.worker_h:.1f} h"]
        for rule in rules:
            tried = {settings: f for (name, settings), f in found.items() if name == rule}
            quick = {s: f for s, f in tried.items() if f.p95_s <= mine.p95_s * 1.001 + 0.05}
            if quick:
                best = min(quick, key=lambda s: quick[s].worker_h)
            else:
                best = min(tried, key=lambda s: (tried[s].p95_s, tried[s].worker_h))
            f = tried[best]
            mark = " **dominates**" if f.no_worse(mine) else "" if quick else " (its quickest)"
            cells.append(f"{f.p95_s:.1f} s, {f.worker_h:.1f} h at {best}{mark}")
        rows.append([day, *cells])
    return table(["day", "ours, as shipped", *rules], rows)
