"""What was measured, as Markdown: goals, costs of processes, stages, bytes, other tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.runs import ROLES

__all__ = ["compared", "conditions", "goals", "jobs", "missed", "number", "others", "said", "table"]

Kept = Mapping[str, Any]
"""What `python -m benchmarks --json` writes."""
STAGES = ("download", "preprocess", "predict", "postprocess", "upload")
_RUNS = 5  #: fewer are told
_OF_JOBS = ("wall", "worker CPU")


def number(value: float | str) -> str:
    """Return a number with three significant digits, without an exponent."""
    if isinstance(value, str):
        return value
    if value == 0 or isinstance(value, int) or float(value).is_integer():
        return f"{value:,.0f}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    digits = 2 if abs(value) >= 1 else 4
    text = f"{float(f'{value:.3g}'):.{digits}f}".rstrip("0").rstrip(".")
    return text if float(text) else f"{value:.2g}"


def table(columns: Sequence[str], rows: Sequence[Sequence[float | str]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    lines += ["| " + " | ".join(map(number, row)) + " |" for row in rows]
    return "\n".join(lines)


def conditions(kept: Kept) -> str:
    """Return where and when the figures were taken."""
    about = kept["machine"]
    loads = [row["load"] for row in kept["rows"].values() if "load" in row]
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    rows = kept["rows"].items()
    quick = [name for name, row in rows if row.get("quick")]
    others = {row.get("commit", about["commit"]) for _, row in rows} - {about["commit"]}
    more = f" Some rows are of commit {', '.join(sorted(others))}." if others else ""
    if quick:
        more += f" **Quick runs, whose figures are no measurements: {', '.join(quick)}.**"
    return (
        f"{about['processor']}, {about['cores']} cores, {about['memory_gb']} GB; "
        f"{about['system']}, Python {about['python']}, {versions}. Commit {about['commit']}"
        f"{' with changes' if about['changed'] else ''}, {about['at'][:16].replace('T', ' ')} UTC. "
        f"Load of the machine as rows began: {number(min(loads))} to {number(max(loads))}.{more}"
    )


def goals(kept: Kept) -> str:
    """Return every figure that has a goal, and whether it is reached."""
    rows = []
    for row in kept["rows"].values():
        if row.get("error"):
            rows.append((row["title"], "", row["old"], "", "", f"failed: {row['error']}"))
        for figure in row["figures"]:
            if "goal" not in figure:
                continue
            sign, unit = "≥" if figure["at_least"] else "≤", _unit(figure)
            ratio = figure["median"] / figure["goal"] if figure["goal"] else figure["median"]
            result = "reached" if figure["reached"] else f"**missed**, {number(ratio)} of it"
            goal, median = number(figure["goal"]) + unit, number(figure["median"]) + unit
            if len(figure["values"]) < _RUNS:
                median += f" ({len(figure['values'])} runs)"
            rows.append(
                (row["title"], figure["name"], row["old"], f"{sign} {goal}", median, result)
            )
    return table(("work", "what", "the predecessor", "goal", "measured", ""), rows)


def jobs(kept: Kept) -> list[str]:
    """Return tables of all jobs: CPU seconds and peak memory of each process, stages, bytes."""
    cpu, peaks, stages, moved = [], [], [], []
    names: dict[str, None] = {}
    for title, of, facts in _jobs(kept):
        cpu.append((title, *(of.get(f, "") for f in _OF_JOBS), *_by_role(of, "CPU")))
        peaks.append((title, *_by_role(of, "peak")))
        names |= dict.fromkeys(facts["stages_s"])
        stages.append((title, facts["stages_s"], of.get("model at work", "")))
        if facts["bytes"]:
            passed = facts["bytes"]
            moved.append((title, *(passed.get(k, 0) / 1e3 for k in ("broker", "model server"))))
            moved[-1] += (passed.get("bucket", 0) / 1e3,)
    roles = ["of the child", "of the worker's parent", *(f"of the {role}" for role in ROLES[2:])]
    names = {**{name: None for name in STAGES if name in names}, **names}
    of_stages = [(t, *(s.get(name, "") for name in names), model) for t, s, model in stages]
    return [
        "CPU seconds of a job, by process:\n\n" + table(("job", "wall", "worker", *roles), cpu),
        "Peak resident memory, MB:\n\n" + table(("job", *roles), peaks),
        "Seconds of each stage, by the job's record, and of the model server's work:\n\n"
        + table(("job", *names, "model server"), of_stages),
        "Bytes between the worker and other parts, both ways, kB a job:\n\n"
        + table(("job", "broker", "model server", "bucket"), moved),
    ]


def others(kept: Kept) -> Iterator[tuple[str, str]]:
    """Yield the name of each row with tables of its own, and these tables."""
    for name, row in kept["rows"].items():
        if row["tables"]:
            yield name, "\n\n".join(table(t["columns"], t["rows"]) for t in row["tables"])


def said(kept: Kept) -> Iterator[tuple[str, str]]:
    """Yield the name of each row that is a module by itself, and what it printed."""
    for name, row in kept["rows"].items():
        if "said" in row["facts"]:
            yield name, "\n".join(["```text", *row["facts"]["said"], "```"])


def missed(kept: Kept) -> list[str]:
    """Return the figures whose goal is missed, and the rows that failed."""
    found = [f"{name}: {row['error']}" for name, row in kept["rows"].items() if row.get("error")]
    for name, row in kept["rows"].items():
        found += [f"{name}: {f['name']}" for f in row["figures"] if f.get("reached") is False]
    return found


def compared(new: Kept, old: Kept) -> str:
    """Return the ratio of each figure to an older run's."""
    rows = []
    for name, row in new["rows"].items():
        before = {f["name"]: f for f in old["rows"].get(name, {}).get("figures", ())}
        for figure in row["figures"]:
            earlier = before.get(figure["name"])
            if earlier is None:
                continue
            ratio = number(figure["median"] / earlier["median"]) if earlier["median"] else "–"
            values = (earlier["median"], figure["median"])
            rows.append((name, figure["name"] + _unit(figure, ", "), *values, ratio))
    return table(("row", "figure", "old", "new", "new / old"), rows)


def _unit(figure: Mapping[str, Any], between: str = " ") -> str:
    return f"{between}{figure['unit']}" if figure["unit"] else ""


def _jobs(kept: Kept) -> Iterator[tuple[str, dict[str, float], Mapping[str, Any]]]:
    """Yield the title, the medians and the facts of each kind of job that was measured."""
    for row in kept["rows"].values():
        facts = row["facts"]
        plain = {"": facts} if "stages_s" in facts else {}
        cases: Mapping[str, Any] = facts.get("cases", plain)
        for case, its in cases.items():
            end = f", {case}" if case else ""
            medians = {
                f["name"].removesuffix(end): f["median"]
                for f in row["figures"]
                if f["name"].endswith(end)
            }
            yield row["title"] + end, medians, its


def _by_role(of: Mapping[str, float], what: str) -> Iterator[float | str]:
    return (of.get(f"{what} of {role}", "") for role in ROLES)
