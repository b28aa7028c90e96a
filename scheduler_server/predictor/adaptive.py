"""The default predictor: the densest durations under keys from coarse to fine, weighted by how well they predict.

A task is known under several keys: its type; that and who asks; and the resources requested; and its details, which are
features and attributes. Coarser than all is any type for the same user and resources. Each key remembers its last 48
durations (densest.py). The share of them, recent ones first, that a point is near to is what the key says for it.

What the keys say is mixed from coarse to fine. A key's own word counts n / (n + 0.5) after n outcomes, times the gate
of its depth: the odds, learned per type, that keys so fine predict better than coarser ones. The densest windows of the
keys that count are the candidates; the one with the largest share in the mixture is the prediction. That is context-tree
weighting (Willems, Shtarkov and Tjalkens 1995) with the loss that predictions are judged by.

Which aspects are worth a key is found out per type (facet.py). P50 and P90 are the point plus so many spreads, moved
online per type and for all types so that they hold as often as they should (Gibbs and Candes 2021).
"""

from collections import OrderedDict
from collections.abc import Iterator
from math import exp, log
from typing import Any

from scheduler_server.model.making import make
from scheduler_server.model.prediction import Prediction
from scheduler_server.model.task import Task
from scheduler_server.predictor import adaptive_records as records
from scheduler_server.predictor.cold import ColdStart
from scheduler_server.predictor.densest import BINS, bin_of
from scheduler_server.predictor.drift import Drift, Drifts
from scheduler_server.predictor.kind import START_P90, Kind
from scheduler_server.predictor.known import ANY_TYPE, DOUBT, LEAST_SPREAD, TYPE, WHO, Key, Known
from scheduler_server.predictor.settings import LONGEST_MS, PredictorSettings

_BACK_OFF = 0.5
"""Outcomes that the coarser keys count for against a key's own: one outcome of the very same kind of task says more
than any number of outcomes of its parents, ten leave them one part in twenty."""

_CHANCE = 0.1
"""Added to shares before they are compared: how far a key's claim is believed. A key of one outcome claims that nothing
else is possible; with this, one surprise costs it as much as two and a half successes gain."""

_NEGLIGIBLE = 0.03
"""Weight of the coarser keys below which they are not asked."""

_GROWN, _SELDOM = 16, 4
"""A type with so many outcomes does without the keys of any type, and teaches them one outcome in so many: they serve
types that are new."""

_USUAL_RATE = 0.02
"""Weight of the newest outcome in what is usual for any task: fifty outcomes."""

_TRIES = 8
"""Keys looked at for one eviction: two are enough on average, and without a bound it would not be O(1)."""


class _Path:
    """From a task to the keys that it is known by, and the prediction that they made last.

    `known[i]` is what is known under `keys[i]`, or None while nothing is. `asked` is the coarsest key if it had a say in
    the prediction, which holds as long as `stamp` is the sum of the versions of the type and of that key.
    """

    __slots__ = ("asked", "epochs", "keys", "kind", "known", "noticed", "prediction", "stamp")

    def __init__(self, kind: Kind, epochs: int, keys: list[tuple[int, Key]], known: list[Known | None]) -> None:
        self.kind = kind
        self.epochs = epochs
        self.keys = keys
        self.known = known
        self.noticed = False
        self.asked: Known | None = None
        self.stamp = -1
        self.prediction: Prediction | None = None


