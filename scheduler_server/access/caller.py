"""One who calls."""

from contextvars import ContextVar

from scheduler_server.access.accounts import Account
from scheduler_server.access.grants import Grant
from scheduler_server.access.roles import Role

ANONYMOUS = "anonymous"
NEVER = float("inf")

Credential = bytes | tuple[str, ...] | None
"""What it was known by, to look it up again: the hash of a token, the names of a certificate, or nothing."""


class Caller:
    """Who it is, what it may do, and what it has taken. Made once for a credential, and the same for all its calls.

    `grant` is None where access control is off. `until` is when its credential ends, in seconds since 1970: its grant,
    or the certificate, at `ends`.
    """

    __slots__ = ("account", "credential", "ends", "grant", "identity", "roles", "until")

    def __init__(
        self,
        identity: str,
        *,
        grant: Grant | None = None,
        account: Account | None = None,
        ends: float = NEVER,
        credential: Credential = None,
    ) -> None:
        self.identity = identity
        self.grant = grant
        self.roles: tuple[Role, ...] = grant.roles if grant is not None else ()
        self.account = account
        self.ends = ends
        self.until = min(ends, grant.expires_at) if grant is not None else ends
        self.credential = credential

    def renew(self, grant: Grant) -> None:
        """The access file has changed, and this is what it grants now."""
        self.until = min(self.ends, grant.expires_at)

    def may_be(self, worker_id: str) -> bool:
        """May it be that worker?"""
        return self.grant is None or self.grant.may_be(worker_id)

    def may_be_any(self) -> bool:
        """May it be any worker, also one that the server makes an id for?"""
        return self.grant is None or self.grant.may_be_any


NOBODY = Caller(ANONYMOUS)

CALLER: ContextVar[Caller] = ContextVar("caller", default=NOBODY)
"""Who makes the call that the running task answers."""
