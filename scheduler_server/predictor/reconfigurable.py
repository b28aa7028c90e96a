"""Settings change while the server runs: a predictor goes by the new ones and keeps what it has learned."""

from typing import Protocol, runtime_checkable

from scheduler_server.predictor.settings import PredictorSettings

AT_ONCE = 4
"""Keys let go per new one while there are more than there may be: what is kept shrinks, and nobody stalls for it."""


@runtime_checkable
class Reconfigurable(Protocol):
    """A predictor that can; every built-in one does."""

    def reconfigure(self, settings: PredictorSettings) -> None:
        """Predict and learn by these from now on."""
