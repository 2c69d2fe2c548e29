"""The model of the HPA does what the worked examples in the Kubernetes documentation say.

Quoted in the names of the tests: "Horizontal Pod Autoscaling", kubernetes.io, Algorithm details and
Configurable scaling behavior.
"""

from __future__ import annotations

import pytest

from benchmarks.autoscaling.hpa import (
    Behaviour,
    Hpa,
    RatePolicy,
    Rules,
    by_average_value,
    by_use,
    by_value,
)

_FREE_DOWN = Rules(0.0, (RatePolicy("Percent", 100, 15.0),))


def test_a_value_of_twice_the_target_doubles_the_replicas() -> None:
    assert by_value(3, 3, 200, 100) == 6
    assert by_use(3, [2.0, 2.0, 2.0], 1.0) == 6


def test_a_value_of_half_the_target_halves_them() -> None:
    assert by_value(4, 4, 50, 100) == 2
    assert by_use(4, [0.5] * 4, 1.0) == 2


def test_fifty_replicas_at_90_of_75_percent_become_sixty() -> None:
    # "Configurable tolerance", Kubernetes' blog on 1.33: 50 × (90/75) = 60.
    assert by_use(50, [0.90] * 50, 0.75) == 60


@pytest.mark.parametrize(("value", "wanted"), [(91, 10), (109, 10), (111, 12), (88, 9)])
def test_a_tenth_more_or_less_changes_nothing(value: float, wanted: int) -> None:
    assert by_value(10, 10, value, 100) == wanted
    assert by_average_value(10, value * 10, 100) == wanted


def test_average_value_shares_the_total_by_all_replicas_and_ignores_how_many_are_ready() -> None:
    assert by_average_value(1, 7, 1) == 7
    assert by_average_value(4, 50, 5) == 10


def test_value_multiplies_the_pods_that_are_ready() -> None:
    assert by_value(10, 2, 300, 100) == 6


def test_pods_without_metrics_count_as_the_target_on_the_way_down() -> None:
    # Three at 20 % of 100 alone would give ceil(0.6) = 1; two missing at 100 % make it ceil(2.6).
    assert by_use(5, [0.2, 0.2, 0.2, None, None], 1.0) == 3


def test_pods_without_metrics_count_as_idle_on_the_way_up() -> None:
    # Two at 300 % alone would give 6 of 2; with two at nothing the mean is 150 %: 6 of 4.
    assert by_use(4, [3.0, 3.0, None, None], 1.0) == 6


def test_pods_that_start_dampen_the_way_up_and_never_turn_it() -> None:
    assert by_use(4, [1.5, 1.5], 1.0, starting=2) == 4  # 75 % would be down: nothing is done
    assert by_use(2, [2.0], 1.0, starting=1) == 2  # exactly on target
    assert by_use(3, [4.0, 4.0], 1.0, starting=1) == 8


def test_without_any_metric_nothing_changes() -> None:
    assert by_use(3, [None, None, None], 0.8) == 3
    assert by_use(1, [], 0.8, starting=1) == 1


def test_eighty_replicas_go_by_8_then_by_8_of_72_then_by_4_below_forty() -> None:
    """ "if there are 80 replicas ... during the first step 8 replicas will be reduced ..."."""
    down = Rules(0.0, (RatePolicy("Pods", 4, 60.0), RatePolicy("Percent", 10, 60.0)))
    hpa = Hpa(1, 100, Behaviour(down=down))
    replicas, seen = 80, []
    for minute in range(12):
        replicas = hpa.settle(minute * 60.0, replicas, 10)
        seen.append(replicas)
    assert seen[:3] == [72, 64, 57]  # 10 % of 72 and of 64 are rounded up
    steps = [a - b for a, b in zip([80, *seen], seen, strict=False)]
    assert [step for step, left in zip(steps, [80, *seen], strict=False) if left < 40][:3] == [
        4
    ] * 3


def test_a_rate_holds_for_its_period_not_for_each_look() -> None:
    down = Rules(0.0, (RatePolicy("Pods", 4, 60.0),))
    hpa = Hpa(1, 100, Behaviour(down=down))
    assert hpa.settle(0.0, 20, 1) == 16
    assert hpa.settle(15.0, 16, 1) == 16
    assert hpa.settle(60.0, 16, 1) == 12


def test_min_selects_the_policy_that_changes_least() -> None:
    policies = (RatePolicy("Percent", 10, 60.0), RatePolicy("Pods", 5, 60.0))
    hpa = Hpa(1, 200, Behaviour(down=Rules(0.0, policies, "Min")))
    assert hpa.settle(0.0, 100, 1) == 95


def test_disabled_stops_one_direction() -> None:
    hpa = Hpa(1, 100, Behaviour(down=Rules(0.0, (), "Disabled")))
    assert hpa.settle(0.0, 50, 1) == 50
    assert hpa.settle(15.0, 50, 80) == 80


def test_by_default_four_pods_or_twice_as_many_are_added_every_15_seconds() -> None:
    hpa = Hpa(1, 100)
    replicas, seen = 1, []
    for look in range(5):
        replicas = hpa.settle(look * 15.0, replicas, 100)
        seen.append(replicas)
    assert seen == [5, 10, 20, 40, 80]


def test_by_default_the_most_of_five_minutes_is_kept_on_the_way_down() -> None:
    hpa = Hpa(1, 100)
    assert hpa.settle(0.0, 10, 10) == 10
    seen = [hpa.settle(at_s, 10, 2) for at_s in range(15, 301, 15)]
    assert seen == [10] * 19 + [2]


def test_stabilisation_on_the_way_up_takes_the_least() -> None:
    up = Rules(60.0, (RatePolicy("Percent", 100, 15.0),))
    hpa = Hpa(1, 100, Behaviour(up=up, down=_FREE_DOWN))
    assert hpa.settle(0.0, 4, 4) == 4
    assert hpa.settle(15.0, 4, 8) == 4
    assert hpa.settle(75.0, 4, 8) == 8


def test_bounds_hold() -> None:
    hpa = Hpa(2, 5, Behaviour(down=_FREE_DOWN))
    assert hpa.settle(0.0, 3, 50) == 5
    assert hpa.settle(15.0, 5, 0) == 2
