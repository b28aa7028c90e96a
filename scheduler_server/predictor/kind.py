"""What is known of one task type beside its durations: which keys are worth it, and how wide its quantiles are."""

from math import exp
from typing import NamedTuple

from scheduler_server.model.prediction import Prediction
from scheduler_server.model.task import Task
from scheduler_server.predictor.facet import Facet, size_class
from scheduler_server.predictor.known import DETAILS, RESOURCES, TYPE, WHO, Details, Key

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
"""How far a quantile moves per outcome, in spreads (Gibbs and Candes 2021, their gamma): what is stationary wanders by a
tenth of a spread. From 0.02 to 0.08 it makes no difference to coverage."""

_FIRST_STEPS = 10
"""Outcomes over which the first, longer steps shrink to that."""

MOST_SPREADS = 20.0
"""Quantiles stay within so many spreads of the point."""

START_P90 = 1.6
"""Where P90 starts, in mean deviations from the point: 1.28 standard deviations of a normal distribution."""


class Plan(NamedTuple):
    """What the keys of a type go into. Of `numbers`, True says: as they are, False: by their size."""

    who: bool = False
    resources: bool = False
    numbers: tuple[tuple[str, bool], ...] = ()
    words: tuple[str, ...] = ()


class Kind:
    """One task type, or, under the name None, all of them.

    `odds[depth]` is the evidence that keys of that depth predict better than coarser ones, as a logarithm, and
    `gates[depth]` the weight from 0 to 1 that follows. `low` and `high` are what the type adds to the places of P50 and
    P90, in spreads from the point; `p50_at` and `p90_at` are those places, with what all types add, as of the type's
    last outcome. `version` rises with whatever changes a prediction, `epoch` with whatever changes a key.
    """

    __slots__ = (
        "epoch",
        "facets",
        "gates",
        "high",
        "low",
        "name",
        "odds",
        "outcomes",
        "p50_at",
        "p90_at",
        "plan",
        "version",
    )

    def __init__(self, name: str | None, low: float = 0.0, high: float = 0.0) -> None:
        self.name = name
        self.outcomes = 0
        self.version = 0
        self.epoch = 0
        self.facets: dict[str, Facet] = {}
        self.plan = Plan()
        self.odds = [0.0] * (DETAILS + 1)
        self.gates = [1.0] * WHO + [0.5] * (DETAILS + 1 - WHO)
        self.low = self.p50_at = low
        self.high = self.p90_at = high

    def notice(self, task: Task) -> None:
        """See the values of a task whose like was not seen before."""
        self._see("who", (task.tenant, task.user))
        self._see("resources", task.resources)
        if self.name is not None:
            for name, number in task.features[:_MOST_DETAILS]:
                if not name.startswith(_TRUTH):
                    self._see("number " + name, number)
            for name, word in task.attributes[:_MOST_DETAILS]:
                if not name.startswith(_TRUTH):
                    self._see("word " + name, word)

    def _see(self, name: str, value: object) -> None:
        facet = self.facets.get(name)
        if facet is None:
            if len(self.facets) >= 2 * _MOST_DETAILS:
                return
            facet = self.facets[name] = Facet()
            if self.outcomes:
                facet.see(None)  # it was absent until now, and that is a value, too
        facet.see(value)

    def replan(self) -> None:
        """Decide anew what the keys go into."""
        outcomes, facets = self.outcomes, self.facets
        plan = Plan(
            "who" in facets and facets["who"].tells_words_apart(outcomes),
            "resources" in facets and facets["resources"].tells_words_apart(outcomes),
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
        odds = self.odds
        odds[depth] = own = MEMORY * odds[depth] + gain
        usual = everybody.odds
        usual[depth] = prior = usual[depth] + _PRIOR_RATE * (gain - usual[depth])
        self.gates[depth] = 1.0 / (1.0 + exp(-own - PRIOR * prior))

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
