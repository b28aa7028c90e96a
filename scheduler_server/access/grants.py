"""The access file: a line for each token, and for each kind of certificate, with what it grants.

    # who                                           what
    token sha256:5f0c...                            identity=queue-1 role=producer expires=2027-06-30T00:00:00Z
    token sha256:91aa...                            identity=gpu-7 role=worker workers=gpu-7,gpu-7-*
    certificate spiffe://example.org/worker/*       role=worker workers={1}
    certificate ops.example.org                     identity=ops role=admin

`role` is one or more of worker, producer, viewer, admin, with commas. `workers` are the ids that it may be as a worker,
with stars (`patterns.py`); in a certificate's line {1} is what its first star stood for. Absent: only the id that is
its identity. `identity` of a certificate is the name that was matched, unless it is said. A token may name a
`certificate`: then it is taken from who holds such a one only.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hmac import compare_digest

from scheduler_server.access import tokens
from scheduler_server.access.patterns import ANY, PatternError, filled, pattern, places
from scheduler_server.access.roles import Role

MAX_LINES = 100_000
_MAX_FAULTS = 20
_LONGEST_IDENTITY = 256
_KEYS = {
    "token": ("identity", "role", "expires", "workers", "certificate"),
    "certificate": ("identity", "role", "expires", "workers"),
}
_NEVER = float("inf")
_PREFIX = 8  # bytes of a hash that it is looked up by; all of it is then compared in constant time


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grant:
    """What one token, or one certificate, may do. `expires_at` in seconds since 1970."""

    identity: str
    roles: tuple[Role, ...]
    workers: tuple[str, ...] = ()
    expires_at: float = _NEVER
    certificate: str = ""
    _patterns: tuple[re.Pattern[str], ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_patterns", tuple(pattern(text) for text in self.workers))

    def may_be(self, worker_id: str) -> bool:
        """May it be that worker?"""
        return any(each.fullmatch(worker_id) for each in self._patterns)

    @property
    def may_be_any(self) -> bool:
        """May it be any worker, also one that the server makes a name for?"""
        return ANY in self.workers

    def fits(self, names: Iterable[str]) -> bool:
        """Is it the holder's of a certificate with these names? True where it is bound to none."""
        if not self.certificate:
            return True
        wanted = pattern(self.certificate)
        return any(wanted.fullmatch(name) for name in names)


class _OfCertificates:
    """A line of certificates: many names, each of which gets a grant of its own."""

    __slots__ = ("expires_at", "identity", "pattern", "roles", "workers")

    def __init__(
        self, name: re.Pattern[str], identity: str, roles: tuple[Role, ...], workers: tuple[str, ...], expires_at: float
    ) -> None:
        self.pattern, self.identity, self.roles, self.workers = name, identity, roles, workers
        self.expires_at = expires_at

    def grant(self, name: str) -> Grant | None:
        found = self.pattern.fullmatch(name)
        if found is None:
            return None
        identity = self.identity or name
        try:
            workers = tuple(filled(text, found.groups()) for text in self.workers) if self.workers else (identity,)
            return Grant(identity=identity, roles=self.roles, workers=workers, expires_at=self.expires_at)
        except PatternError:  # a name so long, or so odd, that it cannot be a worker's
            return None


class Grants:
    """What the access file grants. Never changes: a changed file makes another one."""

    def __init__(self, by_token: dict[bytes, Grant], of_certificates: Sequence[_OfCertificates]) -> None:
        self._by_token = {digest[:_PREFIX]: (digest, grant) for digest, grant in by_token.items()}
        self._of_certificates = of_certificates

    def __len__(self) -> int:
        return len(self._by_token) + len(self._of_certificates)

    def of_token(self, digest: bytes) -> Grant | None:
        """What the token with this hash grants, expired or not; None: it is nobody's."""
        found = self._by_token.get(digest[:_PREFIX])
        return found[1] if found is not None and compare_digest(found[0], digest) else None

    def of_names(self, names: Iterable[str]) -> Grant | None:
        """What a certificate with these names grants: the first name that the first line fits; None: nothing."""
        for name in names:
            for line in self._of_certificates:
                grant = line.grant(name)
                if grant is not None:
                    return grant
        return None


class GrantsError(Exception):
    """An access file that cannot be used: every fault with its line."""


