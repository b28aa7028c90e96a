"""What was learned can be forgotten on request: an operator knows that the durations of the past mean nothing now."""

from typing import Protocol, runtime_checkable


@runtime_checkable
class Forgets(Protocol):
    """A predictor that can; every built-in one does."""

    def forget(self, task_type: str) -> int:
        """Forget all that was learned of a type, or of all of them (""); how many keys that were.

        Takes some milliseconds per 100,000 keys, all at once. What keys of any type have learned from one stays.
        """


@runtime_checkable
class ForgetsKeys(Protocol):
    """A predictor that can forget one key alone."""

    def forget_key(self, key: str) -> int:
        """Forget what was learned under a key, as predictions name it; how many keys that were, 0 or 1."""


def forget(predictor: object, task_type: str, key: str) -> int | None:
    """Let a predictor forget a key, a type, or with neither all; how many keys that were, None where it cannot."""
    if key:
        return predictor.forget_key(key) if isinstance(predictor, ForgetsKeys) else None
    return predictor.forget(task_type) if isinstance(predictor, Forgets) else None
