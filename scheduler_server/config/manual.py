"""The declarations as text for people: `--help`, and the table of the README."""

import inspect
import shutil
import textwrap
from collections.abc import Mapping
from typing import Any

from scheduler_server.config.limits import describe_limits
from scheduler_server.config.loader import BUILT_IN_SWITCHES
from scheduler_server.config.options import Option, options_of, sections_of
from scheduler_server.config.sources import CONFIG_FLAG, CONFIG_VARIABLE
from scheduler_server.config.text import MASK, toml_value

_INDENT, _NARROWEST, _WIDEST = 6, 60, 110  # characters


def render_help(
    schema: type[Any],
    *,
    program: str,
    switches: Mapping[str, str] | None = None,
    width: int | None = None,
) -> str:
    """What `--help` prints: every flag by section with type, meaning, default, unit and limits.

    `width` in characters; by default the terminal's, within 60 to 110.
    """
    columns = min(max(width or shutil.get_terminal_size().columns, _NARROWEST), _WIDEST)
    about = (
        "Settings come from flags, then environment, then file, then defaults. health.after_s is "
        "--health-after-s, SCHEDULER_HEALTH_AFTER_S, and after_s under [health]. Lists are a,b; maps are "
        'key=a,other=b and may be given more than once; "" gives an optional setting no value; --no-NAME '
        "turns a switch off."
    )
    lines = [
        f"usage: {program} [--NAME VALUE]...",
        "",
        *textwrap.wrap(about, columns, break_on_hyphens=False),
        "",
    ]
    lines += _entry(f"{CONFIG_FLAG} PATH", f"TOML file with settings (or environment {CONFIG_VARIABLE})", columns)
    for name, text in {**BUILT_IN_SWITCHES, **(switches or {})}.items():
        lines += _entry(f"--{name}", text, columns)
    for section, options in _by_section(schema).items():
        if section:
            lines += ["", *textwrap.wrap(f"{section}: {_summary(sections_of(schema)[section])}", columns)]
        for option in options:
            value = "" if option.type.is_switch else f" {option.type.placeholder}"
            lines += _entry(f"{option.flag}{value}", f"{_ended(option.setting.help)} {_facts(option)}.", columns)
    return "\n".join(lines) + "\n"


def render_markdown_table(schema: type[Any]) -> str:
    """Every setting as a Markdown table: setting, default with unit, limits, meaning. Ends with a newline."""
    lines = ["| setting | default | allowed | meaning |", "|---|---|---|---|"]
    for options in _by_section(schema).values():
        for option in options:
            allowed = ", ".join(part for part in (option.type.description, describe_limits(option.setting)) if part)
            cells = (f"`{option.path}`", _default(option, code=True), allowed, option.setting.help)
            lines.append("| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _by_section(schema: type[Any]) -> dict[str, list[Option]]:
    grouped: dict[str, list[Option]] = {"": []}
    for option in options_of(schema):
        grouped.setdefault(option.section, []).append(option)
    return {section: options for section, options in grouped.items() if options}


def _entry(head: str, text: str, columns: int) -> list[str]:
    indent = " " * _INDENT
    return [
        f"  {head}",
        *textwrap.wrap(text, columns, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False),
    ]


def _facts(option: Option) -> str:
    limits = describe_limits(option.setting)
    return f"Default {_default(option, code=False)}" + (f"; {limits}" if limits else "")


def _default(option: Option, *, code: bool) -> str:
    if option.default in (None, "", (), {}):
        return "none"
    text = MASK if option.setting.secret else toml_value(option.default)
    quoted = f"`{text}`" if code else text
    return f"{quoted} {option.setting.unit}".strip()


def _ended(text: str) -> str:
    text = " ".join(text.split())
    return text if text.endswith((".", "?", "!")) else f"{text}."


def _summary(section: type[Any]) -> str:
    # A dataclass without a docstring gets its signature as one: that says nothing here.
    document = inspect.getdoc(section) or ""
    return "" if document.startswith(f"{section.__name__}(") else document.split("\n\n")[0].replace("\n", " ")