def parse(text: str) -> Grants:
    """Read an access file. Raises GrantsError; nothing of a token or its hash is in the message."""
    faults: list[str] = []
    by_token: dict[bytes, Grant] = {}
    of_certificates: list[_OfCertificates] = []
    lines = text.splitlines()
    if len(lines) > MAX_LINES:
        raise GrantsError(f"has {len(lines):,} lines; the limit is {MAX_LINES:,}")
    for number, line in enumerate(lines, 1):
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        try:
            read = _line(words)
            if isinstance(read, _OfCertificates):
                of_certificates.append(read)
            elif read[0] in by_token:
                raise ValueError("a token with this hash is granted something above")
            else:
                by_token[read[0]] = read[1]
        except ValueError as error:
            faults.append(f"line {number}: {error}")
    if faults:
        more = f"{len(faults)} faults, among them: " if len(faults) > _MAX_FAULTS else ""
        raise GrantsError(more + "; ".join(faults[:_MAX_FAULTS]))
    return Grants(by_token, of_certificates)


def _line(words: list[str]) -> tuple[bytes, Grant] | _OfCertificates:
    kind = words[0]
    if kind not in _KEYS:
        raise ValueError("must begin with token or certificate")
    if len(words) < 2 or "=" in words[1][:12]:  # noqa: PLR2004 -- kind and credential; no key is longer
        raise ValueError(f"{kind} must be followed by {'its hash' if kind == 'token' else 'a name with or without *'}")
    given: dict[str, str] = {}
    for word in words[2:]:
        key, equals, value = word.partition("=")
        if not equals or key not in _KEYS[kind]:
            known = ", ".join(f"{each}=" for each in _KEYS[kind])
            raise ValueError(f"{kind} may have {known} and nothing else")
        if key in given or not value:
            raise ValueError(f"{key}= must be there once, with a value")
        given[key] = value
    roles = _roles(given.get("role", ""))
    expires_at = _instant(given["expires"]) if "expires" in given else _NEVER
    workers = tuple(each for each in given.get("workers", "").split(",") if each)
    identity = given.get("identity", "")
    if len(identity) > _LONGEST_IDENTITY or not identity.isprintable():
        raise ValueError(f"identity= must have at most {_LONGEST_IDENTITY} printable characters")
    return (
        _token(words[1], identity, roles, workers or (identity,), expires_at, given.get("certificate", ""))
        if kind == "token"
        else _certificate(words[1], identity, roles, workers, expires_at)
    )


def _token(
    said: str, identity: str, roles: tuple[Role, ...], workers: tuple[str, ...], expires_at: float, certificate: str
) -> tuple[bytes, Grant]:
    found = tokens.DIGEST.fullmatch(said)
    if found is None:
        raise ValueError("token must be followed by sha256: and 64 digits of lower case hexadecimal")
    if not identity:
        raise ValueError("token needs identity=")
    for name, text in [
        *(("workers", each) for each in workers),
        *([("certificate", certificate)] if certificate else []),
    ]:
        _check_pattern(name, text)
    return bytes.fromhex(found[1]), Grant(
        identity=identity, roles=roles, workers=workers, expires_at=expires_at, certificate=certificate
    )


def _certificate(
    said: str, identity: str, roles: tuple[Role, ...], workers: tuple[str, ...], expires_at: float
) -> _OfCertificates:
    name = _check_pattern("certificate", said)
    for each in workers:
        _check_pattern("workers", each)
        if places(each) > name.groups:
            raise ValueError(f"workers= has {{{places(each)}}}, and the name before it {name.groups} stars")
    return _OfCertificates(name, identity, roles, workers, expires_at)


def _check_pattern(name: str, text: str) -> re.Pattern[str]:
    try:
        return pattern(text)
    except PatternError as error:
        raise ValueError(f"{name}= {error}") from None


def _roles(text: str) -> tuple[Role, ...]:
    known = ", ".join(Role)
    if not text:
        raise ValueError(f"role= is missing; there are {known}")
    try:
        return tuple(dict.fromkeys(Role(each) for each in text.split(",")))
    except ValueError:
        raise ValueError(f"role= must be one or more of {known}, with commas") from None


def _instant(text: str) -> float:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("expires= must be an instant such as 2027-06-30T00:00:00Z") from None
    if found.tzinfo is None:
        if len(text) > len("2027-06-30"):
            raise ValueError("expires= needs its zone: end it with Z") from None
        found = found.replace(tzinfo=UTC)
    return found.timestamp()
