"""What the adaptive predictor knows, as records of JSON types, and back.

Of what is usual, of a task type (or, under null, of all types), of a key, and of a hint. Everything in one is checked
before anything is changed: a record is taken back whole, or refused.
"""

from array import array
from collections.abc import Sequence
from math import isfinite
from typing import Any, NoReturn, TypeGuard

from scheduler_server.predictor.cold import ColdStart, HintKey
from scheduler_server.predictor.dated import instant_of
from scheduler_server.predictor.densest import LEAST_LOG, MOST, MOST_LOG, bin_of
from scheduler_server.predictor.facet import MOST_DIGITS, Facet
from scheduler_server.predictor.kind import DENSEST, FAST, MOST_SPREADS, NO_GATES, SLOW, Kind, Plan, Values
from scheduler_server.predictor.known import ANY_TYPE, DETAILS, RESOURCES, TYPE, WHO, Key, Known
from scheduler_server.predictor.settings import LONGEST_MS

_LEAST_BIN, _MOST_BIN = bin_of(LEAST_LOG), bin_of(MOST_LOG)
_MOST_COUNT = 2**53
_MOST_LOG_ODDS = 100.0
_WAYS = (DENSEST, FAST, SLOW)
_NO_VALUES = [["", ""], [], [], []]
_INT, _NUMBERS = {int}, {int, float}


def _refuse(record: object) -> NoReturn:
    raise ValueError(f"not an adaptive record: {str(record)[:200]}")


def _number(value: object, least: float, most: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most


def _within(values: Sequence[Any], least: float, most: float) -> bool:
    """Are all of them numbers within? Such lists come by the hundred thousand, so they are looked at by C."""
    kinds = set(map(type, values))
    return kinds <= _NUMBERS and min(values) >= least and max(values) <= most and isfinite(sum(values))  # sum: no NaN


def _list(value: object, length: int) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, (list, tuple)) and len(value) == length


def _count(value: object, least: int = 0) -> bool:
    return type(value) is int and least <= value <= _MOST_COUNT


def known_record(known: Known) -> dict[str, Any]:
    """What is known under one key; what there is not to tell is left out."""
    record: dict[str, Any] = {
        "key": known.key,
        "recent": known.recent.tolist(),
        "outcomes": known.outcomes,
        "logs": [known.centre, known.fast, known.slow, known.spread],
        "mean_ms": known.mean_ms,
        "earned": known.version - known.weighed,
    }
    if known.learned_at:
        record["at"] = known.learned_at
    if known.drifts:
        record["drifts"], record["drifted_at"] = known.drifts, known.drifted_at
    return record


def kind_record(kind: Kind) -> dict[str, Any]:
    """What is known of one type beside its keys; what there is not to tell is left out."""
    record: dict[str, Any] = {
        "type": kind.name,
        "outcomes": kind.outcomes,
        "ways": [kind.way, kind.fast, kind.slow],
        "quantiles": [kind.low, kind.high, kind.p50_at, kind.p90_at],
    }
    if kind.odds is not None:
        record |= {"odds": list(kind.odds), "gates": list(kind.gates)}
    if kind.facets is not None:
        plan = kind.plan
        record["facets"] = {name: [facet.first, facet.values, f"{facet.bits:x}"] for name, facet in kind.facets.items()}
        record["plan"] = [plan.who, plan.resources, plan.numbers, plan.words]
    elif kind.first is not None:
        record["first"] = kind.first
    return record


def cold_record(cold: ColdStart) -> dict[str, Any]:
    """What is usual for a type without history."""
    return {"usual_log": cold.usual_log, "outcomes": cold.outcomes, "high": cold.high}


def key_from(record: dict[str, Any]) -> tuple[Key, int]:
    """The key of a record, with its depth."""
    parts = record.get("key")
    if not _list(parts, 4):
        _refuse(record)
    task_type, who, resources, details = parts
    if who is resources is details is None and isinstance(task_type, str):  # most keys are a type's
        return (task_type, None, None, None), TYPE
    if not (task_type is None or isinstance(task_type, str)) or (task_type is None and details is not None):
        _refuse(record)
    if who is not None:
        if not (_list(who, 2) and all(isinstance(each, str) for each in who)):
            _refuse(record)
        who = who[0], who[1]
    resources = _pairs(record, resources, (float, int))
    details = _pairs(record, details, (float, int, str))
    if task_type is None:
        depth = ANY_TYPE
    else:
        depth = (
            DETAILS if details is not None else RESOURCES if resources is not None else WHO if who is not None else TYPE
        )
    return (task_type, who, resources, details), depth


def _pairs(record: object, value: object, types: tuple[type, ...]) -> Any:
    if value is None:
        return None
    if not isinstance(value, (list, tuple)):
        _refuse(record)
    pairs = []
    for pair in value:
        if not (_list(pair, 2) and isinstance(pair[0], str)):
            _refuse(record)
        name, each = pair
        if type(each) not in types or (not isinstance(each, str) and not isfinite(each)):
            _refuse(record)
        pairs.append((name, each if isinstance(each, str) else float(each)))
    return tuple(pairs)


