"""Who calls? From a call's metadata and its connection's certificate to a Caller.

A connection's certificate is looked at again for each call. Remembering it by the peer's address would be faster, and
wrong: the next connection from that port may be somebody else's.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from scheduler_server.access.accounts import Accounts
from scheduler_server.access.caller import ANONYMOUS, CALLER, NEVER, NOBODY, Caller, Credential
from scheduler_server.access.der import CertificateUnreadable, validity
from scheduler_server.access.grants import Grant, Grants
from scheduler_server.access.roles import allowed, wanted
from scheduler_server.access.rotation import Rotation
from scheduler_server.access.tokens import LONGEST, digest
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.rpc.errors import Refused

MAX_REMEMBERED = 10_000
"""Callers, and certificates, remembered. When full all are forgotten: what one of them has open keeps its account."""

_HEADER, _BEARER = "authorization", "bearer "


class Peer(NamedTuple):
    """Who calls, for the record: the proven identity, the role that allows it or is not enough, the address."""

    identity: str
    role: str
    address: str


def peer_of(context: Any, method: str) -> Peer:
    """Who makes the call that the running task answers; `method` as "package.Service/Method"."""
    caller = CALLER.get()
    role = allowed(caller.roles, method)
    return Peer(caller.identity, role or ",".join(caller.roles), context.peer())


class _Names(NamedTuple):
    """A certificate's: URIs, then DNS names; and when it ends."""

    names: tuple[str, ...]
    ends: float


_NO_NAMES = _Names((), NEVER)


