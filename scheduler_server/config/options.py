"""A schema, flattened: every setting with its path, its type, its default and its names in each source."""

import dataclasses
import typing
from dataclasses import dataclass
from typing import Any

from scheduler_server.config.value_type import ValueType, value_type
from scheduler_server.model.setting import Setting, setting_of

ENVIRONMENT_PREFIX = "SCHEDULER_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One setting: `section` is "" at top level, otherwise dotted; `default` is the schema's own."""

    section: str
    name: str
    type: ValueType
    setting: Setting
    default: object

    @property
    def path(self) -> str:
        """`health.unhealthy_after_s`."""
        return f"{self.section}.{self.name}" if self.section else self.name

    @property
    def flag(self) -> str:
        """`--health-unhealthy-after-s`."""
        return "--" + self.path.replace(".", "-").replace("_", "-")

    @property
    def variable(self) -> str:
        """`SCHEDULER_HEALTH_UNHEALTHY_AFTER_S`."""
        return ENVIRONMENT_PREFIX + self.path.replace(".", "_").upper()


def options_of(schema: type[Any]) -> tuple[Option, ...]:
    """Every setting of `schema` in the order of declaration.

    A schema that cannot be filled is a defect of the program, not of a configuration: TypeError for a field
    that is neither a setting nor a section, ValueError where two settings would have one name.
    """
    found = tuple(_walk(schema, schema(), ""))
    for names in ([option.flag for option in found], [option.variable for option in found]):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two settings of {schema.__name__} are called {', '.join(twice)}")
    return found


def sections_of(schema: type[Any], section: str = "") -> dict[str, type[Any]]:
    """Every dataclass of `schema` by its dotted section, itself as "" first, outer before inner."""
    found = {section: schema}
    hints = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        if dataclasses.is_dataclass(hints[field.name]):
            found |= sections_of(hints[field.name], f"{section}.{field.name}" if section else field.name)
    return found


def _walk(schema: type[Any], defaults: Any, section: str) -> typing.Iterator[Option]:
    hints = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        inside, declared = hints[field.name], setting_of(field.metadata)
        default = getattr(defaults, field.name)
        path = f"{section}.{field.name}" if section else field.name
        if declared is not None:
            kind = value_type(inside)
            yield Option(section=section, name=field.name, type=kind, setting=declared, default=default)
        elif dataclasses.is_dataclass(inside) and isinstance(inside, type):
            yield from _walk(inside, default, path)
        else:
            raise TypeError(f"{schema.__name__}.{field.name} is neither a setting(...) nor a dataclass of settings")
