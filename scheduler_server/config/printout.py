"""The effective configuration as TOML that loads again, each value with its origin; secrets masked.

A secret that is set stands there as a comment: a mask that loads as a value would sooner or later be the
password. An optional setting without a value is written "", which is also how every source gives it.
"""

from typing import Any

from scheduler_server.config.loader import Loaded
from scheduler_server.config.text import MASK, toml_value


def render_config(loaded: Loaded[Any]) -> str:
    """The effective configuration as TOML: settings outside any section first, then one table per section."""
    lines: list[str] = []
    sections = dict.fromkeys(["", *(option.section for option in loaded.options)])
    section = ""
    for option in sorted(loaded.options, key=lambda option: list(sections).index(option.section)):
        if option.section != section:
            section = option.section
            lines += ["", f"[{section}]"] if lines else [f"[{section}]"]
        value = loaded.value(option.path)
        comment = str(loaded.origins[option.path])
        if option.setting.secret and value not in (None, "", (), {}):
            lines.append(f'# {option.name} = "{MASK}"  # {comment}; secret, masked')
        else:
            lines.append(f"{option.name} = {toml_value(value)}  # {comment}")
    return "\n".join(lines) + "\n"
