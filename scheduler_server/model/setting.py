"""How a part declares its settings: a frozen dataclass whose fields say what they mean and what they may be.

The loader (`scheduler_server.config`) reads these declarations to check values, to print them with their origin, and
to write the table of the documentation, so a setting is described in one place only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

_KEY = "setting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is known about one setting.

    `minimum` and `maximum` are inclusive; `above` is exclusive. `choices` closes a set of names. A `secret` is masked
    wherever the configuration is shown. `also` are environment variables of somebody else's convention that are looked
    at where nothing of ours says anything: the first that is not empty counts.
    """

    help: str
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    choices: Sequence[str] = ()
    secret: bool = False
    also: Sequence[str] = ()


def setting(default: Any, help: str, **limits: Any) -> Any:  # noqa: A002 -- reads as argparse does
    """Declare one setting as a dataclass field: its default, what it means, and its limits (see `Setting`)."""
    described = Setting(help=help, **limits)
    if isinstance(default, (dict, list)):
        return field(default_factory=lambda: type(default)(default), metadata={_KEY: described})
    return field(default=default, metadata={_KEY: described})


def setting_of(metadata: Any) -> Setting | None:
    """The declaration in a dataclass field's `metadata`, or None where the field is a nested part."""
    found = metadata.get(_KEY)
    return found if isinstance(found, Setting) else None