def known_from(record: dict[str, Any], kind: Kind, key: Key, depth: int) -> Known:
    """The key that a record tells of."""
    recent, outcomes, logs = record.get("recent"), record.get("outcomes"), record.get("logs")
    if not (
        isinstance(recent, list)
        and 0 < len(recent) <= MOST
        and set(map(type, recent)) == _INT
        and min(recent) >= _LEAST_BIN
        and max(recent) <= _MOST_BIN
        and _count(outcomes, len(recent))
        and _count(record.get("earned"))
        and _list(logs, 4)
        and _within(logs, LEAST_LOG - 1.0, MOST_LOG + 1.0)
        and logs[-1] >= 0.0
        and _number(record.get("mean_ms"), 0.0, LONGEST_MS)
        and _count(record.get("drifts", 0))
    ):
        _refuse(record)
    known = Known(key, depth, kind, 0.0)
    known.learned_at, known.drifted_at = instant_of(record), instant_of(record, "drifted_at")
    known.drifts = record.get("drifts", 0)
    centre, fast, slow, spread = map(float, logs)
    known.bring_back(array("h", recent), record["outcomes"], (centre, fast, slow, spread))
    known.mean_ms = float(record["mean_ms"])
    known.weighed = known.version - record["earned"]
    return known


def fill_kind(record: dict[str, Any], kind: Kind) -> None:
    """Give a type back what a record tells of it."""
    ways, quantiles = record.get("ways"), record.get("quantiles")
    if not (
        _count(record.get("outcomes"))
        and _list(ways, 3)
        and ways[0] in _WAYS
        and type(ways[0]) is int
        and _within(ways, -_MOST_LOG_ODDS, _MOST_LOG_ODDS)
        and _list(quantiles, 4)
        and _within(quantiles, -2 * MOST_SPREADS, 2 * MOST_SPREADS)
    ):
        _refuse(record)
    odds = gates = facets = None
    plan, first = kind.plan, None
    if "odds" in record or "gates" in record:
        odds = _numbers(record, "odds", -_MOST_LOG_ODDS, _MOST_LOG_ODDS)
        gates = _numbers(record, "gates", 0.0, 1.0)
    if "facets" in record or "plan" in record:
        facets, plan = _facets(record), _plan(record)
    elif "first" in record:
        first = _values(record)
    kind.outcomes = record["outcomes"]
    kind.way, kind.fast, kind.slow = ways[0], float(ways[1]), float(ways[2])
    kind.low, kind.high, kind.p50_at, kind.p90_at = map(float, quantiles)
    kind.odds, kind.gates = odds, gates or NO_GATES
    kind.facets, kind.plan, kind.first = facets, plan, first
    kind.version += 1
    kind.epoch += 1


def _numbers(record: dict[str, Any], name: str, least: float, most: float) -> list[float]:
    values = record.get(name)
    if not (_list(values, DETAILS + 1) and _within(values, least, most)):
        _refuse(record)
    return [float(each) for each in values]


def _values(record: dict[str, Any]) -> Values:
    told = record["first"]
    if told == _NO_VALUES:
        return ("", ""), (), (), ()
    if not (_list(told, 4) and _list(told[0], 2) and all(isinstance(each, str) for each in told[0])):
        _refuse(record)
    resources, features, attributes = (
        _pairs(record, told[1], (float, int)), _pairs(record, told[2], (float, int)), _pairs(record, told[3], (str,))
    )  # fmt: skip
    if resources is None or features is None or attributes is None:
        _refuse(record)
    return (told[0][0], told[0][1]), resources, features, attributes


def _facets(record: dict[str, Any]) -> dict[str, Facet]:
    told = record.get("facets")
    if not (isinstance(told, dict) and "who" in told and "resources" in told):
        _refuse(record)
    facets = {}
    for name, parts in told.items():
        if not (isinstance(name, str) and _list(parts, 3)):
            _refuse(record)
        first, values, bits = parts
        if not (_count(first) and _count(values) and isinstance(bits, str) and len(bits) <= MOST_DIGITS):
            _refuse(record)
        try:
            facets[name] = Facet(first, values, int(bits, 16))
        except ValueError:
            _refuse(record)
    return facets


def _plan(record: dict[str, Any]) -> Plan:
    told = record.get("plan")
    if not _list(told, 4):
        _refuse(record)
    who, resources, numbers, words = told
    if not (
        isinstance(who, bool)
        and isinstance(resources, bool)
        and isinstance(numbers, (list, tuple))
        and all(isinstance(each, (list, tuple)) and [type(part) for part in each] == [str, bool] for each in numbers)
        and isinstance(words, (list, tuple))
        and all(isinstance(each, str) for each in words)
    ):
        _refuse(record)
    return Plan(who, resources, tuple((each[0], each[1]) for each in numbers), tuple(words))


def restore_hint(record: dict[str, Any], cold: ColdStart) -> None:
    """Give a correction back."""
    key, count, mean = record.get("hint"), record.get("count"), record.get("log")
    if not (
        isinstance(key, list)
        and [type(each) for each in key] == [str, str, int, int]
        and _count(count, 1)
        and _number(mean, LEAST_LOG - MOST_LOG, MOST_LOG - LEAST_LOG)
    ):
        _refuse(record)
    hint: HintKey = key[0], key[1], key[2], key[3]
    cold.restore(hint, record["count"], float(record["log"]))


def restore_cold(record: dict[str, Any], cold: ColdStart) -> None:
    """Give back what is usual."""
    if not (
        _number(record.get("usual_log"), LEAST_LOG, MOST_LOG)
        and _count(record.get("outcomes"))
        and _number(record.get("high"), 0.0, MOST_LOG)
    ):
        _refuse(record)
    cold.usual_log, cold.outcomes, cold.high = float(record["usual_log"]), record["outcomes"], float(record["high"])
