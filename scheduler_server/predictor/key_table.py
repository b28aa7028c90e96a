"""The keys that are known, a bounded number of them: rare and old ones go first."""

from collections import OrderedDict
from collections.abc import Iterator

from scheduler_server.predictor.known import Key, Known

_SPARE = 10
"""One key in so many may be one that was seen once only, however many there are that recur: new ones need a place where
they can be seen again."""

_TRIES = 8
"""Keys looked at for one eviction: two are enough on average, and without a bound it would not be O(1)."""


class KeyTable:
    """Keys seen once wait in `once`, oldest first; with their second outcome they go to `often`.

    Those seen once go first, while they are more than a tenth. Then `often` goes round as a clock does: the first key
    that has earned nothing since it was looked at last goes, the others lose half of what they earned and move to the
    end. All in O(1).
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[Key, Known] = {}
        self._once: OrderedDict[Key, Known] = OrderedDict()  # each key is in one of these two, in the order of going
        self._often: OrderedDict[Key, Known] = OrderedDict()

    def limit(self, most: int) -> None:
        """Keep so many from now on; what is too much goes with the keys to come."""
        self._most = most

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: Key) -> Known | None:
        """What is known under a key."""
        known = self._known.get(key)
        if known is not None and not known.total and known.recent:  # it came back after a restart
            known.rebuild()
        return known

    def put(self, key: Key, known: Known) -> None:
        """Take in a key, new or known; room for it has been made."""
        self._once.pop(key, None)
        self._often.pop(key, None)
        self._known[key] = known
        (self._often if known.outcomes > 1 else self._once)[key] = known

    def seen_again(self, key: Key) -> None:
        """A key has had its second outcome."""
        known = self._once.pop(key, None)
        if known is not None:
            self._often[key] = known

    def drop(self, task_type: str) -> list[Known]:
        """Let all keys of a type go; what was known under them."""
        gone = [known for key, known in self._known.items() if key[0] == task_type]
        for each in gone:
            del self._known[each.key]
            self._once.pop(each.key, None)
            self._often.pop(each.key, None)
        return gone

    def drop_key(self, key: Key) -> None:
        """Let one key go."""
        self._known.pop(key, None)
        self._once.pop(key, None)
        self._often.pop(key, None)

    def evict(self) -> Known | None:
        """Let one key go if there are as many as there may be; which one."""
        if len(self._known) < self._most:
            return None
        gone = self._choose()
        del self._known[gone.key]
        return gone

    def _choose(self) -> Known:
        once, often = self._once, self._often
        if len(once) * _SPARE > self._most or not often:
            return once.popitem(last=False)[1]
        for _ in range(_TRIES):
            key, each = often.popitem(last=False)
            earned = each.version - each.weighed
            if not earned:
                return each
            each.weighed = each.version - earned // 2
            often[key] = each
        return often.popitem(last=False)[1]

    def snapshot(self) -> Iterator[Known]:
        """All that is known; what comes or goes meanwhile may be in it or not."""
        for key in list(self._known):  # of an OrderedDict, the list of 100,000 would take 15 ms
            known = self._known.get(key)
            if known is not None:
                yield known
