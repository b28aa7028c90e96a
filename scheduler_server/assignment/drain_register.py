"""Which drains there are: those that stand, found by worker, and those that are over, forgotten after a while."""

from collections.abc import Iterator

from scheduler_server.assignment.drain_record import Drain, KeptDrain
from scheduler_server.model.clock import Now
from scheduler_server.model.drain import labels_like
from scheduler_server.registry.record import WorkerRecord

_ENDED_KEPT = 1_000
"""Drains that are over which are kept at most, whatever their age."""

_FORGOTTEN_AT_ONCE = 100


class Register:
    """Invariant: a drain that is not over is found by each id that it names, and by patterns if it has labels."""

    def __init__(self, kept_s: float) -> None:
        self.kept_s = kept_s
        self.drains: dict[str, Drain] = {}  # oldest first
        self.standing = 0  # those that operators ordered and that are not over
        self.own: dict[str, Drain] = {}  # that a worker began, and that are not over
        self.patterned: dict[str, Drain] = {}
        self._named: dict[str, dict[str, Drain]] = {}
        self._over: dict[str, Drain] = {}  # the longest over first

    def stand(self, drain: Drain) -> None:
        """Let a drain hold for those that match it, now and when they come."""
        order = drain.order
        self.drains[order.drain_id] = drain
        self._over.pop(order.drain_id, None)
        for name in order.worker_ids:
            self._named.setdefault(name, {})[order.drain_id] = drain
        if order.labels:
            self.patterned[order.drain_id] = drain
        if order.own:
            self.own[order.author] = drain
        else:
            self.standing += 1

    def end(self, drain: Drain) -> None:
        """Let it hold for nobody."""
        order = drain.order
        for name in order.worker_ids:
            named = self._named.get(name, {})
            named.pop(order.drain_id, None)
            if not named:
                self._named.pop(name, None)
        self.patterned.pop(order.drain_id, None)
        if not order.own:
            self.standing -= 1
        elif self.own.get(order.author) is drain:
            del self.own[order.author]
        self._over[order.drain_id] = drain

    def forget(self, drain: Drain) -> None:
        """As if it had never been."""
        self._over.pop(drain.order.drain_id, None)
        self.drains.pop(drain.order.drain_id, None)

    def of(self, record: WorkerRecord) -> list[Drain]:
        """Those that a worker matches and that do not cover it yet."""
        found = [*self._named.get(record.worker_id, {}).values(), *self.patterned.values()]
        return [drain for drain in found if record.worker_id not in drain.lines and matches(drain, record)]

    def with_deadline(self) -> list[Drain]:
        """Those that stand and have one."""
        return [each for each in self.drains.values() if not each.over and each.order.deadline is not None]

    def outdated(self, now: Now) -> Iterator[Drain]:
        """Those that have been over for long enough, or are too many; a few at a time. They are forgotten."""
        for _ in range(_FORGOTTEN_AT_ONCE):
            drain = next(iter(self._over.values()), None)
            if drain is None or drain.lines:
                return
            if now.wall - (drain.ended or 0.0) <= self.kept_s and len(self._over) <= _ENDED_KEPT:
                return
            self.forget(drain)
            yield drain

    def restore(self, kept: KeptDrain) -> None:
        """Take one of the last run back."""
        drain = Drain(kept.order)
        drain.ended, drain.cancelled, drain.over = kept.ended, kept.cancelled, kept.over
        drain.past_counts = drain.counts = kept.counts
        drain.past = kept.past
        if drain.over:
            self.drains[kept.order.drain_id] = self._over[kept.order.drain_id] = drain
        else:
            self.stand(drain)

    def restored(self) -> None:
        """All are back: put them into their order."""
        for found, key in ((self.drains, _begun), (self._over, _ended)):
            ordered = sorted(found.items(), key=lambda each, key=key: (key(each[1]), each[0]))  # type: ignore[misc] # mypy has no type for the default
            found.clear()
            found.update(ordered)


def matches(drain: Drain, record: WorkerRecord) -> bool:
    """Is a drain for this worker?"""
    labels = drain.order.labels
    return record.worker_id in drain.ids or (bool(labels) and labels_like(labels, record.registration.labels))


def _begun(drain: Drain) -> float:
    return drain.order.created


def _ended(drain: Drain) -> float:
    return drain.ended or 0.0
