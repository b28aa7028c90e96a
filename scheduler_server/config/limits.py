"""Does a value of the right type lie within what its declaration allows?"""

from collections.abc import Iterable, Mapping
from enum import Enum

from scheduler_server.config.faults import suggestion
from scheduler_server.config.text import toml_value
from scheduler_server.model.setting import Setting


def limit_faults(limits: Setting, value: object) -> Iterable[str]:
    """One message per limit broken: by the value, each item of a list, each value of a map (with its key)."""
    match value:
        case None:
            return
        case dict() | Mapping():
            for key, item in value.items():
                yield from (f"{message}, at key {key}" for message in limit_faults(limits, item))
        case tuple() | list():
            seen = [message for item in value for message in limit_faults(limits, item)]
            yield from dict.fromkeys(seen)
        case bool() | Enum():
            return
        case int() | float():
            yield from _number_faults(limits, value)
        case str():
            if limits.choices and value not in limits.choices:
                known = list(limits.choices)
                yield f"must be one of {_choices(limits)}{suggestion(value, known)}"
        case _:
            return


def describe_limits(limits: Setting) -> str:
    """The limits in words, for `--help` and the documentation: `at least 1, at most 60`; "" without any."""
    words = []
    if limits.choices:
        words.append(f"one of {_choices(limits)}")
    if limits.above is not None:
        words.append(f"above {toml_value(limits.above)}")
    if limits.minimum is not None:
        words.append(f"at least {toml_value(limits.minimum)}")
    if limits.maximum is not None:
        words.append(f"at most {toml_value(limits.maximum)}")
    return ", ".join(words)


def _choices(limits: Setting) -> str:
    return ", ".join(each or '""' for each in limits.choices)


def _number_faults(limits: Setting, value: float) -> Iterable[str]:
    if limits.above is not None and not value > limits.above:
        yield f"must be above {toml_value(limits.above)}"
    if limits.minimum is not None and not value >= limits.minimum:
        yield f"must be at least {toml_value(limits.minimum)}"
    if limits.maximum is not None and not value <= limits.maximum:
        yield f"must be at most {toml_value(limits.maximum)}"
