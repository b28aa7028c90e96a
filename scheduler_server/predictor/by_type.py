"""What predictors that know one prediction per task type have in common."""

from collections.abc import Iterator, MutableMapping
from typing import Any

from scheduler_server.model.prediction import Prediction
from scheduler_server.predictor.learned import Learned

_KEY = "type="


class ByType:
    """One prediction per type. What else is kept of each type stands in `_beside`, under the same names.

    `_dates` has the wall second at which a type last learned, where that is known.
    """

    wall = 0.0  # see Dated
    _known: dict[str, Prediction]
    _beside: MutableMapping[str, Any]
    _dates: dict[str, float]

    def _learned_now(self, task_type: str) -> None:
        if self.wall > self._dates.get(task_type, 0.0):
            self._dates[task_type] = self.wall

    def _date(self, record: dict[str, Any], task_type: str) -> dict[str, Any]:
        """A type's record, with its date."""
        at = self._dates.get(task_type, 0.0)
        return {**record, "at": at} if at else record

    def forget(self, task_type: str) -> int:
        """See Forgets."""
        return sum(self._drop(each) for each in ([task_type] if task_type else list(self._known)))

    def forget_key(self, key: str) -> int:
        """See ForgetsKeys."""
        return int(key.startswith(_KEY) and self._drop(key.removeprefix(_KEY)))

    def _drop(self, task_type: str) -> bool:
        self._beside.pop(task_type, None)
        self._dates.pop(task_type, None)
        return self._known.pop(task_type, None) is not None

    def learned(self) -> Iterator[Learned]:
        """See Tells."""
        for task_type in list(self._known):
            known = self._known.get(task_type)
            if known is not None:  # it may go while somebody looks
                yield Learned(task_type, known, self._dates.get(task_type, 0.0))

    @property
    def keys(self) -> int:
        """How many keys it has learned something for."""
        return len(self._known)

    def warm(self) -> None:
        """Nothing: what it knows is what it answers."""
