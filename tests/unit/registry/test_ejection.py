"""The test for workers that fail out of line: what it says of chance, of bad deploys, and of black holes."""

from collections.abc import Callable
from math import log
from random import Random

import pytest

from scheduler_server.registry.ejection import MOST_TRACKS, WORSE, Suspicion, Totals, evidence

_TOLERATED = 0.05
_LIMIT = log(1e6)


class Fleet:
    """Outcomes at random, as workers would report them."""

    def __init__(
        self, pace: list[float], fails: Callable[[int, int, int], float], kinds: int = 1, seed: int = 1
    ) -> None:
        self._chance = Random(seed)
        self._pace, self._fails, self._kinds = pace, fails, kinds
        self.totals = [Totals() for _ in range(kinds)]
        self.suspicions: dict[int, Suspicion] = {}
        self.peak = dict.fromkeys(range(len(pace)), 0.0)
        self.outcomes = dict.fromkeys(range(len(pace)), 0)
        self.found: dict[int, int] = {}  # by worker, after how many of its outcomes the limit was reached

    def run(self, outcomes: int) -> None:
        chance = self._chance
        who = chance.choices(range(len(self._pace)), self._pace, k=outcomes)
        for at, worker in enumerate(who):
            kind = chance.randrange(self._kinds)
            failed = chance.random() < self._fails(at, kind, worker)
            self.outcomes[worker] += 1
            suspicion = self.suspicions.get(worker)
            if suspicion is None and failed:
                suspicion = self.suspicions[worker] = Suspicion()
            if suspicion is not None:
                said = suspicion.took(kind, self.totals[kind], failed, _TOLERATED)
                self.peak[worker] = max(self.peak[worker], said)
                if said >= _LIMIT:
                    self.found.setdefault(worker, self.outcomes[worker])
                if suspicion.over:
                    del self.suspicions[worker]
            self.totals[kind].add(failed)


EVEN = [1.0] * 10


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("workers", [2, 10, 50])
def test_chance_ejects_nobody_whatever_share_of_tasks_fails(share: float, workers: int) -> None:
    fleet = Fleet([1.0] * workers, lambda _at, _kind, _worker: share)
    fleet.run(20_000)
    assert max(fleet.peak.values()) < log(20_000) + 2.0  # what Lorden's bound promises on average, and a little
    assert not fleet.found


@pytest.mark.parametrize("pace", [EVEN, [50.0, *EVEN[1:]], [10.0, 1.0]])
def test_a_type_that_fails_everywhere_ejects_nobody(pace: list[float]) -> None:
    fleet = Fleet(pace, lambda at, _kind, _worker: 1.0 if at >= 1_000 else 0.01)
    fleet.run(4_000)
    assert max(fleet.peak.values()) < _LIMIT / 2


