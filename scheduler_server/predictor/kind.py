"""What is known of one task type beside its durations: which keys are worth it, and how wide its quantiles are."""

from collections.abc import Sequence
from math import exp, log
from typing import NamedTuple, TypeAlias

from scheduler_server.model.prediction import Prediction
from scheduler_server.model.task import Numbers, Pairs, Task
from scheduler_server.predictor.facet import Facet, size_class
from scheduler_server.predictor.known import DETAILS, RESOURCES, TYPE, WHO, Details, Key, Who

_MOST_DETAILS = 16
"""Features and attributes of a type that are looked at, in the order of their names: of more, nobody could tell which
one a duration depends on from the outcomes that a type has."""

_TRUTH = "label_"
"""What names begin with that traces give to ground truth and to ids of runs: not to be learned from."""

MEMORY = 0.95
"""What is left of the evidence for and against a depth after one outcome: about the last twenty count."""

PRIOR = 1.0 / (1.0 - MEMORY)
"""Outcomes that the experience of all types counts for: as many as a type's own memory holds."""

_PRIOR_RATE = 0.002
"""Of the experience of all types: five hundred outcomes."""

_STEP = 0.03
"""How far a quantile moves per outcome, in spreads (Gibbs and Candes 2021, their gamma): what is stationary wanders by
a tenth of a spread. From 0.02 to 0.08 it makes no difference to coverage."""

_FIRST_STEPS = 10
"""Outcomes over which the first, longer steps shrink to that."""

MOST_SPREADS = 20.0
"""Quantiles stay within so many spreads of the point."""

START_P90 = 1.6
"""Where P90 starts, in mean deviations from the point: 1.28 standard deviations of a normal distribution."""


DENSEST, FAST, SLOW = range(3)
"""Ways to a point: the densest durations, or a moving average."""

_PATIENCE = 0.98
"""What is left of the evidence for a way after one outcome: fifty count, because the ways mostly agree."""

_PRIOR_PATIENCE = 1.0 / (1.0 - _PATIENCE)

_BELOW, _ABOVE = log(1.25), -log(0.75)
"""A duration is near to a point from so much below it to so much above, in ln ms."""


class Plan(NamedTuple):
    """What the keys of a type go into. Of `numbers`, True says: as they are, False: by their size."""

    who: bool = False
    resources: bool = False
    numbers: tuple[tuple[str, bool], ...] = ()
    words: tuple[str, ...] = ()


_NO_PLAN = Plan()

NO_ODDS = (0.0,) * (DETAILS + 1)

NO_GATES = (1.0,) * WHO + (0.5,) * (DETAILS + 1 - WHO)
"""Of a type whose keys were not weighed yet: even odds at every depth that has a gate."""

Values: TypeAlias = tuple[Who, Numbers, Numbers, Pairs]
"""Who asks, resources, features, attributes."""


