"""How many different names has one identity used lately?"""


class Distinct:
    """Names of the present stretch of time and of the one before: each counts for one to two stretches.

    Invariant: both sets together have at most `limit` names, so memory is bounded whatever is asked. Where the limit
    was lowered those that were counted stay, each for its stretches.
    """

    __slots__ = ("_before", "_begun", "_limit", "_stretch_s", "known")

    def __init__(self, limit: int, stretch_s: float, now: float) -> None:
        self._limit, self._stretch_s, self._begun = limit, stretch_s, now
        self.known: set[str] = set()  # of this stretch
        self._before: set[str] = set()

    def __len__(self) -> int:
        return len(self.known | self._before)

    def take(self, name: str, now: float) -> bool:
        """Count a name that is not among the `known`; False: that would be one too many."""
        if now - self._begun >= self._stretch_s:
            fresh = now - self._begun < 2 * self._stretch_s
            self._before = self.known if fresh else set()
            self.known = set()
            self._begun = now
        if name in self._before:
            self._before.discard(name)
        elif len(self.known) + len(self._before) >= self._limit:
            return False
        self.known.add(name)
        return True

    def change(self, limit: int, stretch_s: float) -> None:
        """Another limit and stretch from now on."""
        self._limit, self._stretch_s = limit, stretch_s
