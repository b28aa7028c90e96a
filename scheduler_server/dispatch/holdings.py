"""What this server has of the streams: entries that are its own and not acknowledged yet, by entry and by task."""

from collections import deque
from collections.abc import Iterable

from scheduler_server.dispatch.entries import Source

Key = tuple[str, str]


class Holding:
    """A task that waits, or is on its way to a worker, and the entries that stand for it.

    More than one where its queue service added it more than once. `payload_left`: its payload is still in the first.
    """

    __slots__ = ("key", "payload_left", "sources", "withdrawn")

    def __init__(self, key: Key, source: Source) -> None:
        self.key = key
        self.sources = [source]
        self.payload_left = False
        self.withdrawn = False  # this server itself takes it out of the index again

    def __repr__(self) -> str:
        return f"<{self.key!r} of {', '.join(map(str, self.sources))}>"


class Holdings:
    """Invariant: `known` has every entry that was delivered to this server and not seen acknowledged by Redis.

    Those are the ones of `by_task`, the ones that found no room (`parked`), and those that the outbox is still to
    acknowledge. What Redis says is ours and is not known here has been delivered and never arrived. `known` has by
    entry the last pass over all of them that found it to be ours still; `passes` is the number of the present one.
    """

    def __init__(self) -> None:
        self.by_task: dict[Key, Holding] = {}
        self.known: dict[Source, int] = {}
        self.passes = 0
        self.parked: deque[Source] = deque()
        self._of: dict[Source, Holding] = {}

    def __len__(self) -> int:
        return len(self.known)

    def learn(self, source: Source) -> None:
        """This entry is here."""
        self.known[source] = self.passes

    def forget(self, sources: Iterable[Source]) -> None:
        """These are not, or not any more."""
        for source in sources:
            self.known.pop(source, None)

    def of(self, source: Source) -> Holding | None:
        """The task that an entry stands for."""
        return self._of.get(source)

    def hold(self, key: Key, source: Source) -> Holding:
        """This entry stands for this task."""
        self.learn(source)
        holding = self.by_task.get(key)
        if holding is None:
            holding = self.by_task[key] = Holding(key, source)
        elif source not in holding.sources:
            holding.sources.append(source)
        self._of[source] = holding
        return holding

    def let_go(self, holding: Holding) -> list[Source]:
        """The task needs its entries no more; they stay known until Redis has heard of it."""
        self.by_task.pop(holding.key, None)
        for source in holding.sources:
            self._of.pop(source, None)
        return holding.sources

    def drop(self, holding: Holding, source: Source) -> None:
        """One of its entries does not stand for it after all."""
        self._of.pop(source, None)
        holding.sources.remove(source)
        if not holding.sources:
            self.by_task.pop(holding.key, None)
