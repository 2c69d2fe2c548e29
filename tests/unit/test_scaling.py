"""The scaling law, its damping, and the seconds that it goes by."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiosk_tasks.scaling import Damper, Pace, Policy, wanted_workers
from kiosk_tasks.settings import Settings

_seconds = st.floats(0, 1e6, allow_nan=False)
_jobs = st.integers(0, 10_000)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    most = draw(st.integers(1, 50))
    return Policy(
        target_drain_s=draw(st.floats(1, 1000)),
        slots=draw(st.integers(1, 8)),
        least=draw(st.integers(0, most)),
        most=most,
    )


def _wanted(policy: Policy, outstanding_s: float, waiting: int, in_flight: int) -> int:
    return wanted_workers(policy, outstanding_s=outstanding_s, waiting=waiting, in_flight=in_flight)


@pytest.mark.parametrize(
    ("outstanding_s", "waiting", "in_flight", "wanted"),
    [
        (0.0, 0, 0, 0),
        (0.0, 1, 0, 1),  # unknown cost is no reason to leave a job alone
        (60.0, 30, 0, 1),
        (61.0, 30, 0, 2),
        (600.0, 300, 0, 10),
        (6000.0, 3000, 0, 10),  # the most
        (600.0, 1, 0, 1),  # one long job cannot be shared out
        (600.0, 2, 1, 3),
        (1.0, 0, 4, 4),  # what runs stays
        (1.0, 0, 40, 10),
    ],
)
def test_the_law_by_example(
    outstanding_s: float, waiting: int, in_flight: int, wanted: int
) -> None:
    policy = Policy(target_drain_s=60.0, slots=1, least=0, most=10)
    assert _wanted(policy, outstanding_s, waiting, in_flight) == wanted


def test_slots_share_the_work_of_one_worker() -> None:
    policy = Policy(target_drain_s=60.0, slots=4, most=10)
    assert _wanted(policy, 600.0, 100, 0) == 3
    assert _wanted(policy, 0.0, 0, 5) == 2


@given(policies(), _seconds, _jobs, _jobs)
def test_bounds_always_hold(policy: Policy, seconds: float, waiting: int, in_flight: int) -> None:
    wanted = _wanted(policy, seconds, waiting, in_flight)
    assert policy.least <= wanted <= policy.most


@given(policies(), _seconds, _jobs, _jobs)
def test_what_is_in_flight_has_its_slots(
    policy: Policy, seconds: float, waiting: int, in_flight: int
) -> None:
    wanted = _wanted(policy, seconds, waiting, in_flight)
    assert wanted >= min(policy.most, math.ceil(in_flight / policy.slots))


@given(policies(), _seconds, _jobs, _jobs)
def test_some_worker_as_long_as_there_is_a_job(
    policy: Policy, seconds: float, waiting: int, in_flight: int
) -> None:
    wanted = _wanted(policy, seconds, waiting, in_flight)
    if waiting + in_flight:
        assert wanted >= 1
    else:
        assert wanted == policy.least


@given(policies(), _seconds, _seconds, _jobs, _jobs)
def test_more_work_never_wants_fewer(
    policy: Policy, seconds: float, more: float, waiting: int, in_flight: int
) -> None:
    few = _wanted(policy, seconds, waiting, in_flight)
    assert _wanted(policy, seconds + more, waiting, in_flight) >= few
    assert _wanted(policy, seconds, waiting + 1, in_flight) >= few
    assert _wanted(policy, seconds, waiting, in_flight + 1) >= few


@given(policies(), _seconds, _jobs)
def test_never_more_slots_than_jobs_fill(policy: Policy, seconds: float, waiting: int) -> None:
    wanted = _wanted(policy, seconds, waiting, 0)
    assert wanted <= max(policy.least, math.ceil(waiting / policy.slots))


@pytest.mark.parametrize("bounds", [{"least": 3, "most": 2}, {"slots": 0}, {"target_drain_s": 0.0}])
def test_a_policy_that_contradicts_itself_is_refused(bounds: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least"):
        Policy(**bounds)


def test_up_at_once_and_down_when_the_window_is_over() -> None:
    damper = Damper(120.0)
    looks = [(0.0, 1), (10.0, 8), (20.0, 2), (130.0, 2), (131.0, 2), (250.5, 0), (252.0, 0)]
    assert [damper.damped(at_s, wanted) for at_s, wanted in looks] == [1, 8, 8, 8, 2, 2, 0]


@given(
    st.lists(st.tuples(st.floats(0, 60), st.integers(0, 20)), min_size=1, max_size=60),
    st.floats(0, 300),
)
def test_damping_is_the_most_of_the_window(looks: list[tuple[float, int]], window_s: float) -> None:
    damper, now_s, past = Damper(window_s), 0.0, []
    for pause_s, wanted in looks:
        now_s += pause_s
        past.append((now_s, wanted))
        truth = max(n for at_s, n in past if at_s >= now_s - window_s)
        assert damper.damped(now_s, wanted) == truth


@given(st.floats(0, 5), st.floats(0.01, 3), st.lists(st.floats(0.1, 500), min_size=5, max_size=60))
def test_pace_finds_a_line_and_predicts_neither_more_nor_less_than_it_saw(
    each_s: float, per_mb_s: float, sizes: list[float]
) -> None:
    pace = Pace()
    for megabytes in sizes:
        pace = pace.after(megabytes, each_s + per_mb_s * megabytes)
    slowest = each_s + per_mb_s * max(sizes)
    quickest = each_s + per_mb_s * min(sizes)
    assert 0 <= pace.seconds(1, min(sizes)) <= slowest * 1.001
    assert pace.seconds(1, max(sizes)) >= quickest * 0.999
    if max(sizes) > 10 * min(sizes):
        assert pace.seconds(2, 2 * max(sizes)) == pytest.approx(2 * slowest, rel=0.35)


def test_pace_follows_when_jobs_become_slower() -> None:
    pace = Pace()
    for _ in range(200):
        pace = pace.after(1.0, 0.5)
    for _ in range(200):
        pace = pace.after(1.0, 3.0)
    assert pace.seconds(10, 10.0) == pytest.approx(30.0, rel=0.05)


def test_the_settings_default_to_the_law_s_own_values() -> None:
    assert Settings.load().policy("predict") == Policy()
