"""What each identity has taken of its limits."""

from collections import Counter
from collections.abc import Iterable
from weakref import WeakValueDictionary

from scheduler_server.access.bucket import Bucket
from scheduler_server.access.distinct import Distinct
from scheduler_server.access.settings import LimitSettings
from scheduler_server.model.refusal import Reason, Refusal

LIMITS = (
    "assign_per_s",
    "assign_in_flight",
    "workers",
    "streams",
    "task_types",
    "tenants",
    "labels",
    "capabilities",
)
"""As the settings name them, and as the metric does."""

_SOON_S = 0.1
"""When to ask again where too many calls are under way: nobody can tell when one ends, and most take less."""


_NAMES = ("task_types", "tenants", "labels", "capabilities")


class InForce:
    """What all accounts have in common: the limits as they are now, and refusals counted by limit."""

    __slots__ = ("limits", "refused")

    def __init__(self, limits: LimitSettings) -> None:
        self.limits = limits
        self.refused: Counter[str] = Counter(dict.fromkeys(LIMITS, 0))


class Account:
    """One identity's.

    Invariant: `in_flight`, `streams` and `workers` are what is open now; nothing of them is ever below 0. Bucket and
    names go by `_limits`, which catches up with those in force when the account is next asked: there may be thousands.
    """

    __slots__ = (
        "__weakref__",
        "_bucket",
        "_in_force",
        "_limits",
        "_names",
        "_said",
        "identity",
        "in_flight",
        "streams",
        "workers",
    )

    def __init__(self, identity: str, in_force: InForce, now: float) -> None:
        self.identity = identity
        self._in_force = in_force
        self.in_flight = self.streams = self.workers = 0
        self._limits: LimitSettings | None = None
        self._bucket: Bucket | None = None
        self._names: dict[str, Distinct] = {}
        self._said: dict[str, Refusal] = {}
        self._catch_up(in_force.limits, now)

    def admit(self, tasks: int, now: float) -> Refusal | None:
        """Let a call with so many tasks in, or say why not. One that was let in must `leave`."""
        limits = self._in_force.limits
        if limits is not self._limits:
            self._catch_up(limits, now)
        if limits.assign_in_flight and self.in_flight >= limits.assign_in_flight:
            what = f"{limits.assign_in_flight} calls of {self.identity!r} are under way"
            return self._no("assign_in_flight", Reason.RATE_LIMITED, what, _SOON_S)
        if self._bucket is not None:
            wait_s = self._bucket.take(tasks, now)
            if wait_s:
                what = f"{self.identity!r} asks for more than {limits.assign_per_s:g} tasks per second"
                return self._no("assign_per_s", Reason.RATE_LIMITED, what, wait_s)
        self.in_flight += 1
        return None

    def leave(self) -> None:
        """A call that was let in is over."""
        self.in_flight -= 1

    def open_stream(self) -> Refusal | None:
        """Open a stream, or say why not. One that was opened must be closed."""
        most = self._in_force.limits.streams
        if most and self.streams >= most:
            what = f"{most} streams of {self.identity!r} are open"
            return self._no("streams", Reason.TOO_MANY_STREAMS, what, None)
        self.streams += 1
        return None

    def close_stream(self) -> None:
        """A stream that was opened is closed."""
        self.streams -= 1

    def room_for_worker(self) -> Refusal | None:
        """Why it may not register one worker more; None: it may."""
        most = self._in_force.limits.workers
        if most and self.workers >= most:
            what = f"{most} workers of {self.identity!r} are registered"
            return self._no("workers", Reason.TOO_MANY_WORKERS, what, None)
        return None

    def names(self, kind: str, names: Iterable[str], now: float) -> Refusal | None:
        """Count names of a kind (see LIMITS); why one of them may not be used, or None. Those before it are counted."""
        limits = self._in_force.limits
        if limits is not self._limits:
            self._catch_up(limits, now)
        counted = self._names.get(kind)
        if counted is None:
            return None
        for name in names:
            if name not in counted.known and not counted.take(name, now):
                self._in_force.refused[kind] += 1
                return self._said.get(kind) or self._too_many(kind)
        return None

    def _too_many(self, kind: str) -> Refusal:
        """Made once: whoever is over this limit asks by the thousand."""
        what = f"{self.identity!r} has used {getattr(self._in_force.limits, kind)} different {kind.replace('_', ' ')}"
        said = self._said[kind] = self._refusal(kind, Reason.TOO_MANY_NAMES, what, None)
        return said

    def _no(self, limit: str, reason: Reason, what: str, retry_after_s: float | None) -> Refusal:
        self._in_force.refused[limit] += 1
        return self._refusal(limit, reason, what, retry_after_s)

    def _refusal(self, limit: str, reason: Reason, what: str, retry_after_s: float | None) -> Refusal:
        metadata = (("limit", f"limits.{limit}"), ("value", f"{getattr(self._in_force.limits, limit):g}"))
        return Refusal(reason, f"{what}; the limit is limits.{limit}", metadata, retry_after_s=retry_after_s)

    def _catch_up(self, limits: LimitSettings, now: float) -> None:
        """Other limits are in force: what was taken under those before counts."""
        self._limits = limits
        self._said = {}
        if not limits.assign_per_s:
            self._bucket = None
        elif self._bucket is None:
            self._bucket = Bucket(limits.assign_per_s, limits.assign_burst, now)
        else:
            self._bucket.change(limits.assign_per_s, limits.assign_burst, now)
        for kind in _NAMES:
            most = getattr(limits, kind)
            counted = self._names.get(kind)
            if not most:
                self._names.pop(kind, None)
            elif counted is None:
                self._names[kind] = Distinct(most, limits.names_kept_s, now)
            else:
                counted.change(most, limits.names_kept_s)


class Accounts:
    """All of them. `refused` counts refusals by limit.

    An account lives as long as somebody holds it: whoever remembers its caller, or has a worker of it. Certificates and
    addresses may be any number, so those unused for long are forgotten with their callers, and begin anew.
    """

    def __init__(self, limits: LimitSettings) -> None:
        self._in_force = InForce(limits)
        self._known: WeakValueDictionary[str, Account] = WeakValueDictionary()
        self._owners: dict[str, Account] = {}  # of workers, by id
        self.refused = self._in_force.refused

    def __len__(self) -> int:
        return len(self._known)

    def of(self, identity: str, now: float) -> Account:
        """An identity's account, made where it is new."""
        found = self._known.get(identity)
        if found is None:
            found = self._known[identity] = Account(identity, self._in_force, now)
        return found

    def reconfigure(self, limits: LimitSettings) -> None:
        """These limits hold from now on. What is open stays, and counts."""
        self._in_force.limits = limits

    def registered(self, worker_id: str, account: Account) -> None:
        """A worker is known from now on, and this account's."""
        if worker_id not in self._owners:
            self._owners[worker_id] = account
            account.workers += 1

    def removed(self, worker_id: str) -> None:
        """A worker is known no more."""
        account = self._owners.pop(worker_id, None)
        if account is not None:
            account.workers -= 1