def test_a_failure_rate_that_comes_and_goes_ejects_nobody() -> None:
    fleet = Fleet([5.0, *EVEN], lambda at, _kind, _worker: 1.0 if at // 20 % 3 == 0 else 0.02)
    fleet.run(20_000)
    assert not fleet.found


def test_a_newcomer_that_only_knows_the_bad_deploy_is_not_ejected() -> None:
    def fails(at: int, _kind: int, _worker: int) -> float:
        return 0.95 if at >= 5_000 else 0.0

    fleet = Fleet(EVEN, fails)
    fleet.run(5_000)
    fleet.suspicions.clear()
    fleet._pace = [*EVEN, 1.0]
    fleet.peak[10], fleet.outcomes[10] = 0.0, 0
    fleet._fails = lambda _at, _kind, _worker: 0.95
    fleet.run(5_000)
    assert fleet.peak[10] < _LIMIT / 2


def test_kinds_that_fail_differently_are_held_against_themselves() -> None:
    """One worker is given mostly what fails mostly."""
    chance = Random(3)
    totals = [Totals(), Totals()]
    suspicions = [Suspicion() for _ in EVEN]
    peak = 0.0
    for _ in range(20_000):
        worker = chance.randrange(len(EVEN))
        kind = int(chance.random() < (0.9 if worker == 0 else 0.05))
        failed = chance.random() < (0.02, 0.8)[kind]
        peak = max(peak, suspicions[worker].took(kind, totals[kind], failed, _TOLERATED))
        totals[kind].add(failed)
    assert peak < _LIMIT


@pytest.mark.parametrize(("workers", "most"), [(2, 60), (3, 35), (10, 20), (50, 15)])
def test_a_worker_that_fails_everything_is_found_within_a_few_tasks(workers: int, most: int) -> None:
    found = []
    for seed in range(20):
        fleet = Fleet([1.0] * workers, lambda _at, _kind, worker: 0.01 if worker else 1.0, seed=seed)
        fleet.run(most * 3 * workers)
        assert list(fleet.found) == [0]
        found.append(fleet.found[0])
    assert sorted(found)[10] <= most


def test_a_black_hole_that_takes_most_tasks_is_found_by_what_succeeds_elsewhere() -> None:
    """200 of its failures for each task of ten others: about ten tasks elsewhere suffice."""
    fleet = Fleet([200.0, *EVEN], lambda _at, _kind, worker: 0.0 if worker else 1.0)
    fleet.run(210 * 3)
    assert list(fleet.found) == [0]


def test_several_black_holes_do_not_hide_each_other() -> None:
    fleet = Fleet([50.0, 50.0, 50.0, *EVEN], lambda _at, _kind, worker: 0.01 if worker > 2 else 1.0)
    fleet.run(10_000)
    assert sorted(fleet.found) == [0, 1, 2]


def test_one_kind_that_fails_on_one_worker_is_found_among_many_that_it_does_well() -> None:
    fleet = Fleet(EVEN, lambda _at, kind, worker: 1.0 if worker == 0 and kind == 0 else 0.0, kinds=10)
    fleet.run(10_000)
    assert list(fleet.found) == [0]


def test_failures_spread_over_many_kinds_are_evidence_together() -> None:
    fleet = Fleet(EVEN, lambda _at, _kind, worker: 0.0 if worker else 1.0, kinds=20)
    fleet.run(1_000)
    assert fleet.found[0] < 45  # of each kind it has failed two or so


def test_a_worker_that_fails_twice_as_often_as_others_is_left_alone() -> None:
    fleet = Fleet(EVEN, lambda _at, _kind, worker: 0.1 if worker else 0.2)
    fleet.run(30_000)
    assert not fleet.found


def test_a_burst_of_failures_with_one_cause_counts_once() -> None:
    totals, suspicion = Totals(), Suspicion()
    for _ in range(100):
        totals.add(False)
    said = [suspicion.took("a", totals, True, _TOLERATED) for _ in range(50)]
    assert max(said) < log(WORSE)


@pytest.mark.parametrize(("own", "others"), [(1, 1), (1, 9), (7, 2), (100, 1), (1, 100)])
def test_a_stretch_where_all_failed_or_all_succeeded_says_nothing_for_the_worker_or_less(own: int, others: int) -> None:
    assert evidence(own, 1.0, others, 1.0, 0.0) == pytest.approx(0.0)
    assert evidence(own, 0.0, others, 0.0, 0.0) == pytest.approx(0.0)
    assert evidence(own, 0.0, others, 0.0, _TOLERATED) < 0.0
    assert 0.0 < evidence(own, 1.0, others, 0.0, _TOLERATED) < log(WORSE)


@pytest.mark.parametrize("others", [1, 2, 5, 20])
def test_evidence_is_a_likelihood_ratio_whose_mean_under_chance_is_one(others: int) -> None:
    """Of m + 1 outcomes K failed; the worker's is any of them."""
    from math import exp

    for failed in range(others + 2):
        chance = failed / (others + 1)
        mean = 0.0
        if failed:
            mean += chance * exp(evidence(1, 1.0, others, (failed - 1) / others, 0.0))
        if failed <= others:
            mean += (1.0 - chance) * exp(evidence(1, 0.0, others, failed / others, 0.0))
        assert mean == pytest.approx(1.0)


def test_a_suspect_is_followed_in_so_many_kinds_at_most() -> None:
    suspicion = Suspicion()
    for kind in range(MOST_TRACKS + 1):
        suspicion.took(kind, Totals(), True, _TOLERATED)
    assert len(suspicion.tracks) == MOST_TRACKS
    assert 0 not in suspicion.tracks


def test_counts_made_anew_are_followed_anew() -> None:
    suspicion, former, present = Suspicion(), Totals(), Totals()
    former.add(False)
    suspicion.took("a", former, True, _TOLERATED)
    suspicion.took("a", present, True, _TOLERATED)
    assert suspicion.tracks["a"].totals is present
