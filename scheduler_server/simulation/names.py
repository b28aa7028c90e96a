"""Policies by name: `p2c`, `default`, `earliest_finish+shortest+patience=20`, `default+oracle+immediate`.

A plain policy is one word. Any other name is words joined by `+`, each saying one thing that is to be otherwise than in
the server's settings: a scorer, an order, a predictor, an objective, a patience, the binding. `default` says nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from scheduler_server.assignment.order import ORDERS
from scheduler_server.assignment.queue_settings import OBJECTIVES
from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.predictor import Predictor
from scheduler_server.predictor.strategies import PREDICTORS
from scheduler_server.scorer import Scorer
from scheduler_server.scorer.strategies import SCORERS
from scheduler_server.simulation.core_policy import CorePolicy
from scheduler_server.simulation.engine import Policy, World
from scheduler_server.simulation.oracle import Failing, FailingScorer, Oracle
from scheduler_server.simulation.policies import PLAIN

DEFAULT = "default"
ORACLE = "oracle"
FAILING = "failing"
IMMEDIATE, LATE = "immediate", "late"
_NUMBERS = {"patience": ("patience", "1e6"), "backlog": ("backlog_patience", "1e3")}
"""Words that are followed by a number: what they set, and the most that it may be."""

_OPTIONS = (DEFAULT, ORACLE, FAILING, IMMEDIATE, LATE)


class UnknownPolicy(ValueError):
    """No policy has this name; what is wrong, and what there is. `word` is the part that nobody knows, or ""."""

    def __init__(self, message: str, word: str = "") -> None:
        self.word = word
        super().__init__(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A policy by its name: what it changes of the settings. Empty and None: nothing."""

    name: str
    plain: str = ""
    objective: str = ""
    scorer: str = ""
    order: str = ""
    patience: float | None = None
    backlog_patience: float | None = None
    predictor: str = ""
    immediate: bool = False
    lists: bool = True
    by_user: bool = False

    def settled(self, settings: CoreSettings) -> CoreSettings:
        """These settings with what the name says."""
        if self.objective:
            # An objective is told to choose, so what was chosen by itself gives way.
            settings = replace(
                settings,
                assignment=replace(settings.assignment, objective=self.objective),
                scorer=replace(settings.scorer, strategy=""),
                queue=replace(settings.queue, order="", patience=None, backlog_patience=None),
            )
        if self.scorer:
            settings = replace(settings, scorer=replace(settings.scorer, strategy=self.scorer))
        if self.order:
            settings = replace(settings, queue=replace(settings.queue, order=self.order))
        for name in ("patience", "backlog_patience"):
            if getattr(self, name) is not None:
                settings = replace(settings, queue=replace(settings.queue, **{name: getattr(self, name)}))
        if self.predictor in PREDICTORS:
            settings = replace(settings, predictor=replace(settings.predictor, strategy=self.predictor))
        return settings

    def make(self, world: World, settings: CoreSettings, seed: str) -> Policy:
        """The policy for one run."""
        if self.plain:
            policy: Policy = PLAIN[self.plain](world, Random(f"{seed}/{self.plain}"))  # noqa: S311 -- simulated
            return policy
        settings = self.settled(settings)
        predictor: Predictor
        scorer: Scorer = SCORERS[settings.scorer_name](settings.scorer)
        if self.predictor == ORACLE:
            predictor = Oracle()
        elif self.predictor == FAILING:
            predictor, scorer = Failing(), FailingScorer()
        else:
            predictor = PREDICTORS[settings.predictor.strategy](settings.predictor)
        return CorePolicy(
            world, settings, predictor, scorer, at_once=self.immediate, lists=self.lists, by_user=self.by_user
        )


def words() -> tuple[str, ...]:
    """Every word that a name may have, but for numbers."""
    return tuple(dict.fromkeys((*PLAIN, *_OPTIONS, *OBJECTIVES, *SCORERS, *ORDERS, *PREDICTORS)))


_AXES: dict[str, Callable[[str], dict[str, Any]]] = {
    "objective": lambda word: {"objective": word} if word in OBJECTIVES else {},
    "scorer": lambda word: {"scorer": word} if word in SCORERS else {},
    "order": lambda word: {"order": word} if word in ORDERS else {},
    "predictor": lambda word: {"predictor": word} if word in PREDICTORS or word in {ORACLE, FAILING} else {},
    "binding": lambda word: {"immediate": word == IMMEDIATE} if word in {IMMEDIATE, LATE} else {},
}


def choice(name: str, *, lists: bool = True, by_user: bool = False) -> Choice:
    """The policy of this name; `lists` and `by_user` as of `CorePolicy`. Raises UnknownPolicy."""
    if name in PLAIN:
        return Choice(name=name, plain=name)
    said: dict[str, Any] = {}
    axes: dict[str, str] = {}
    for word in name.split("+"):
        if word in PLAIN:
            raise UnknownPolicy(f"{name!r}: {word} is a policy by itself and goes with nothing")
        if word == DEFAULT:
            continue
        axis, found = _meaning(name, word)
        if axis in axes:
            raise UnknownPolicy(f"{name!r}: {axes[axis]} and {word} are both {axis}s")
        axes[axis] = word
        said |= found
    return Choice(name=name, lists=lists, by_user=by_user, **said)


def _meaning(name: str, word: str) -> tuple[str, dict[str, Any]]:
    first, equals, number = word.partition("=")
    if equals and first in _NUMBERS:
        field, most = _NUMBERS[first]
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if not 0.0 <= value <= float(most):
            raise UnknownPolicy(f"{name!r}: {word}: must be a number from 0 to {most}")
        return first, {field: value}
    for axis, reading in _AXES.items():
        found = reading(word)
        if found:
            return axis, found
    raise UnknownPolicy(f"{name!r}: nobody knows {word!r}", word)


USUAL = ("round_robin", "random", "p2c", "least_loaded", "central_fifo", "default", "default+oracle")
"""What is compared where nothing is said."""

EVERY = (
    *USUAL,
    "default+immediate",
    *SCORERS,
    "earliest_finish+immediate",
    *ORDERS,
    *(f"default+{each}" for each in PREDICTORS if each != "adaptive"),
    *OBJECTIVES,
    "default+failing",
)
"""All that there is, one thing changed at a time."""
