"""The default predictor: the densest durations under keys from coarse to fine, weighted by how well they predict.

A task is known under several keys: its type; that and who asks; and the resources requested; and its details, which are
features and attributes. Coarser than all is any type for the same user and resources. Each key remembers its last 48
durations (densest.py). The share of them, recent ones first, that a point is near to is what the key says for it.

What the keys say is mixed from coarse to fine. A key's own word counts n / (n + 0.5) after n outcomes, times the gate
of its depth: the odds, learned per type, that keys so fine predict better than coarser ones. The densest windows of the
keys that count are the candidates; the one with the largest share in the mixture is the prediction. That is
context-tree weighting (Willems, Shtarkov and Tjalkens 1995) with the loss that predictions are judged by.

Durations that trend, or scatter without a peak, are served better by a moving average, a fast or a slow one. Both stand
by, and per type the way that came near most often of late is taken.

Which aspects are worth a key is found out per type (facet.py). P50 and P90 are the point plus so many spreads, moved
online per type and for all types so that they hold as often as they should (Gibbs and Candes 2021).
"""

from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice
from math import exp, log
from typing import Any

from scheduler_server.model.making import make
from scheduler_server.model.prediction import Prediction
from scheduler_server.model.task import Task
from scheduler_server.predictor import adaptive_records as records
from scheduler_server.predictor.cold import ColdStart
from scheduler_server.predictor.densest import BINS, LEAST_LOG, bin_of
from scheduler_server.predictor.drift import Drift, Drifts
from scheduler_server.predictor.key_table import KeyTable
from scheduler_server.predictor.kind import START_P90, Kind
from scheduler_server.predictor.known import ANY_TYPE, DOUBT, LEAST_SPREAD, TYPE, WHO, Key, Known, point_of
from scheduler_server.predictor.learned import Learned
from scheduler_server.predictor.reconfigurable import AT_ONCE
from scheduler_server.predictor.settings import LONGEST_MS, PredictorSettings

_BACK_OFF = 0.5
"""Outcomes that the coarser keys count for against a key's own: one outcome of the very same kind of task says more
than any number of outcomes of its parents, ten leave them one part in twenty."""

_CHANCE = 0.1
"""Added to shares before they are compared: how far a key's claim is believed. A key of one outcome claims that nothing
else is possible; with this, one surprise costs it as much as two and a half successes gain."""

_NEGLIGIBLE = 0.03
"""Weight of the coarser keys below which they are not asked."""

_LEAN = 0.5 * log(1.0 / (1.25 * 0.75))
"""By how much the middle of what a point is within 25 % of lies below it, in ln ms: a mean is the best point when it
leans back by so much."""

_NO_POINTS = (0.0, 0.0, 0.0)

_STALE = 8
"""Outcomes judged by one prediction before it is made anew. Of a thousand tasks predicted at once, each outcome would
otherwise push the quantiles in the same direction."""

_MOST_PATHS = 16_384
"""Ways remembered; the one opened longest ago goes first. One costs a kilobyte, and to find it again, 5 us."""

_MOST_WARMED = 4_096
"""Types predicted before the server serves: a tenth of a second. The others cost their first caller 25 us."""

_GROWN = 16
"""Outcomes after which a type is no longer in a hurry."""

_SELDOM, _OFTEN = 8, 4
"""A grown type teaches the keys of any type, which serve types that are new, one outcome in eight, and weighs its own
depths one outcome in four: what is saved is a third of the time, what is lost is nothing that shows on any trace."""

_USUAL_RATE = 0.02
"""Weight of the newest outcome in what is usual for any task: fifty outcomes."""

_LONGEST_LOG = log(LONGEST_MS) - 1e-12  # what `exp` makes of it is not above a year