class AdaptivePredictor:
    """See above. Memory is bounded by `max_keys`; keys that are rare and were not used for long go first.

    Deterministic: the same calls give the same predictions, and `state` tells all that they depend on.
    """

    name = "adaptive"

    def __init__(self, settings: PredictorSettings) -> None:
        self._settings = settings
        self._known: OrderedDict[Key, Known] = OrderedDict()  # in the order in which eviction looks at them
        self._kinds: dict[str, Kind] = {}
        self._all = Kind(None, 0.0, START_P90)
        self._paths: OrderedDict[Any, _Path] = OrderedDict()  # a cache: nothing depends on what is in it
        self._cold = ColdStart(settings, self.name)
        self._drifts = Drifts()
        self.evicted = 0

    def predict(self, task: Task) -> Prediction:
        """The densest durations of the keys that the task is known by, or an estimate where its type is new."""
        path = self._paths.get((task.task_type, task.tenant, task.user, task.resources, task.features, task.attributes))
        if path is None or path.epochs != path.kind.epoch + self._all.epoch:
            kind = self._kinds.get(task.task_type)
            if kind is None:
                return self._cold.estimate(task, self._known.get(self._root(task)))
            path = self._open(task, kind)
        asked = path.asked
        if path.stamp == (path.kind.version if asked is None else path.kind.version + asked.version):
            return path.prediction  # type: ignore[return-value]  # there is one wherever there is a stamp
        return self._compute(path)

    def _root(self, task: Task) -> Key:
        plan = self._all.plan
        return (
            None, (task.tenant, task.user) if plan.who else None, task.resources if plan.resources else None, None
        )  # fmt: skip

    def _open(self, task: Task, kind: Kind) -> _Path:
        """Find the keys of a task, and remember the way."""
        table, paths = self._known, self._paths
        keys = [(ANY_TYPE, self._root(task)), *kind.keys(task)]
        path = _Path(kind, kind.epoch + self._all.epoch, keys, [table.get(key) for _, key in keys])
        signature = (task.task_type, task.tenant, task.user, task.resources, task.features, task.attributes)
        before = paths.pop(signature, None)
        if before is not None and before.kind is kind:
            path.noticed = before.noticed
        elif len(paths) >= self._settings.max_keys:
            paths.popitem(last=False)
        paths[signature] = path
        return path

    def _compute(self, path: _Path) -> Prediction:
        """Mix what the keys say, fine to coarse, until what is left to say has no weight."""
        kind, known = path.kind, path.known
        gates = kind.gates
        left = 1.0
        mixed: list[tuple[Known, float]] = []
        asked = None
        complete = True
        for place in range(len(known) - 1, -1, -1):
            each = known[place]
            if each is None or each.dead:
                each = known[place] = self._known.get(path.keys[place][1])
                if each is None:
                    complete = complete and place > 0  # any other comes with an outcome of the type
                    continue
            if place:
                count = each.outcomes
                weight = left * gates[each.depth] * count / (count + _BACK_OFF)
                mixed.append((each, weight))
                left -= weight
                if left < _NEGLIGIBLE:
                    break
            else:
                asked = each
                mixed.append((each, left))
        best = most = spread = mean_ms = total = 0.0
        chosen = heaviest = mixed[0][0]
        for candidate, weight in mixed:
            window = (candidate.low + candidate.high) >> 1
            share = 0.0
            for each, its in mixed:
                place = window - each.base
                counts = each.counts
                if 0 <= place < len(counts):
                    share += its * counts[place] / each.total
            if share > best:
                best, chosen = share, candidate
            if weight > most:
                most, heaviest = weight, candidate
            spread += weight * candidate.spread
            mean_ms += weight * candidate.mean_ms
            total += weight
        spread /= total
        spread = max(spread, LEAST_SPREAD)
        point = exp(chosen.point)
        p50 = min(LONGEST_MS, point * exp(kind.p50_at * spread))
        p90 = min(LONGEST_MS, point * exp(kind.p90_at * spread))
        count = heaviest.outcomes
        prediction: Prediction = make(
            Prediction,
            (
                point, mean_ms / total, p50, max(p50, p90), best / total * count / (count + 2.0), count,
                heaviest.label, self.name, None,
            ),
        )  # fmt: skip
        path.prediction = prediction
        path.asked = asked
        path.stamp = (kind.version if asked is None else kind.version + asked.version) if complete else -1
        return prediction

    def observe(self, task: Task, duration_ms: float) -> None:
        """Teach every key of the task this duration, and what it says of the keys; ValueError if it is none."""
        if not 0.0 < duration_ms <= LONGEST_MS:
            raise ValueError(f"a duration must be above 0 ms and at most a year (got {duration_ms!r})")
        log_ms = log(duration_ms)
        newest = bin_of(log_ms)
        everybody, cold = self._all, self._cold
        if task.category or task.hints is not None:
            cold.learn(task, log_ms)
        kind = self._kinds.get(task.task_type)
        if kind is None:
            kind = self._meet(task, duration_ms)
        path = self._paths.get((task.task_type, task.tenant, task.user, task.resources, task.features, task.attributes))
        prediction = None if path is None else path.prediction
        if path is None or not path.noticed or path.kind is not kind or path.epochs != kind.epoch + everybody.epoch:
            path = self._notice(task, kind, path)
        if prediction is not None:
            kind.calibrate(duration_ms, prediction, everybody)
        window = newest - BINS // 2 + 1  # of the point nearest to it
        coarse = 0.0
        drifted = coarser = None
        known = path.known
        place = -1
        for depth, key in path.keys:
            place += 1
            each = known[place]
            if each is None or each.dead:
                each = self._known.get(key) or self._create(key, depth, kind, coarser)
                known[place] = each
            coarser = each
            count = each.outcomes
            if depth == ANY_TYPE and kind.outcomes >= _GROWN and kind.outcomes % _SELDOM:
                continue
            if count:
                at = window - each.base
                counts = each.counts
                own = _CHANCE + (counts[at] / each.total if 0 <= at < len(counts) else 0.0)
                if not coarse:
                    coarse = own
                else:
                    trust = count / (count + _BACK_OFF)
                    if depth >= WHO:
                        gate = kind.gates[depth]
                        kind.weigh(depth, trust * log(own / coarse), everybody)
                        trust *= gate
                    coarse += trust * (own - coarse)
            change = each.learn(newest, log_ms, duration_ms)
            if change is not None and drifted is None and depth >= TYPE:
                drifted = each, change
        kind.version += 1
        kind.outcomes = count = kind.outcomes + 1
        if not count & (count - 1):
            kind.replan()
        cold.outcomes = count = cold.outcomes + 1
        cold.usual_log += (_USUAL_RATE if count > 1 else 1.0) * (log_ms - cold.usual_log)
        everybody.outcomes = count
        if not count & (count - 1):
            everybody.replan()
        if drifted is not None:
            each, (before, forgotten) = drifted
            self._drifts.report(each.label, exp(before), exp(each.point), forgotten)

    def _meet(self, task: Task, duration_ms: float) -> Kind:
        """Begin to learn a type."""
        self._cold.judge(self._cold.estimate(task, self._known.get(self._root(task))), duration_ms)
        everybody = self._all
        kind = self._kinds[task.task_type] = Kind(task.task_type)
        kind.p50_at, kind.p90_at = everybody.low, everybody.high
        return kind

    def _notice(self, task: Task, kind: Kind, path: _Path | None) -> _Path:
        """Look at a task whose like has not ended before, or whose keys have become others."""
        if path is None or not path.noticed or path.kind is not kind:
            for each in (kind, self._all):
                each.notice(task)
                each.replan()
        path = self._open(task, kind)
        path.noticed = True
        return path

    def _create(self, key: Key, depth: int, kind: Kind, coarser: Known | None) -> Known:
        while len(self._known) >= self._settings.max_keys:
            self._evict()
        found = self._known[key] = Known(
            key, depth, kind if depth >= TYPE else self._all, DOUBT if coarser is None else coarser.spread
        )
        return found

    def _evict(self) -> None:
        """Let the first key go that has earned nothing since it was looked at last; halve what the others earned."""
        known = self._known
        for _ in range(_TRIES):
            key, each = known.popitem(last=False)
            if not each.credit:
                break
            each.credit >>= 1
            known[key] = each
        else:
            key, each = known.popitem(last=False)
        each.dead = True
        each.version += 1
        kind = each.kind
        if each.depth == TYPE and self._kinds.get(kind.name or "") is kind:
            del self._kinds[kind.name or ""]
            kind.epoch += 1
        kind.version += 1
        self.evicted += 1

    @property
    def keys(self) -> int:
        """How many keys it has learned something for."""
        return len(self._known)

    def take_drifts(self) -> list[Drift]:
        """What has drifted since the last call, oldest first; at most 256."""
        return self._drifts.take()

    def state(self) -> Iterator[dict[str, Any]]:
        """A record of what is usual, one per hint, type and key."""
        yield records.cold_record(self._cold)
        yield records.kind_record(self._all)
        yield from self._cold.records()
        for name in list(self._kinds):
            kind = self._kinds.get(name)
            if kind is not None:  # it may go while a snapshot is being written
                yield records.kind_record(kind)
        for key in list(self._known):
            known = self._known.get(key)
            if known is not None:
                yield records.known_record(known)

    def restore(self, record: dict[str, Any]) -> None:
        """Take one record back."""
        if "key" in record:
            self._restore_known(record)
        elif "type" in record:
            name = record["type"]
            if name is not None and not isinstance(name, str):
                raise ValueError(f"not a type: {name!r}")
            kind = self._all if name is None else self._kinds.get(name) or Kind(name)
            records.fill_kind(record, kind)
            if name is not None:
                self._kinds[name] = kind
        elif "hint" in record:
            records.restore_hint(record, self._cold)
        else:
            records.restore_cold(record, self._cold)

    def _restore_known(self, record: dict[str, Any]) -> None:
        key, depth = records.key_from(record)
        name = key[0]
        kind = self._all if name is None else self._kinds.get(name) or Kind(name)
        known = records.known_from(record, kind, key, depth)
        if key not in self._known and len(self._known) >= self._settings.max_keys:
            self._evict()
        if name is not None:
            self._kinds[name] = kind
        self._known[key] = known
        kind.version += 1
        kind.epoch += 1
