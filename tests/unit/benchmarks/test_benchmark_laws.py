"""The laws of costs: fitted lines, what they predict here, and what of a cluster."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.bottleneck import Cluster, Laws, Line, capacities, fit, laws_of, on_this_machine

SIDES = (64, 512, 2048, 8192)
amounts = st.floats(1e-4, 1.0)
slopes = st.floats(1e-9, 1e-6)

LAWS = Laws(
    cpu_s={
        "child": Line(0.02, 2e-7),
        "worker": Line(0.004, 0.0),
        "broker": Line(0.001, 0.0),
        "model server": Line(0.005, 1e-7),
        "bucket": Line(0.01, 0.0),
    },
    in_worker_s=Line(0.03, 3e-7),
    model_s=Line(0.005, 1e-7),
    moved={"broker": Line(1e4, 0.0), "model server": Line(0.0, 12.0), "bucket": Line(1e3, 4.0)},
)


@given(fixed=amounts, slope=slopes)
def test_a_line_is_found_again(fixed: float, slope: float) -> None:
    line = fit([(side**2, fixed + slope * side**2) for side in SIDES])
    assert line(0) == pytest.approx(fixed, rel=1e-5)
    assert line(1e8) == pytest.approx(fixed + slope * 1e8, rel=1e-5)


def test_every_size_counts_the_same() -> None:
    """A tenth more for the largest job, which is half a second, does not drown the small ones."""
    costs = {side: 0.01 + 1e-7 * side**2 for side in SIDES}
    line = fit([(side**2, cost * (1.1 if side == 8192 else 1)) for side, cost in costs.items()])
    assert line.fixed == pytest.approx(0.01, rel=0.05)
    assert 1e-7 < line.per_pixel < 1.1e-7


def test_nothing_costs_less_than_nothing() -> None:
    line = fit([(1e4, 0.1), (1e6, 0.09), (1e8, 0.08)])
    assert line.per_pixel == 0
    assert 0.08 < line.fixed < 0.1
    assert fit([(1e4, 1e-5), (1e6, 2e-3), (1e8, 0.3)]).fixed >= 0


def test_a_line_needs_two_points() -> None:
    with pytest.raises(ValueError, match="two points"):
        fit([(1e4, 0.0), (1e6, 0.5)])


def test_laws_of_measured_costs() -> None:
    def cost(side: int) -> dict[str, object]:
        cpu_s = {role: line(side**2) for role, line in LAWS.cpu_s.items()}
        moved = {name: line(side**2) for name, line in LAWS.moved.items()}
        seconds = {"in_worker_s": LAWS.in_worker_s(side**2), "model_s": LAWS.model_s(side**2)}
        return {"side": side, **seconds, "cpu_s": {**cpu_s, "idle": 0.0}, "bytes": moved}

    laws = laws_of([cost(side) for side in SIDES])
    for role, line in LAWS.cpu_s.items():
        assert laws.cpu_s[role](1e6) == pytest.approx(line(1e6), rel=1e-4)
    assert laws.cpu_s["idle"] == Line(0.0, 0.0)
    assert laws.moved["bucket"](1e6) == pytest.approx(LAWS.moved["bucket"](1e6), rel=1e-4)
    assert laws.model_s(1e6) == pytest.approx(LAWS.model_s(1e6), rel=1e-4)


def test_this_machine_is_bound_by_its_processes_and_then_by_its_processors() -> None:
    one = on_this_machine(LAWS, 0, processes=1, cores=2)
    four = on_this_machine(LAWS, 0, processes=4, cores=2)
    assert one["worker processes"] == pytest.approx(1 / 0.034)
    assert four["worker processes"] == pytest.approx(4 / 0.034)
    assert one["processors"] == four["processors"] == pytest.approx(2 / 0.04)
    assert min(one, key=lambda name: one[name]) == "worker processes"
    assert min(four, key=lambda name: four[name]) == "processors"


def test_a_cluster_is_bound_by_each_resource_in_turn() -> None:
    def bound(pixels: float, **assumed: float) -> str:
        bounds = capacities(LAWS, pixels, Cluster(**assumed))  # type: ignore[arg-type]
        return min(bounds, key=lambda name: bounds[name])

    assert bound(64**2) == "broker"
    assert bound(64**2, workers=10) == "workers"
    assert bound(2048**2, workers=10_000, gpu_pixels_s=1e6) == "GPUs"
    assert bound(2048**2, workers=10_000, gpu_pixels_s=1e12) == "network of the bucket"
    assert bound(2048**2, workers=10_000, gpu_pixels_s=1e12, bucket_bytes_s=1e12) == (
        "network of the GPUs"
    )


def test_capacities_in_figures() -> None:
    bounds = capacities(LAWS, 1e6, Cluster(workers=100, gpus=4, gpu_pixels_s=50e6))
    assert bounds["broker"] == pytest.approx(1000)
    assert bounds["GPUs"] == pytest.approx(200)
    assert bounds["network of the GPUs"] == pytest.approx(4 * 1.25e9 / 12e6)
    assert bounds["network of the bucket"] == pytest.approx(1.25e9 / 4.001e6)
    waits = 1 / 50 + 12e6 / 1.25e9 + 4.001e6 / 1.25e9
    assert bounds["workers"] == pytest.approx(100 / (0.024 + 0.2 + waits))