class _Path:
    """From a task to the keys that it is known by, and the prediction that they made last.

    `known[i]` is what is known under `keys[i]`, or None while nothing is. `points` are those of all ways to a point.
    `asked` is the coarsest key if it had a say in the prediction, which holds as long as `stamp` is the sum of the
    versions of the type and of that key.
    """

    __slots__ = (
        "asked", "epochs", "judged", "keys", "kind", "known", "noticed", "points", "prediction", "stamp",
    )  # fmt: skip

    def __init__(self, kind: Kind, epochs: int, keys: list[tuple[int, Key]], known: list[Known | None]) -> None:
        self.kind = kind
        self.epochs = epochs
        self.keys = keys
        self.known = known
        self.noticed = False
        self.asked: Known | None = None
        self.stamp = -1
        self.judged = _STALE
        self.points = _NO_POINTS
        self.prediction: Prediction | None = None


class AdaptivePredictor:
    """See above. Memory is bounded by `max_keys`; keys that are rare and were not used for long go first.

    Deterministic: the same calls give the same predictions, and `state` tells all that they depend on.
    """

    name = "adaptive"

    def __init__(self, settings: PredictorSettings) -> None:
        self._settings = settings
        self.evicted = 0
        self.wall = 0.0  # see Dated
        self._begin()

    def _begin(self) -> None:
        self._known = KeyTable(self._settings.max_keys)
        self._kinds: dict[str, Kind] = {}
        self._all = Kind(None, 0.0, START_P90)
        self._paths: OrderedDict[Any, _Path] = OrderedDict()  # a cache: what is not in it is found anew
        self._cold = ColdStart(self._settings, self.name)
        self._drifts = Drifts()

    def reconfigure(self, settings: PredictorSettings) -> None:
        """See Reconfigurable."""
        self._settings = settings
        self._known.limit(settings.max_keys)
        self._cold.reconfigure(settings)

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
        return self._compute(path) or self._cold.estimate(task, self._known.get(self._root(task)))

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
            path.noticed, path.prediction, path.points = before.noticed, before.prediction, before.points
            path.judged = before.judged
        elif len(paths) >= _MOST_PATHS:
            paths.popitem(last=False)
        paths[signature] = path
        return path

    def _mix(self, path: _Path) -> list[tuple[Known, float]]:
        """What is known under the keys of a path with its weight, fine to coarse, until nothing is left to say."""
        known, gates = path.known, path.kind.gates
        left = 1.0
        mixed: list[tuple[Known, float]] = []
        path.asked = None
        for place in range(len(known) - 1, -1, -1):
            each = known[place]
            if each is None or each.dead:
                each = known[place] = self._known.get(path.keys[place][1])
                if each is None:
                    continue
            if place:
                count = each.outcomes
                weight = left * gates[each.depth] * count / (count + _BACK_OFF)
                mixed.append((each, weight))
                left -= weight
                if left < _NEGLIGIBLE:
                    break
            elif mixed:
                path.asked = each
                mixed.append((each, left))
        return mixed

    def _compute(self, path: _Path) -> Prediction | None:
        """Predict from what the keys say; None where only keys of any type say something."""
        mixed = self._mix(path)
        if not mixed:
            return None
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
        if spread < LEAST_SPREAD:  # noqa: PLR1730 -- a call would cost more than all of this
            spread = LEAST_SPREAD
        kind = path.kind
        points = (point_of(chosen.low, chosen.high, chosen.centre), heaviest.fast - _LEAN, heaviest.slow - _LEAN)
        point = points[kind.way]
        p50 = point + kind.p50_at * spread
        p90 = point + kind.p90_at * spread
        if p90 < p50:  # noqa: PLR1730 -- likewise
            p90 = p50
        if not (p50 > LEAST_LOG and LEAST_LOG < point < _LONGEST_LOG and p90 < _LONGEST_LOG):
            point, p50, p90 = (min(_LONGEST_LOG, max(LEAST_LOG, each)) for each in (point, p50, p90))
        count = heaviest.outcomes
        prediction: Prediction = make(
            Prediction,
            (
                exp(point),
                mean_ms / total,
                exp(p50),
                exp(p90),
                best / total * count / (count + 2.0),
                count,
                heaviest.label or heaviest.named(),
                self.name,
                None,
            ),
        )
        path.prediction = prediction
        path.judged = 0
        path.points = points
        asked = path.asked
        if asked is not None:
            path.stamp = kind.version + asked.version
        else:  # where the coarsest key would have a say, but is not there yet, it may come without the type's doing
            path.stamp = kind.version if mixed[-1][0].depth != TYPE or path.known[0] is not None else -1
        return prediction

    def observe(self, task: Task, duration_ms: float) -> None:
        """Teach every key of the task this duration, and what it says of the keys; ValueError if it is none."""
        if not 0.0 < duration_ms <= LONGEST_MS:
            raise ValueError(f"a duration must be above 0 ms and at most a year (got {duration_ms!r})")
        log_ms = log(duration_ms)
        if log_ms < LEAST_LOG:  # noqa: PLR1730 -- likewise
            log_ms = LEAST_LOG
        everybody, cold = self._all, self._cold
        kind = self._kinds.get(task.task_type)
        if kind is None:
            kind = self._meet(task, duration_ms)
        if task.category or task.hints is not None:
            cold.learn(task, log_ms)
        path = self._paths.get((task.task_type, task.tenant, task.user, task.resources, task.features, task.attributes))
        if path is None or not path.noticed or path.kind is not kind or path.epochs != kind.epoch + everybody.epoch:
            path = self._notice(task, kind, path)
        path.judged += 1
        if path.judged > _STALE:
            self._compute(path)
        if path.prediction is not None:
            kind.choose(log_ms, path.points, everybody)
            kind.calibrate(duration_ms, path.prediction, everybody)
        self._teach(path, log_ms, duration_ms)
        kind.version += 1
        kind.outcomes = count = kind.outcomes + 1
        if not count & (count - 1):
            kind.replan()
        cold.outcomes = count = cold.outcomes + 1
        cold.usual_log += (_USUAL_RATE if count > 1 else 1.0) * (log_ms - cold.usual_log)
        everybody.outcomes = count
        if not count & (count - 1):
            everybody.replan()

    def _teach(self, path: _Path, log_ms: float, duration_ms: float) -> None:
        """Teach the keys of a path an outcome, and its type how well they knew it, coarse to fine."""
        kind, known = path.kind, path.known
        newest = bin_of(log_ms)
        window = newest - BINS // 2 + 1  # of the point nearest to it
        before = kind.outcomes
        weighing = before < _GROWN or not before % _OFTEN
        coarse = 0.0
        drifted = coarser = None
        place = -1
        for depth, key in path.keys:
            place += 1
            if depth == ANY_TYPE and before >= _GROWN and before % _SELDOM:
                continue
            each = known[place]
            if each is None or each.dead:
                each = self._known.get(key) or self._create(key, depth, kind, coarser)
                known[place] = each
            coarser = each
            count = each.outcomes
            if count and weighing:
                at = window - each.base
                counts = each.counts
                own = _CHANCE + (counts[at] / each.total if 0 <= at < len(counts) else 0.0)
                if not coarse:
                    coarse = own
                else:
                    trust = count / (count + _BACK_OFF)
                    if depth >= WHO:
                        gate = kind.gates[depth]
                        kind.weigh(depth, trust * log(own / coarse), self._all)
                        trust *= gate
                    coarse += trust * (own - coarse)
            change = each.learn(newest, log_ms, duration_ms)
            if self.wall > each.learned_at:  # noqa: PLR1730 -- likewise
                each.learned_at = self.wall
            if count == 1:
                self._known.seen_again(key)
            elif change is not None:
                each.drifts += 1
                each.drifted_at = self.wall
                if drifted is None and depth >= TYPE:
                    drifted = each, change
        if drifted is not None:
            each, (point, forgotten) = drifted
            self._drifts.report(each.named(), exp(point), exp(point_of(each.low, each.high, each.centre)), forgotten)

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
            kind.notice(task)
            self._all.notice(task)
        if path is None or path.kind is not kind or path.epochs != kind.epoch + self._all.epoch:
            path = self._open(task, kind)
        path.noticed = True
        return path

    def _create(self, key: Key, depth: int, kind: Kind, coarser: Known | None) -> Known:
        self._make_room()
        found = Known(key, depth, kind if depth >= TYPE else self._all, DOUBT if coarser is None else coarser.spread)
        self._known.put(key, found)
        return found

    def _make_room(self) -> None:
        """Let a key go if there are as many as there may be; a few where fewer are wanted than before."""
        for _ in range(AT_ONCE):
            gone = self._known.evict()
            if gone is None:
                return
            self._let_go(gone)

    def _let_go(self, gone: Known) -> None:
        """With the key of a type goes all else about the type."""
        gone.dead = True
        gone.version += 1
        kind = gone.kind
        name = kind.name
        if gone.depth == TYPE and name is not None and self._kinds.get(name) is kind:
            del self._kinds[name]
            kind.epoch += 1
        kind.version += 1
        self.evicted += 1

    def forget(self, task_type: str) -> int:
        """See Forgets."""
        count = len(self._known)
        if not task_type:
            self._begin()
            return count
        for gone in self._known.drop(task_type):
            gone.dead = True
            gone.version += 1
        kind = self._kinds.pop(task_type, None)
        if kind is not None:
            kind.epoch += 1
            kind.version += 1
        return count - len(self._known)

    def forget_key(self, key: str) -> int:
        """See ForgetsKeys. Looks at every key."""
        found = next((known for known in self._known.snapshot() if known.named() == key), None)
        if found is None:
            return 0
        self._known.drop_key(found.key)
        self._let_go(found)
        self.evicted -= 1
        return 1

    def learned(self) -> Iterator[Learned]:
        """See Tells. Of each key what it says alone, whatever others it is mixed with where it is used."""
        for each in self._known.snapshot():
            known = self._known.get(each.key)
            if known is not None:
                dates = known.learned_at, known.drifts, known.drifted_at
                yield Learned(known.key[0], self._said(known), *dates)

    def _said(self, known: Known) -> Prediction:
        kind = known.kind
        points = (point_of(known.low, known.high, known.centre), known.fast - _LEAN, known.slow - _LEAN)
        spread = max(known.spread, LEAST_SPREAD)
        point = points[kind.way]
        p50 = point + kind.p50_at * spread
        p90 = max(p50, point + kind.p90_at * spread)
        ms = (exp(min(_LONGEST_LOG, max(LEAST_LOG, each))) for each in (point, p50, p90))
        point_ms, p50_ms, p90_ms = ms
        window = (known.low + known.high) >> 1
        place, count = window - known.base, known.outcomes
        share = known.counts[place] / known.total if known.total and 0 <= place < len(known.counts) else 0.0
        confidence = share * count / (count + 2.0)
        mean_ms = known.mean_ms
        return Prediction(point_ms, mean_ms, p50_ms, p90_ms, confidence, count, known.named(), self.name, None)

    @property
    def keys(self) -> int:
        """How many keys it has learned something for."""
        return len(self._known)

    def warm(self) -> None:
        """Predict once for each type, the ones learned last first, as far as the cache goes."""
        for name in islice(reversed(self._kinds), _MOST_WARMED):
            self.predict(Task("", "", 1, name))

    def take_drifts(self) -> list[Drift]:
        """What has drifted since the last call, oldest first; at most 256."""
        return self._drifts.take()

    def state(self) -> Iterator[dict[str, Any]]:
        """A record of what is usual, one per hint, type and key."""
        if not self._cold.outcomes:
            return
        yield records.cold_record(self._cold)
        yield records.kind_record(self._all)
        yield from self._cold.records()
        for name in list(self._kinds):
            kind = self._kinds.get(name)
            if kind is not None:  # it may go while a snapshot is being written
                yield records.kind_record(kind)
        yield from map(records.known_record, self._known.snapshot())

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
        if self._known.get(key) is None:
            self._make_room()
        if name is not None:
            self._kinds[name] = kind
        self._known.put(key, known)
        kind.version += 1
        kind.epoch += 1