class Kind:
    """One task type, or, under the name None, all of them.

    `odds[depth]` is the evidence that keys of that depth predict better than coarser ones, as a logarithm, and
    `gates[depth]` the weight from 0 to 1 that follows. `low` and `high` are what the type adds to the places of P50 and
    P90, in spreads from the point; `p50_at` and `p90_at` are those places, with what all types add, as of the type's
    last outcome. `fast` and `slow` are by how many outcomes of late those ways to a point did better than the densest
    durations, and `way` is the best. `version` rises with whatever changes a prediction, `epoch` with whatever changes
    a key.

    Most types have one user and one kind of request, so until a second one comes there are no facets, only the values
    of the `first`, and until keys are weighed no `odds`.
    """

    __slots__ = (
        "epoch", "facets", "fast", "first", "gates", "high", "low", "name", "odds", "outcomes", "p50_at", "p90_at",
        "plan", "slow", "version", "way",
    )  # fmt: skip

    def __init__(self, name: str | None, low: float = 0.0, high: float = 0.0) -> None:
        self.name = name
        self.outcomes = 0
        self.version = 0
        self.epoch = 0
        self.first: Values | None = None
        self.facets: dict[str, Facet] | None = None
        self.plan = _NO_PLAN
        self.odds: list[float] | None = None
        self.gates: Sequence[float] = NO_GATES
        self.fast = self.slow = 0.0
        self.way = DENSEST
        self.low = self.p50_at = low
        self.high = self.p90_at = high

    def notice(self, task: Task) -> None:
        """See the values of a task whose like was not seen before, and make the keys fit them."""
        if self.name is not None:
            values: Values = ((task.tenant, task.user), task.resources, task.features, task.attributes)
        else:
            values = ((task.tenant, task.user), task.resources, (), ())
        if self.facets is None:
            if self.first is None:
                self.first = values
            if values == self.first:
                return
            self.facets = {}
            self._look(self.facets, self.first, later=False)
        if self._look(self.facets, values, later=True):
            self.replan()

    @staticmethod
    def _look(facets: dict[str, Facet], values: "Values", *, later: bool) -> bool:
        """See all values of one task; whether any is new."""
        who, resources, features, attributes = values
        named: list[tuple[str, object]] = [("who", who), ("resources", resources)]
        named += [
            ("number " + name, number) for name, number in features[:_MOST_DETAILS] if not name.startswith(_TRUTH)
        ]
        named += [("word " + name, word) for name, word in attributes[:_MOST_DETAILS] if not name.startswith(_TRUTH)]
        new = False
        for name, seen in named:
            facet = facets.get(name)
            if facet is None:
                if len(facets) >= 2 * _MOST_DETAILS:
                    continue
                facet = facets[name] = Facet()
                if later:
                    facet.see(None)  # it was absent until now, and that is a value, too
            new |= facet.see(seen)
        return new

    def replan(self) -> None:
        """Decide anew what the keys go into."""
        outcomes, facets = self.outcomes, self.facets
        if facets is None:
            return
        plan = Plan(
            facets["who"].tells_words_apart(outcomes),
            facets["resources"].tells_words_apart(outcomes),
            tuple(
                (name[7:], facet.tells_numbers_apart(outcomes))
                for name, facet in facets.items()
                if name.startswith("number ") and facet.values > 1
            ),
            tuple(
                name[5:]
                for name, facet in facets.items()
                if name.startswith("word ") and facet.tells_words_apart(outcomes)
            ),
        )
        if plan != self.plan:
            self.plan = plan
            self.epoch += 1
            self.version += 1

    def keys(self, task: Task) -> list[tuple[int, Key]]:
        """The keys of a task with their depths, from its type to the finest."""
        plan, task_type = self.plan, task.task_type
        keys: list[tuple[int, Key]] = [(TYPE, (task_type, None, None, None))]
        who = resources = None
        if plan.who:
            who = (task.tenant, task.user)
            keys.append((WHO, (task_type, who, None, None)))
        if plan.resources:
            resources = task.resources
            keys.append((RESOURCES, (task_type, who, resources, None)))
        if plan.numbers or plan.words:
            keys.append((DETAILS, (task_type, who, resources, self._details(task))))
        return keys

    def _details(self, task: Task) -> Details:
        plan = self.plan
        details: list[tuple[str, str | float]] = []
        if plan.numbers:
            exact = dict(plan.numbers)
            for name, number in task.features:
                as_it_is = exact.get(name)
                if as_it_is is not None:
                    details.append((name, number if as_it_is else size_class(number)))
        if plan.words:
            details += [(name, word) for name, word in task.attributes if name in plan.words]
        return tuple(details)

    def weigh(self, depth: int, gain: float, everybody: "Kind") -> None:
        """Take in by how much (as a logarithm) keys of this depth predicted an outcome better than coarser ones."""
        odds, usual = self.odds, everybody.odds
        gates = self.gates
        if odds is None or not isinstance(gates, list):
            odds = self.odds = list(NO_ODDS)
            gates = self.gates = list(NO_GATES)
        if usual is None:
            usual = everybody.odds = list(NO_ODDS)
        odds[depth] = own = MEMORY * odds[depth] + gain
        usual[depth] = prior = usual[depth] + _PRIOR_RATE * (gain - usual[depth])
        gates[depth] = 1.0 / (1.0 + exp(-own - PRIOR * prior))

    def choose(self, log_ms: float, points: tuple[float, float, float], everybody: "Kind") -> None:
        """Take in which ways came near to an outcome, and take the one that did most often of late."""
        densest, fast, slow = points
        near = -_BELOW <= log_ms - densest <= _ABOVE
        gain_fast = (-_BELOW <= log_ms - fast <= _ABOVE) - near
        gain_slow = (-_BELOW <= log_ms - slow <= _ABOVE) - near
        self.fast = of_fast = _PATIENCE * self.fast + gain_fast
        self.slow = of_slow = _PATIENCE * self.slow + gain_slow
        everybody.fast = prior_fast = everybody.fast + _PRIOR_RATE * (gain_fast - everybody.fast)
        everybody.slow = prior_slow = everybody.slow + _PRIOR_RATE * (gain_slow - everybody.slow)
        of_fast += _PRIOR_PATIENCE * prior_fast
        of_slow += _PRIOR_PATIENCE * prior_slow
        if of_fast > of_slow:
            self.way = FAST if of_fast > 0.0 else DENSEST
        else:
            self.way = SLOW if of_slow > 0.0 else DENSEST

    def calibrate(self, duration_ms: float, prediction: Prediction, everybody: "Kind") -> None:
        """Move P50 and P90, of the type and of all, by where an outcome was."""
        up50 = 0.5 if duration_ms > prediction.p50_ms else -0.5
        up90 = 0.9 if duration_ms > prediction.p90_ms else -0.1
        step = _STEP + 1.0 / (_FIRST_STEPS + self.outcomes)
        low, high = self.low + up50 * step, self.high + up90 * step
        if -MOST_SPREADS < low < MOST_SPREADS:
            self.low = low
        if -MOST_SPREADS < high < MOST_SPREADS:
            self.high = high
        step = _STEP + 1.0 / (_FIRST_STEPS + everybody.outcomes)
        low, high = everybody.low + up50 * step, everybody.high + up90 * step
        if -MOST_SPREADS < low < MOST_SPREADS:
            everybody.low = low
        if -MOST_SPREADS < high < MOST_SPREADS:
            everybody.high = high
        self.p50_at = self.low + everybody.low
        self.p90_at = self.high + everybody.high
