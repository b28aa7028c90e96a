"""What each source says, before anybody asks whether it is sensible: raw values, and names nobody knows."""

import re
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scheduler_server.config.faults import Fault, suggestion
from scheduler_server.config.options import ENVIRONMENT_PREFIX, Option
from scheduler_server.config.origin import Origin, Source
from scheduler_server.config.text import printable
from scheduler_server.config.value_type import from_texts, from_toml

CONFIG_FLAG, CONFIG_VARIABLE = "--config", "SCHEDULER_CONFIG"
_LARGEST_FILE_BYTES = 4 << 20  # a configuration of this size is something else; bounds what /dev/zero costs
# Kubernetes gives every pod variables for each Service near it; one named `scheduler` has our prefix.
_SERVICE_LINK = re.compile(r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """One raw value: `raw` as a fault shows it, `read()` makes the typed value or raises BadValue."""

    origin: Origin
    raw: object
    read: Callable[[], object]


@dataclass(slots=True, kw_only=True)
class Reading:
    """What one source gave: values by path, plain switches, and its own faults."""

    given: dict[str, Given] = field(default_factory=dict)
    switches: set[str] = field(default_factory=set)
    config_file: str | None = None
    faults: list[Fault] = field(default_factory=list)


def read_flags(argv: Sequence[str], options: Sequence[Option], switches: Collection[str]) -> Reading:
    """`--flag value`, `--flag=value`, `--switch`, `--no-switch`; one beginning with `--` needs the `=`."""
    reading = Reading()
    by_flag = {option.flag: option for option in options}
    known = [*by_flag, CONFIG_FLAG, *(f"--{name}" for name in switches)]
    texts: dict[str, list[str]] = {}
    rest = list(reversed(argv))
    while rest:
        word = rest.pop()
        flag, equals, value = word.partition("=")
        option = by_flag.get(flag)
        denied = by_flag.get("--" + flag.removeprefix("--no-")) if flag.startswith("--no-") else None
        if flag == "-h" or (flag.startswith("--") and flag[2:] in switches and not equals):
            reading.switches.add("help" if flag == "-h" else flag[2:])
        elif option is None and flag != CONFIG_FLAG:
            if denied is not None and denied.type.is_switch and not equals:
                texts[denied.flag] = ["false"]
                continue
            reading.faults.append(_unknown_word(word, flag, known))
            # What follows an unknown flag may be its value: one fault for both, not two.
            if flag.startswith("--") and not equals and rest and not rest[-1].startswith("-"):
                rest.pop()
        elif option is not None and option.type.is_switch and not equals:
            texts[flag] = ["true"]
            if rest and rest[-1].lower() in ("true", "false"):
                reading.faults.append(Fault(flag, f"takes its value as {flag}={rest.pop()}"))
        elif equals or (rest and not rest[-1].startswith("--")):
            text = value if equals else rest.pop()
            if flag == CONFIG_FLAG:
                reading.config_file = text
            else:
                texts.setdefault(flag, []).append(text)
        else:
            reading.faults.append(Fault(flag, "needs a value"))
    for flag, given in texts.items():
        reading.given[by_flag[flag].path] = _from_texts(by_flag[flag], given, Origin(Source.FLAG, flag))
    return reading


def read_environment(environ: Mapping[str, str], options: Sequence[Option], ignored: Collection[str] = ()) -> Reading:
    """Every `SCHEDULER_*` variable; `ignored` are names that belong to somebody else (the SDKs, say)."""
    reading = Reading(config_file=environ.get(CONFIG_VARIABLE) or None)
    by_variable = {option.variable: option for option in options}
    for name in sorted(environ):
        if not name.startswith(ENVIRONMENT_PREFIX) or name == CONFIG_VARIABLE or name in ignored:
            continue
        option = by_variable.get(name)
        if option is not None:
            reading.given[option.path] = _from_texts(option, [environ[name]], Origin(Source.ENVIRONMENT, name))
        elif not _is_service_link(name, environ[name]):
            near = suggestion(name, [*by_variable, CONFIG_VARIABLE])
            reading.faults.append(Fault(printable(name), f"unknown environment variable{near}"))
    return reading


def read_conventional(environ: Mapping[str, str], options: Sequence[Option]) -> dict[str, Given]:
    """Settings that a variable of a general convention names (OTEL_EXPORTER_OTLP_ENDPOINT, say)."""
    found: dict[str, Given] = {}
    for option in options:
        name = next((name for name in option.setting.also if environ.get(name)), None)
        if name is not None:
            found[option.path] = _from_texts(option, [environ[name]], Origin(Source.ENVIRONMENT, name))
    return found


def read_file(path: str, options: Sequence[Option]) -> Reading:
    """One TOML file. A file that cannot be read or parsed is one fault."""
    reading = Reading()
    try:
        with Path(path).open("rb") as file:
            data = file.read(_LARGEST_FILE_BYTES + 1)
        if len(data) > _LARGEST_FILE_BYTES:
            raise ValueError(f"is larger than {_LARGEST_FILE_BYTES} bytes")
        tree = tomllib.loads(data.decode())
    except OSError as error:
        reading.faults.append(Fault("config", f"cannot read {printable(path)}: {error.strerror}"))
        return reading
    except UnicodeDecodeError as error:
        reading.faults.append(Fault("config", f"{printable(path)} is not UTF-8 at byte {error.start}"))
        return reading
    except (ValueError, RecursionError) as error:
        reason = printable(str(error)) or type(error).__name__
        reading.faults.append(Fault("config", f"{printable(path)} is not a usable TOML file: {reason}"))
        return reading
    origin = Origin(Source.FILE, path)
    by_path = {option.path: option for option in options}
    for name, raw in _dotted(tree, frozenset(by_path)):
        option = by_path.get(name)
        if option is not None:
            reading.given[name] = from_python(option, raw, origin)
            continue
        sections = {option.section for option in options}
        if name in sections:
            reading.faults.append(Fault(name, "is a section: write it as a table", f"from {origin}"))
        else:
            near = suggestion(name, [*by_path, *(section for section in sections if section)])
            reading.faults.append(Fault(printable(name), f"unknown setting{near}", f"from {origin}"))
    return reading


def from_python(option: Option, raw: object, origin: Origin) -> Given:
    """A value that is more than text: from TOML or from a profile."""
    return Given(origin=origin, raw=raw, read=lambda: from_toml(option.type, raw))


def _from_texts(option: Option, texts: Sequence[str], origin: Origin) -> Given:
    shown = texts[-1] if not (option.type.listed or option.type.mapped) else ",".join(texts)
    return Given(origin=origin, raw=shown, read=lambda: from_texts(option.type, texts))


def _unknown_word(word: str, flag: str, known: Sequence[str]) -> Fault:
    if not word.startswith("-"):
        return Fault(printable(word), "unexpected argument: settings are given as --name value")
    return Fault(printable(flag), f"unknown flag{suggestion(flag, known)}")


def _is_service_link(name: str, value: str) -> bool:
    return bool(_SERVICE_LINK.search(name)) or (name.endswith("_PORT") and "://" in value)


def _dotted(tree: Mapping[str, object], known: frozenset[str], prefix: str = "") -> Iterator[tuple[str, object]]:
    """The leaves of a parsed TOML document by path: tables are walked down to whichever path is `known`."""
    for key, value in tree.items():
        path = prefix + key
        if isinstance(value, dict) and path not in known:
            if any(name.startswith(f"{path}.") for name in known):
                yield from _dotted(value, known, f"{path}.")
            else:
                yield path, value
        else:
            yield path, value
