"""What the adaptive predictor knows, as records of JSON types, and back.

Of what is usual, of a task type (or, under null, of all types), of a key, and of a hint. Everything in one is checked
before anything is changed: a record is taken back whole, or refused.
"""

from array import array
from math import isfinite
from typing import Any, NoReturn

from scheduler_server.predictor.cold import ColdStart, HintKey
from scheduler_server.predictor.densest import LEAST_LOG, MOST, MOST_LOG, bin_of
from scheduler_server.predictor.facet import Facet
from scheduler_server.predictor.kind import MOST_SPREADS, Kind, Plan
from scheduler_server.predictor.known import ANY_TYPE, DETAILS, RESOURCES, TYPE, WHO, Key, Known
from scheduler_server.predictor.settings import LONGEST_MS

_LEAST_BIN, _MOST_BIN = bin_of(LEAST_LOG), bin_of(MOST_LOG)
_MOST_COUNT = 2**53
_MOST_LOG_ODDS = 100.0


def _refuse(record: object) -> NoReturn:
    raise ValueError(f"not an adaptive record: {str(record)[:200]}")


def _number(value: object, least: float, most: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most


def _count(value: object, least: int = 0) -> bool:
    return type(value) is int and least <= value <= _MOST_COUNT


def known_record(known: Known) -> dict[str, Any]:
    """What is known under one key."""
    return {
        "key": known.key,
        "recent": known.recent.tolist(),
        "outcomes": known.outcomes,
        "centre": known.centre,
        "spread": known.spread,
        "mean_ms": known.mean_ms,
        "credit": known.credit,
    }


def kind_record(kind: Kind) -> dict[str, Any]:
    """What is known of one type beside its keys."""
    plan = kind.plan
    return {
        "type": kind.name,
        "outcomes": kind.outcomes,
        "odds": list(kind.odds),
        "gates": list(kind.gates),
        "quantiles": [kind.low, kind.high, kind.p50_at, kind.p90_at],
        "facets": {name: [facet.first, facet.values, f"{facet.bits:x}"] for name, facet in kind.facets.items()},
        "plan": [plan.who, plan.resources, plan.numbers, plan.words],
    }


def cold_record(cold: ColdStart) -> dict[str, Any]:
    """What is usual for a type without history."""
    return {"usual_log": cold.usual_log, "outcomes": cold.outcomes, "high": cold.high}


def key_from(record: dict[str, Any]) -> tuple[Key, int]:
    """The key of a record, with its depth."""
    parts = record.get("key")
    if not (isinstance(parts, (list, tuple)) and len(parts) == 4):  # noqa: PLR2004 -- a Key
        _refuse(record)
    task_type, who, resources, details = parts
    if not (task_type is None or isinstance(task_type, str)) or (task_type is None and details is not None):
        _refuse(record)
    if who is not None:
        if not (isinstance(who, (list, tuple)) and len(who) == 2 and all(isinstance(each, str) for each in who)):  # noqa: PLR2004 -- tenant, user
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
        if not (isinstance(pair, (list, tuple)) and len(pair) == 2 and isinstance(pair[0], str)):  # noqa: PLR2004 -- a pair
            _refuse(record)
        name, each = pair
        if type(each) not in types or (not isinstance(each, str) and not isfinite(each)):
            _refuse(record)
        pairs.append((name, each if isinstance(each, str) else float(each)))
    return tuple(pairs)


def known_from(record: dict[str, Any], kind: Kind, key: Key, depth: int) -> Known:
    """The key that a record tells of."""
    recent, outcomes = record.get("recent"), record.get("outcomes")
    if not (
        isinstance(recent, list)
        and 0 < len(recent) <= MOST
        and all(type(each) is int for each in recent)
        and min(recent) >= _LEAST_BIN
        and max(recent) <= _MOST_BIN
        and _count(outcomes, len(recent))
        and _count(record.get("credit"))
        and _number(record.get("centre"), LEAST_LOG - 1.0, MOST_LOG + 1.0)
        and _number(record.get("spread"), 0.0, MOST_LOG - LEAST_LOG)
        and _number(record.get("mean_ms"), 0.0, LONGEST_MS)
    ):
        _refuse(record)
    known = Known(key, depth, kind, 0.0)
    known.bring_back(
        array("h", recent),
        record["outcomes"],
        float(record["centre"]),
        float(record["spread"]),
        float(record["mean_ms"]),
    )
    known.credit = record["credit"]
    return known


def fill_kind(record: dict[str, Any], kind: Kind) -> None:
    """Give a type back what a record tells of it."""
    facets = _facets(record)
    plan = _plan(record)
    for name, least, most, length in (
        ("odds", -_MOST_LOG_ODDS, _MOST_LOG_ODDS, DETAILS + 1),
        ("gates", 0.0, 1.0, DETAILS + 1),
        ("quantiles", -2 * MOST_SPREADS, 2 * MOST_SPREADS, 4),
    ):
        values = record.get(name)
        if not (isinstance(values, list) and len(values) == length and all(_number(e, least, most) for e in values)):
            _refuse(record)
    if not _count(record.get("outcomes")):
        _refuse(record)
    kind.outcomes = record["outcomes"]
    kind.odds = [float(each) for each in record["odds"]]
    kind.gates = [float(each) for each in record["gates"]]
    kind.low, kind.high, kind.p50_at, kind.p90_at = (float(each) for each in record["quantiles"])
    kind.facets = facets
    kind.plan = plan
    kind.version += 1
    kind.epoch += 1


def _facets(record: dict[str, Any]) -> dict[str, Facet]:
    told = record.get("facets")
    if not isinstance(told, dict):
        _refuse(record)
    facets = {}
    for name, parts in told.items():
        if not (isinstance(name, str) and isinstance(parts, list) and len(parts) == 3):  # noqa: PLR2004 -- a Facet
            _refuse(record)
        first, values, bits = parts
        if not (_count(first) and _count(values) and isinstance(bits, str) and len(bits) <= 256):  # noqa: PLR2004 -- 1,024 bits
            _refuse(record)
        try:
            facets[name] = Facet(first, values, int(bits, 16))
        except ValueError:
            _refuse(record)
    return facets


def _plan(record: dict[str, Any]) -> Plan:
    told = record.get("plan")
    if not (isinstance(told, (list, tuple)) and len(told) == 4):  # noqa: PLR2004 -- a Plan
        _refuse(record)
    who, resources, numbers, words = told
    if not (
        isinstance(who, bool)
        and isinstance(resources, bool)
        and isinstance(numbers, (list, tuple))
        and all(
            isinstance(each, (list, tuple))
            and len(each) == 2
            and isinstance(each[0], str)
            and isinstance(each[1], bool)
            for each in numbers
        )
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