class Callers:
    """Knows callers by their credentials. `grants` None: there is no access control; `accounts` None: no limits.

    `certificates`: TLS asks clients for theirs.
    """

    def __init__(
        self,
        *,
        grants: Rotation[Grants] | None,
        certificates: bool,
        accounts: Accounts | None,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._grants = grants
        self._certificates = certificates
        self._accounts = accounts
        self._wall, self._monotonic = wall, monotonic
        self._revision = 0
        self._known: dict[Any, Caller] = {}
        self._before: dict[Any, Caller] = {}  # of the revision before: keeps the accounts of who calls on
        self._names: dict[bytes, _Names] = {}

    def of(self, context: Any) -> Caller:
        """The caller. Raises Refused (UNAUTHENTICATED) where it does not prove who it is."""
        names = self._names_of(context) if self._certificates else _NO_NAMES
        grants = self._grants
        if grants is None:
            return self._without_control(context, names)
        if grants.revision != self._revision:
            self._revision = grants.revision
            self._known, self._before = {}, self._known
        header = _authorization(context)
        caller = self._known.get(header or names)
        if caller is None:
            if header:
                caller = self._of_token(header, grants.value)
            elif names.names:
                caller = self._of_certificate(names, grants.value)
            else:
                raise Refused(_MISSING)
            self._remember(header or names, caller)
        grant = caller.grant
        if grant is not None and grant.certificate and not grant.fits(names.names):
            raise Refused(_NOT_ITS_HOLDER)
        if self._wall() >= caller.until:
            raise Refused(_EXPIRED)
        return caller

    def expired(self, caller: Caller) -> Refusal | None:
        """Why what this caller has open is to end now, though the access file has not changed; None: it may go on."""
        return _EXPIRED if self._wall() >= caller.until else None

    def still(self, caller: Caller, method: str, worker_id: str) -> Refusal | None:
        """The same where the file has changed: is its credential good, and does it allow that still?"""
        if self._grants is None or caller.credential is None:
            return self.expired(caller)
        grant = self._grant(caller.credential, self._grants.value)
        if grant is None or grant.identity != caller.identity:
            return _REVOKED
        caller.renew(grant)
        if self._wall() >= caller.until:
            return _EXPIRED
        if allowed(grant.roles, method) is None:
            return insufficient(caller, method)
        if worker_id and not grant.may_be(worker_id):
            return not_yours(caller, worker_id)
        return None

    @property
    def revision(self) -> int:
        """Of the access file."""
        return self._grants.revision if self._grants is not None else 0

    # ------------------------------------------------------------------ kinds of credentials

    def _of_token(self, header: str, grants: Grants) -> Caller:
        token = header[len(_BEARER) :].strip() if header[: len(_BEARER)].lower() == _BEARER else ""
        if not token or len(token) > LONGEST:
            raise Refused(_NO_TOKEN)
        credential = digest(token)
        grant = grants.of_token(credential)
        if grant is None:
            raise Refused(_UNKNOWN)
        return self._made(grant, credential, NEVER)

    def _of_certificate(self, names: _Names, grants: Grants) -> Caller:
        grant = grants.of_names(names.names) or Grant(identity=names.names[0], roles=())
        return self._made(grant, names.names, names.ends)

    def _without_control(self, context: Any, names: _Names) -> Caller:
        accounts = self._accounts
        if not names.names and accounts is None:
            return NOBODY
        key: Any = names if names.names else context.peer().rpartition(":")[0]  # without its port
        caller = self._known.get(key)
        if caller is None:
            identity = names.names[0] if names.names else ANONYMOUS
            account = accounts.of(identity if names.names else key, self._monotonic()) if accounts is not None else None
            caller = Caller(identity, account=account, ends=names.ends)
            self._remember(key, caller)
        if self._wall() >= caller.until:
            raise Refused(_EXPIRED)
        return caller

    def _made(self, grant: Grant, credential: Credential, ends: float) -> Caller:
        account = self._accounts.of(grant.identity, self._monotonic()) if self._accounts is not None else None
        return Caller(grant.identity, grant=grant, account=account, ends=ends, credential=credential)

    def _remember(self, key: Any, caller: Caller) -> None:
        if len(self._known) >= MAX_REMEMBERED:
            self._known = {}
        self._known[key] = caller

    @staticmethod
    def _grant(credential: Credential, grants: Grants) -> Grant | None:
        if isinstance(credential, bytes):
            return grants.of_token(credential)
        return grants.of_names(credential or ())

    def _names_of(self, context: Any) -> _Names:
        proven = context.auth_context()
        pem = proven.get("x509_pem_cert")
        if not pem:
            return _NO_NAMES
        found = self._names.get(pem[0])
        if found is None:
            if len(self._names) >= MAX_REMEMBERED:
                self._names.clear()
            found = self._names[pem[0]] = _read(pem[0], proven)
        return found


def insufficient(caller: Caller, method: str) -> Refusal:
    """Its role is not one that may call the method."""
    name = method.rpartition("/")[2]
    needed = " or ".join(wanted(method))
    has = ", ".join(caller.roles) or "none"
    message = f"{name} needs the role {needed}; {caller.identity!r} has {has}"
    metadata = (("method", name), ("identity", caller.identity), ("roles", has))
    return Refusal(Reason.ROLE_INSUFFICIENT, message, metadata)


def not_yours(caller: Caller, worker_id: str) -> Refusal:
    """It may not be that worker, or speak for it."""
    message = f"{caller.identity!r} may not be worker {worker_id!r}"
    if not worker_id:
        message = f"{caller.identity!r} may not be a worker of any name: say which one it is"
    metadata = (("worker_id", worker_id), ("identity", caller.identity))
    return Refusal(Reason.WORKER_NOT_YOURS, message, metadata)


def _authorization(context: Any) -> str:
    """The call's authorization metadata; "" where there is none."""
    found = ""
    for key, value in context.invocation_metadata() or ():
        if key == _HEADER:
            if found or not isinstance(value, str):
                raise Refused(_NO_TOKEN)
            found = value
    return found


def _read(pem: bytes, proven: Any) -> _Names:
    """A certificate that TLS has verified. One that cannot be read here has no name and so no grant."""
    try:
        ends = validity(pem).ends
    except CertificateUnreadable:
        return _NO_NAMES
    uris = [each.decode(errors="replace") for each in proven.get("peer_uri", ())]
    if len(uris) > 1 and any(each.startswith("spiffe://") for each in uris):
        uris = []  # SPIFFE's X.509 identities have exactly one URI; with more it is none
    names = [*uris, *(each.decode(errors="replace") for each in proven.get("peer_dns", ()))]
    return _Names(tuple(names), ends)


_MISSING = Refusal(
    Reason.CREDENTIAL_MISSING,
    "access control is on: send a bearer token as metadata authorization, or connect with a certificate that has a name"
    " (URI or DNS)",
)
_NO_TOKEN = Refusal(Reason.CREDENTIAL_UNKNOWN, "the metadata authorization must be there once, and be 'Bearer TOKEN'")
_UNKNOWN = Refusal(Reason.CREDENTIAL_UNKNOWN, "nobody has this token: it was never granted anything, or was revoked")
_REVOKED = Refusal(Reason.CREDENTIAL_UNKNOWN, "the credential was revoked")
_NOT_ITS_HOLDER = Refusal(
    Reason.CREDENTIAL_UNKNOWN, "this token is bound to a certificate, and the connection has not that one"
)
_EXPIRED = Refusal(Reason.CREDENTIAL_EXPIRED, "the credential has expired: get a new one")
