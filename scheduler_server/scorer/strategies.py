"""The scorers by the names that configuration gives them."""

from collections.abc import Callable

from scheduler_server.scorer import Scorer
from scheduler_server.scorer.capability import CapabilityScorer
from scheduler_server.scorer.earliest_finish import EarliestFinishScorer
from scheduler_server.scorer.settings import ScorerSettings
from scheduler_server.scorer.specialist import SpecialistScorer
from scheduler_server.scorer.weighted import WeightedScorer

SCORERS: dict[str, Callable[[ScorerSettings], Scorer]] = {
    "weighted": WeightedScorer,
    "capability": CapabilityScorer,
    "specialist": SpecialistScorer,
    "earliest_finish": lambda _settings: EarliestFinishScorer(),
}
