"""Which server, and how to reach it: contexts by name, in a file under XDG_CONFIG_HOME that only its owner may read.

The file is TOML, written whole and renamed into place. It names files with secrets and holds none itself, so that it
may be shown to others:

    current = "production"

    [contexts.production]
    server = "scheduler.example:50051"
    ca_file = "/etc/ssl/scheduler.pem"
    token_file = "/run/secrets/scheduler-token"
"""

import json
import os
import re
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from scheduler_server.schedctl.fault import Asked, Failed

DEFAULT_SERVER = "127.0.0.1:50051"
DEFAULT_TIMEOUT_S = 5.0

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ADDRESS = re.compile(r"[!-~]{1,512}")
_LONGEST_FILE = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """How to reach one server. "" is what is not set; `timeout_s` 0 is the default.

    TLS is used when `tls` or any of its files is set; `cert_file` and `key_file` go together. The token in `token_file`
    is read anew for each call and sent as a bearer token.
    """

    server: str = DEFAULT_SERVER
    tls: bool = False
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    tls_name: str = ""
    token_file: str = ""
    timeout_s: float = 0.0

    @property
    def secure(self) -> bool:
        """Whether it is TLS."""
        return self.tls or any((self.ca_file, self.cert_file, self.key_file, self.tls_name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Contexts:
    """What the file says."""

    current: str = ""
    known: Mapping[str, Context] = field(default_factory=dict)

    def named(self, name: str) -> Context:
        """The context of this name. Raises Asked, with names that are near."""
        if name in self.known:
            return self.known[name]
        near = get_close_matches(name, self.known, n=3, cutoff=0.5)
        if near:
            hint = f"did you mean {' or '.join(near)}?"
        else:
            hint = (
                f"known are {', '.join(sorted(self.known))}" if self.known else "there are none: schedctl context set"
            )
        raise Asked(f"no context {name!r}; {hint}")


def path(environment: Mapping[str, str]) -> Path:
    """Where the file is: SCHEDCTL_CONFIG, or schedctl/config.toml under XDG_CONFIG_HOME (~/.config)."""
    if said := environment.get("SCHEDCTL_CONFIG"):
        return Path(said)
    base = environment.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(base):  # noqa: PTH117 -- the specification: relative ones are ignored
        base = str(Path(environment.get("HOME") or "~").expanduser() / ".config")
    return Path(base) / "schedctl" / "config.toml"


def read(file: Path) -> Contexts:
    """What the file says; nothing where there is none. Raises Asked for one that cannot be understood."""
    try:
        with file.open("rb") as stream:
            data = stream.read(_LONGEST_FILE + 1)
    except FileNotFoundError:
        return Contexts()
    except OSError as error:
        raise Failed(f"{file}: cannot be read: {error.strerror}") from None
    if len(data) > _LONGEST_FILE:
        raise Asked(f"{file}: is longer than {_LONGEST_FILE:,} bytes")
    try:
        told = tomllib.loads(data.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise Asked(f"{file}: is not TOML: {error}") from None
    unknown = set(told) - {"current", "contexts"}
    if unknown:
        raise Asked(f"{file}: unknown key {min(unknown)!r}; there are current and contexts")
    current, tables = told.get("current", ""), told.get("contexts", {})
    if not isinstance(current, str) or not isinstance(tables, dict):
        raise Asked(f"{file}: current must be a text and contexts a table")
    return Contexts(current=current, known={name: _context(file, name, table) for name, table in tables.items()})


def _context(file: Path, name: str, table: Any) -> Context:
    where = f"{file}: contexts.{name}"
    if not isinstance(table, dict):
        raise Asked(f"{where}: must be a table")
    known = {each.name: each.default for each in fields(Context)}
    for key, value in table.items():
        if key not in known:
            near = get_close_matches(key, known, n=1)
            raise Asked(f"{where}: unknown key {key!r}" + (f"; did you mean {near[0]}?" if near else ""))
        wanted = type(known[key])
        number = isinstance(value, int) and not isinstance(value, bool) and wanted is float
        if not (type(value) is wanted or number):
            raise Asked(f"{where}.{key}: must be {_KINDS[wanted]}, not {value!r}")
    made = Context(**table)
    check(made, where)
    return made


_KINDS = {str: "a text", bool: "true or false", float: "a number"}


def check(context: Context, where: str) -> None:
    """Raise Asked for what can never work."""
    if not _ADDRESS.fullmatch(context.server):
        raise Asked(f"{where}: server must be host:port, not {context.server!r}")
    if bool(context.cert_file) != bool(context.key_file):
        raise Asked(f"{where}: cert_file and key_file go together")
    if not 0 <= context.timeout_s <= 3_600:  # noqa: PLR2004 -- an hour; NaN fails too
        raise Asked(f"{where}: timeout must be 0 to 3,600 seconds, not {context.timeout_s:g}")


def check_name(name: str) -> str:
    """A name that needs no quotes anywhere. Raises Asked."""
    if not _NAME.fullmatch(name):
        raise Asked(f"{name!r} cannot name a context: letters, digits, '.', '_' and '-', at most 64")
    return name


def write(file: Path, contexts: Contexts) -> None:
    """Write it whole, for its owner only. Raises Failed."""
    lines = [f"current = {_toml(contexts.current)}"] if contexts.current else []
    for name, context in sorted(contexts.known.items()):
        lines += ["", f"[contexts.{_toml(name)}]"]
        for each in fields(Context):
            value = getattr(context, each.name)
            if each.name == "server" or value != each.default:
                lines.append(f"{each.name} = {_toml(value)}")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=".config-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write("\n".join(lines).lstrip("\n") + "\n")
                stream.flush()
                os.fsync(stream.fileno())
            Path(temporary).replace(file)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise Failed(f"{file}: cannot be written: {error.strerror}") from None


def _toml(value: str | float) -> str:
    # ASCII, with the one control that JSON leaves as it is; what is beyond 16 bits JSON writes as two, TOML as one.
    text = json.dumps(value, ensure_ascii=False)
    return "".join(each if each.isascii() and each != "\x7f" else f"\\U{ord(each):08x}" for each in text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The server that a command talks to, and who said so."""

    context: Context
    said_by: str

    @property
    def server(self) -> str:
        """Its address."""
        return self.context.server

    @property
    def timeout_s(self) -> float:
        """How long a call may take."""
        return self.context.timeout_s or DEFAULT_TIMEOUT_S


def chosen(options: Mapping[str, Any], environment: Mapping[str, str]) -> Place:
    """The server that is meant: options, then the environment, then the current context, then the default.

    A server that is named itself has nothing of any context: a token must not go to where it was not meant for.
    """
    file = path(environment)
    by_option = "server" in options or "context" in options
    if by_option:  # an option beats the environment, whichever of the two ways to choose each of them uses
        server, name, said_by = options.get("server", ""), options.get("context", ""), "--server"
    else:
        server, name = environment.get("SCHEDCTL_SERVER", ""), environment.get("SCHEDCTL_CONTEXT", "")
        said_by = "SCHEDCTL_SERVER"
    contexts = Contexts() if server and not name else read(file)
    name = name or contexts.current
    if name:
        context, said_by = contexts.named(name), f"context {name}"
    else:
        context = Context()
        said_by = said_by if server else "the default; --server or schedctl context set names another"
    given = {each.name: options[each.name] for each in fields(Context) if each.name in options}
    context = replace(context, **(given | ({"server": server} if server else {})))
    check(context, said_by)
    return Place(context=context, said_by=said_by)
