"""From four sources and a profile to one frozen, checked configuration; or to every fault at once."""

import dataclasses
import typing
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from scheduler_server.config.faults import BadValue, ConfigError, Fault, suggestion
from scheduler_server.config.limits import limit_faults
from scheduler_server.config.options import Option, options_of
from scheduler_server.config.origin import DEFAULT, UPDATE, Origin, Source
from scheduler_server.config.sources import (
    CONFIG_FLAG,
    CONFIG_VARIABLE,
    Given,
    from_python,
    read_conventional,
    read_environment,
    read_file,
    read_flags,
)
from scheduler_server.config.text import printable, shown

if typing.TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")

BUILT_IN_SWITCHES = {
    "help": "print this text and exit",
    "print-config": "print the effective configuration with the origin of each value, and exit",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded(Generic[T]):
    """A configuration without faults, and where each value came from (`origins`, by path).

    With `wants_help` nothing was checked, and `config` is the schema's default.
    """

    config: T
    origins: Mapping[str, Origin]
    options: tuple[Option, ...]
    switches: frozenset[str]
    file: Path | None
    layers: "Layers[T]"

    @property
    def wants_help(self) -> bool:
        """`--help` or `-h` was given."""
        return "help" in self.switches

    @property
    def wants_print_config(self) -> bool:
        """`--print-config` was given."""
        return "print-config" in self.switches

    def value(self, path: str) -> object:
        """The value at a dotted path."""
        return _at(self.config, path)

    def overlaid(self, changes: Mapping[str, object]) -> "Loaded[T]":
        """The same with these values over everything else, as `from_toml` reads them; ConfigError as `load`."""
        over = {path: from_python(option, changes[path], UPDATE) for path, option in self._options(changes)}
        return self.layers.filled(over, self.options, self.switches, self.file)

    def read(self, path: str, raw: object) -> object:
        """What `overlaid` makes of a value; BadValue where its type refuses it."""
        return next(from_python(option, raw, UPDATE).read() for _, option in self._options([path]))

    def _options(self, paths: Collection[str]) -> list[tuple[str, Option]]:
        by_path = {option.path: option for option in self.options}
        unknown = sorted(set(paths) - by_path.keys())
        if unknown:
            near = [suggestion(path, list(by_path)) for path in unknown]
            raise ConfigError(
                Fault(printable(path), f"unknown setting{hint}") for path, hint in zip(unknown, near, strict=True)
            )
        return [(path, by_path[path]) for path in paths]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers(Generic[T]):
    """What the sources said, before profile and defaults are put below it."""

    schema: type[T]
    given: Mapping[str, Given]
    profiles: Mapping[str, Mapping[str, object]]
    profile_setting: str

    def filled(
        self,
        over: Mapping[str, Given],
        options: tuple[Option, ...],
        switches: frozenset[str],
        file: Path | None,
        faults: Iterable[Fault] = (),
    ) -> Loaded[T]:
        """The configuration with `over` on top. ConfigError with `faults` and all that is found."""
        given = {**self.given, **over}
        profile, profile_faults = _profile(options, given, self.profiles, self.profile_setting)
        given = profile | given
        values, value_faults = _values(options, given)
        origins = {option.path: given[option.path].origin if option.path in given else DEFAULT for option in options}
        config, section_faults = _build(self.schema, values, options, origins, "")
        found = [*faults, *profile_faults, *value_faults, *section_faults]
        if found or config is None:
            raise ConfigError(dict.fromkeys(found))
        return Loaded(config=config, origins=origins, options=options, switches=switches, file=file, layers=self)


def given_by(config: T, by: Origin, profiles: Mapping[str, Mapping[str, object]] | None = None) -> Loaded[T]:
    """A configuration that a program made, as if it had been loaded: what is no default came `by` it."""
    schema = type(config)
    options = options_of(schema)
    given: dict[str, Given] = {}
    for option in options:
        value = _at(config, option.path)
        if value != option.default:
            given[option.path] = from_python(option, value, by)
    layers = Layers(schema=schema, given=given, profiles=profiles or {}, profile_setting="profile")
    origins = {option.path: given[option.path].origin if option.path in given else DEFAULT for option in options}
    return Loaded(config=config, origins=origins, options=options, switches=frozenset(), file=None, layers=layers)


def load(
    schema: type[T],
    argv: Sequence[str],
    environ: Mapping[str, str],
    *,
    profiles: Mapping[str, Mapping[str, object]] | None = None,
    profile_setting: str = "profile",
    switches: Mapping[str, str] | None = None,
    ignored_variables: Collection[str] = (),
) -> Loaded[T]:
    """Fill `schema` by flags > environment > file > variables of general conventions > profile > defaults.

    Args:
        schema: frozen dataclass of `setting(...)` fields and further such dataclasses, each with a default.
        argv: what follows the program's name (and the subcommand, if there is one).
        environ: usually `os.environ`; only `SCHEDULER_*` is looked at, and what a setting names as `also`.
        profiles: name -> {path: value}; the setting at `profile_setting` names the one that applies. "" or
            "default" without an entry here means none.
        profile_setting: path of that setting.
        switches: further flags without a value: name -> help; see `Loaded.switches`.
        ignored_variables: `SCHEDULER_*` names that are somebody else's.

    Raises:
        ConfigError: with every fault of every source.
        ValueError, TypeError: the schema or a profile is itself defective.
    """
    options = options_of(schema)
    flags = read_flags(argv, options, [*BUILT_IN_SWITCHES, *(switches or {})])
    named = Layers(schema=schema, given={}, profiles=profiles or {}, profile_setting=profile_setting)
    if "help" in flags.switches:
        return Loaded(
            config=schema(),
            origins={option.path: DEFAULT for option in options},
            options=options,
            switches=frozenset(flags.switches),
            file=None,
            layers=named,
        )
    environment = read_environment(environ, options, ignored_variables)
    faults = flags.faults + environment.faults
    path = flags.config_file if flags.config_file is not None else environment.config_file
    given = read_conventional(environ, options)
    if path == "":
        faults.append(Fault(CONFIG_FLAG, "needs a path"))
    elif path is not None:
        file = read_file(path, options)
        faults += _naming_config_source(file.faults, flags.config_file is not None)
        given |= file.given
    given |= environment.given | flags.given
    layers = dataclasses.replace(named, given=given)
    return layers.filled({}, options, frozenset(flags.switches), Path(path) if path else None, faults)


def _at(config: object, path: str) -> object:
    for name in path.split("."):
        config = getattr(config, name)
    return config


def _naming_config_source(faults: list[Fault], by_flag: bool) -> list[Fault]:
    """A file that cannot be used was asked for by a flag or a variable: say by which."""
    asked = f"from flag {CONFIG_FLAG}" if by_flag else f"from environment {CONFIG_VARIABLE}"
    return [dataclasses.replace(fault, evidence=fault.evidence or asked) for fault in faults]


def _profile(
    options: Sequence[Option],
    given: Mapping[str, Given],
    profiles: Mapping[str, Mapping[str, object]],
    setting: str,
) -> tuple[dict[str, Given], list[Fault]]:
    by_path = {option.path: option for option in options}
    for name, values in profiles.items():
        unknown = sorted(set(values) - (by_path.keys() - {setting}))
        if unknown:
            raise ValueError(f"profile {name} sets what no setting is called: {', '.join(unknown)}")
    if not profiles:
        return {}, []
    if setting not in by_path:
        raise ValueError(f"there are profiles, but no setting {setting} to choose one")
    try:
        chosen = given[setting].read() if setting in given else by_path[setting].default
    except BadValue:
        return {}, []  # reported as a value
    name = str(getattr(chosen, "value", chosen) or "")
    if name in profiles:
        origin = Origin(Source.PROFILE, name)
        return {path: from_python(by_path[path], raw, origin) for path, raw in profiles[name].items()}, []
    if name in ("", "default") or by_path[setting].setting.choices:
        return (
            {},
            [],
        )  # none wanted; or the choices of the declaration refuse it, or allow it without an effect
    known = ", ".join(profiles)
    origin = given[setting].origin if setting in given else DEFAULT
    message = f"must be one of {known}{suggestion(name, list(profiles))}"
    return {}, [Fault(setting, message, f"got {printable(name)}, from {origin}")]


def _values(options: Sequence[Option], given: Mapping[str, Given]) -> tuple[dict[str, object], list[Fault]]:
    """Typed values within their limits by path; a path with a fault is missing."""
    values: dict[str, object] = {}
    faults: list[Fault] = []
    for option in options:
        source = given.get(option.path)
        origin = source.origin if source else DEFAULT
        try:
            value = source.read() if source else option.default
        except BadValue as bad:
            messages = [str(bad)]
        else:
            messages = list(limit_faults(option.setting, value))
            if not messages:
                values[option.path] = value
        secret = option.setting.secret
        evidence = f"got {shown(source.raw if source else option.default, secret=secret)}, from {origin}"
        # A message may repeat the value itself (a map's key, a near match); of a secret it says nothing.
        faults += [Fault(option.path, "is not valid" if secret else printable(text), evidence) for text in messages]
    return values, faults


def _build(
    schema: type[T],
    values: Mapping[str, object],
    options: Sequence[Option],
    origins: Mapping[str, Origin],
    section: str,
) -> tuple[T | None, list[Fault]]:
    """The dataclass of one section, inner ones first; None where a value is missing or a check fails."""
    hints = typing.get_type_hints(schema)
    arguments: dict[str, Any] = {}
    faults: list[Fault] = []
    for field in dataclasses.fields(schema):
        path = f"{section}.{field.name}" if section else field.name
        if dataclasses.is_dataclass(hints[field.name]):
            inner, inner_faults = _build(hints[field.name], values, options, origins, path)
            faults += inner_faults
            if inner is not None:
                arguments[field.name] = inner
        elif path in values:
            arguments[field.name] = values[path]
    if len(arguments) < len(dataclasses.fields(schema)):
        return None, faults
    try:
        built = schema(**arguments)
    except ValueError as error:
        return None, [*faults, Fault(section or "configuration", printable(str(error)))]
    check = getattr(built, "faults", None)
    secrets = {option.path: option.setting.secret for option in options}
    for name, message in check() if callable(check) else ():
        path = f"{section}.{name}" if section and name else section or name
        evidence = ""
        if path in secrets:
            evidence = f"got {shown(values[path], secret=secrets[path])}, from {origins[path]}"
        faults.append(Fault(path or "configuration", printable(message), evidence))
    return (None if faults else built), faults
