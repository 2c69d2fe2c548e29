"""What the laws of `bottleneck` say of this machine, beside what was measured, and of a cluster."""

from __future__ import annotations

from statistics import median

from benchmarks.bottleneck import Cluster, Laws, Line, capacities, laws_of, on_this_machine
from benchmarks.report import Kept, number, table

__all__ = ["NAMES", "parts"]

NAMES = ("laws", "check", "cluster")
SIDES = (64, 512, 2048, 8192)
GPU_SPEEDS = (10e6, 50e6, 250e6)  #: pixels of an image per second and GPU


def parts(kept: Kept) -> dict[str, str]:
    """Return the tables by name; none where the rows `sizes` and `throughput` were not measured."""
    costs = kept["rows"].get("sizes", {}).get("facts", {}).get("costs")
    if not costs or len(costs) < 2:
        return {}
    laws = laws_of(costs)
    found = {"laws": _laws(laws), "cluster": _cluster(laws)}
    rates = kept["rows"].get("throughput", {}).get("facts", {}).get("rates")
    if rates:
        rows = []
        for one in rates:
            pixels, count = one["side"] ** 2, one["processes"]
            bounds = on_this_machine(laws, pixels, processes=count, cores=kept["machine"]["cores"])
            bound = min(bounds, key=lambda name: bounds[name])
            rate = median(one["rates"])
            rows.append((one["side"], count, rate, bounds[bound], bound, rate / bounds[bound]))
        columns = ("side, px", "processes", "measured, jobs/s", "predicted", "bound by", "ratio")
        found["check"] = table(columns, rows)
    return found


def _laws(laws: Laws) -> str:
    def row(name: str, line: Line, unit: float) -> tuple[str, float, float]:
        return name, unit * line.fixed, unit * 1e6 * line.per_pixel

    rows = [row(f"CPU of {role}, ms", line, 1e3) for role, line in laws.cpu_s.items()]
    rows.append(row("model server at work, ms", laws.model_s, 1e3))
    rows.append(row("claim to end, ms", laws.in_worker_s, 1e3))
    rows += [row(f"bytes, {name}, kB", line, 1e-3) for name, line in laws.moved.items()]
    return table(("of a job", "fixed", "per megapixel"), rows)


def _cluster(laws: Laws) -> str:
    rows = []
    for speed in GPU_SPEEDS:
        cluster = Cluster(gpu_pixels_s=speed)
        for side in SIDES:
            bounds = capacities(laws, side**2, cluster)
            first, second = sorted(bounds, key=lambda name: bounds[name])[:2]
            rate = bounds[first]
            after = f"{second}, {number(bounds[second])}"
            rows.append((speed / 1e6, side, rate, rate * side**2 / 1e6, first, after))
    columns = ("GPU, Mpx/s", "side, px", "jobs/s", "Mpx/s", "bound by", "then by, jobs/s")
    return table(columns, rows)
