"""The simulated day loses nothing, counts every second once, and is the same each time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise

import pytest

from benchmarks import autoscale
from benchmarks.autoscaling.cluster import Cluster, Outcome
from benchmarks.autoscaling.conditions import MODELS, Conditions, Scaler, View
from benchmarks.autoscaling.jobs import Spec, Trace
from benchmarks.autoscaling.measure import Figures
from benchmarks.autoscaling.policies import cpu, list_length, ours, ratio
from benchmarks.autoscaling.tables import by_trace, fronts
from benchmarks.autoscaling.traces import _Draw, _office, all_traces
from kiosk_tasks.scaling import Policy

_RULES: dict[str, Callable[[], Mapping[str, Scaler | None]]] = {
    "list": list_length,
    "ratio": ratio,
    "cpu": cpu,
    "ours": ours,
}
_STAYS = Conditions(gpu_stays=True)


def _day() -> Trace:
    """Some images, long jobs that a scaler would like to kill, and a movie with its children."""
    images = [Spec(1000.0 + n, "predict", 0.5, 0.2, 0.3) for n in range(150)]
    long = [Spec(1000.0 + n, "predict", 50.0, 40.0 * (n % 7), 20.0) for n in range(20)]
    batches = tuple(Spec(0.0, "predict", 8.0, 2.0, 3.0) for _ in range(12))
    links = Spec(0.0, "track", 100.0, 15.0, 0.0)
    movie = Spec(1200.0, "track", 100.0, 1.0, 0.0, batches, links)
    late = [Spec(80_000.0, "mesmer", 1.0, 0.7, 0.8)]
    return Trace("small", "", (*images, *long, movie, *late))


@pytest.fixture(scope="module", params=sorted(_RULES))
def outcome(request: pytest.FixtureRequest) -> Outcome:
    return Cluster(_day(), _RULES[request.param](), Conditions()).run()


def test_every_job_ends_once(outcome: Outcome) -> None:
    came = Counter(job.spec for job in outcome.jobs)
    assert came == Counter(_day().jobs())
    assert all(job.ended_s is not None for job in outcome.jobs)
    assert all(workers.in_flight == 0 for workers in outcome.workers.values())
    assert all(workers.open_jobs == 0 for workers in outcome.workers.values())


def test_nothing_ends_sooner_than_its_work_takes(outcome: Outcome) -> None:
    assert outcome.waits().min() >= -1e-6


def test_seconds_add_up(outcome: Outcome) -> None:
    done = sum(job.spec.cpu_s + job.spec.model_s for job in outcome.jobs)
    workers = outcome.workers.values()
    spent = sum(w.busy_seconds - w.lost_seconds - w.away_seconds for w in workers)
    assert spent == pytest.approx(done)
    for one in workers:
        deployment = one.deployment
        assert deployment.pod_seconds == pytest.approx(_area(deployment.timeline))
        assert one.busy_seconds <= deployment.pod_seconds * Conditions().slots + 1e-6


def _area(timeline: list[tuple[float, int]]) -> float:
    return sum(count * (until - since) for (since, count), (until, _) in pairwise(timeline))


def test_nobody_asks_for_more_than_the_most(outcome: Outcome) -> None:
    for workers in outcome.workers.values():
        changes = [b - a for (_, a), (_, b) in pairwise(workers.deployment.timeline)]
        assert set(changes) <= {1, -1}
        assert workers.deployment.most <= 10


def test_a_killed_run_is_run_again(outcome: Outcome) -> None:
    again = sum(job.runs - 1 - job.retries for job in outcome.jobs)
    assert again == sum(workers.kills for workers in outcome.workers.values())


def test_a_movie_links_after_its_last_batch(outcome: Outcome) -> None:
    (links,) = [job for job in outcome.jobs if job.spec.cpu_s == 15.0]
    batches = [job for job in outcome.jobs if job.spec.cpu_s == 2.0]
    assert len(batches) == 12
    assert links.arrived_s == max(job.ended_s or 0.0 for job in batches)


def test_the_same_seed_gives_the_same_day_and_another_does_not() -> None:
    first, again = (Cluster(_day(), ours(), Conditions()).run() for _ in range(2))
    assert list(first.waits()) == list(again.waits())
    assert _timelines(first) == _timelines(again)
    other = Cluster(_day(), ours(), replace(Conditions(), seed=7)).run()
    assert _timelines(other) != _timelines(first)


def _timelines(outcome: Outcome) -> list[list[tuple[float, int]]]:
    return [workers.deployment.timeline for workers in outcome.workers.values()]


def test_days_are_the_same_for_the_same_seed() -> None:
    office = [_office(_Draw(seed)) for seed in (600, 600, 700)]
    assert office[0] == office[1] != office[2]
    assert len({trace.name for trace in all_traces(6)}) == 8


def test_ours_goes_to_none_and_back() -> None:
    outcome = Cluster(_day(), ours(), _STAYS).run()
    counts = [count for _, count in outcome.workers["predict"].deployment.timeline]
    assert max(counts) > 1
    assert outcome.workers["predict"].deployment.ready == 0
    assert counts[-1] == 0
    starts = [at_s for at_s, count in outcome.workers["mesmer"].deployment.timeline if count]
    assert 80_000 <= min(starts) <= 80_010


def test_list_length_is_blind_to_what_runs_and_kills_it() -> None:
    day = Trace("one long job", "", (Spec(100.0, "track", 1.0, 1500.0, 0.0),))
    blind = Cluster(day, list_length(), _STAYS).run()
    seeing = Cluster(day, ours(), _STAYS).run()
    assert blind.workers["track"].kills > 10
    assert blind.jobs[0].ended_s is None  # whole as it is after each kill, it never ends
    assert seeing.workers["track"].kills == 0
    assert seeing.waits().max() < 60


def test_a_scaler_by_way_of_prometheus_sees_what_was_scraped() -> None:
    seen: list[View] = []

    class Watching:
        poll_s, stale, least = 1.0, True, 0

        def poll(self, view: View) -> int | None:
            seen.append(view)
            return None

        def sync(self, _view: View, _use: object) -> int | None:
            return None

    day = Trace("", "", (Spec(100.0, "predict", 1.0, 1.0, 0.0),))
    scalers: Mapping[str, Scaler | None] = {"predict": Watching(), MODELS: None}
    Cluster(day, scalers, Conditions()).run()
    unseen = [view.now_s for view in seen if view.waiting == 0]
    assert 100 <= min(unseen) <= max(unseen) <= 106  # the next scrape is at 105 s
    assert min(view.now_s for view in seen if view.waiting == 1) >= 105


def test_the_tables_say_whom_ours_beats() -> None:
    def day(p95_s: float, worker_h: float) -> Figures:
        return Figures(1.0, p95_s, 9.0, worker_h, 0.0, 0.0, 0.0, 0)

    days = {"a": {"x": day(5, 5), "y": day(5, 1), "z": day(1, 5), "ours": day(2, 2)}}
    assert "| both · wait · hours |" in by_trace(days, "ours")
    tried = {("x", "slow"): day(9, 1), ("x", "quick"): day(1, 3), ("y", "best"): day(2, 1)}
    text = fronts({"a": tried}, {"a": day(2, 2)})
    assert "1.0 s, 3.0 h at quick |" in text
    assert "2.0 s, 1.0 h at best **dominates**" in text


def test_the_command_prints_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert autoscale.main(["--days", "idle"]) == 0
    out = capsys.readouterr().out
    assert "| idle |" in out
    assert out.count("| ours |") >= 2


def test_one_worker_that_stays_leaves_no_first_job_waiting() -> None:
    policy = Policy(slots=2, least=1)
    outcome = Cluster(all_traces(6)[4], ours(policy), _STAYS).run()
    assert outcome.waits().max() < 0.01
