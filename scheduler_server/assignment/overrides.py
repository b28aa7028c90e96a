"""Overrides while the server runs: they come and end, bound placements, hold waiting tasks back, and are counted.

    pin, exclude   workers that an override is about are in pools of their own (`Profile.marks`), so a task under it
                   has a class of other pools (`Bounds`): choosing, waiting, explaining and counting go on as ever
    cap            counts the live leases that it covers; tasks under it wait in groups of their own, which are passed
                   over while it is full, and looked at again when one of its leases ends
    boost          moves the keys of waiting tasks when it comes and when it goes

Nothing of this is looked at while there is no override: `Placement.overrides` and `WaitingTasks.overrides` are None.
"""

from collections import OrderedDict
from collections.abc import Iterable
from math import inf

from scheduler_server.assignment.effects import Effect, Published
from scheduler_server.assignment.events import CreateOverride, EndOverride, Submit
from scheduler_server.assignment.lanes import Group
from scheduler_server.assignment.ledger import Ledger, TaskRecord
from scheduler_server.assignment.override_rules import Rule, Rules, Steering
from scheduler_server.assignment.placement import NOBODY, Placement
from scheduler_server.assignment.renewing import Renewing
from scheduler_server.assignment.waiting import WaitingTasks
from scheduler_server.model.clock import Now
from scheduler_server.model.fleet_event import FleetEventKind, MakeEvent
from scheduler_server.model.override import Action, Override
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.model.task import BlockingReason, Delivery, Pairs, Task
from scheduler_server.registry.eligibility import Bounds, ClassKey, bounds_of
from scheduler_server.registry.fleet import Fleet
from scheduler_server.registry.record import WorkerRecord

MOST_ENDED = 1_000
"""Ended ones that are kept to be looked at; the oldest goes first."""

_MOST_LABELS = 4_096
"""Sets of labels remembered with the overrides that are about them."""

_SHORTEST_RETRY_S, _LONGEST_RETRY_S = 0.05, 60.0
"""Bounds of what a caller is told to wait that a cap has refused, as for any other refusal."""

_ABOUT_WORKERS = (Action.PIN, Action.EXCLUDE)

Applied = tuple[tuple[str, str], ...]


class Overrides:
    """All that there are.

    Invariants: `in_force` apply, `ended` are not; a worker's pool is marked with each pin and exclusion about
    it; a cap's `running` is the number of live leases that it covers; `next_at` is the monotonic second at which the
    next one ends by itself.
    """

    def __init__(
        self,
        fleet: Fleet,
        ledger: Ledger,
        placement: Placement,
        waiting: WaitingTasks,
        renewing: Renewing,
        make_event: MakeEvent,
    ) -> None:
        self._fleet = fleet
        self._ledger = ledger
        self._placement = placement
        self._waiting = waiting
        self._renewing = renewing
        self._make_event = make_event
        self._rules = Rules()
        self._made = 0
        self._by_worker: dict[str, set[str]] = {}  # pins and exclusions by the ids that they name
        self._by_labels: dict[Pairs, frozenset[str]] = {}  # remembered
        self.counts = dict.fromkeys(Action, 0)  # in force
        self.applied_by_kind = dict.fromkeys(Action, 0)  # to decisions, since the start
        self.ended: OrderedDict[str, Rule] = OrderedDict()
        self.next_at = inf
        self.changes = 0  # since the start: a file that is behind is to be written again

    @property
    def in_force(self) -> dict[str, Rule]:
        """Those that apply, by id, the oldest first."""
        return self._rules.by_id

    def of(self, task: Task) -> Steering | None:
        """What applies to a task; None: nothing."""
        return self._rules.of(task)

    # ------------------------------------------------------------------ come and go

    def create(self, now: Now, event: CreateOverride, out: list[Effect]) -> None:
        """A new one applies from now on."""
        override = event.override
        if override.override_id in self.in_force:
            return
        rule = Rule(override, 0)
        self._begin(now, rule)
        self._settle(now)
        self._tell(now, FleetEventKind.OVERRIDE_CREATED, rule, event.revision, "", out)

    def end(self, now: Now, event: EndOverride, out: list[Effect]) -> None:
        """One applies no more."""
        rule = self.in_force.get(event.override_id)
        if rule is None:
            return
        self._finish(rule, now.wall)
        self._settle(now)
        self._tell(now, FleetEventKind.OVERRIDE_ENDED, rule, event.revision, event.why, out)

    def advance(self, now: Now, out: list[Effect]) -> None:
        """End those whose time is over."""
        due = [rule for rule in self.in_force.values() if rule.expires_at <= now.monotonic]
        for rule in due:
            self._finish(rule, rule.override.expires_at or now.wall)
        if due:
            self._settle(now)
        self.next_at = min((rule.expires_at for rule in self.in_force.values()), default=inf)
        for rule in due:
            self._tell(now, FleetEventKind.OVERRIDE_ENDED, rule, 0, "its time is over", out)

    def restore(self, now: Now, in_force: Iterable[Rule], ended: Iterable[Rule]) -> int:
        """Take back those of an earlier run, after its leases; answers how many have ended meanwhile."""
        for rule in ended:
            self._keep(rule)
        over = []
        for rule in in_force:
            expires_at = rule.override.expires_at
            if expires_at is not None and expires_at <= now.wall:
                rule.ended_at = expires_at
                self._keep(rule)
                over.append(rule)
            else:
                self._begin(now, rule)
        self._settle(now)
        self._renewing.finish(now)
        return len(over)

    def _begin(self, now: Now, rule: Rule) -> None:
        override = rule.override
        self._made += 1
        rule.number = self._made
        if override.expires_at is not None:
            rule.expires_at = now.monotonic + max(0.0, override.expires_at - now.wall)
            self.next_at = min(self.next_at, rule.expires_at)
        self._rules.add(rule)
        self.counts[override.action] += 1
        if override.action in _ABOUT_WORKERS:
            for worker_id in override.workers:
                self._by_worker.setdefault(worker_id, set()).add(override.override_id)
            self._by_labels.clear()
            self._fleet.marker = self._marks
            for record in self.workers_of(override):
                self._fleet.remark(record)
        if override.action is Action.CAP:
            for lease in self._ledger.leases.values():
                if lease.live and override.covers(lease.task):
                    lease.capped = (*lease.capped, rule)
                    rule.running += 1

    def _finish(self, rule: Rule, wall: float) -> None:
        override = rule.override
        self._rules.remove(rule)
        self.counts[override.action] -= 1
        rule.ended_at = wall
        rule.waiting.clear()
        self._keep(rule)
        if override.action in _ABOUT_WORKERS:
            for worker_id in override.workers:
                named = self._by_worker[worker_id]
                named.discard(override.override_id)
                if not named:
                    del self._by_worker[worker_id]
            self._by_labels.clear()
            pools = [pool for pool in self._fleet.pools if override.override_id in pool.profile.marks]
            for record in [record for pool in pools for record in pool.members]:
                self._fleet.remark(record)
        self._fleet.eligibility.forget(override.override_id)
        if not any(other.override.action in _ABOUT_WORKERS for other in self.in_force.values()):
            self._fleet.marker = None

    def _keep(self, rule: Rule) -> None:
        self.ended[rule.override.override_id] = rule
        while len(self.ended) > MOST_ENDED:
            self.ended.popitem(last=False)

    def _settle(self, now: Now) -> None:
        """Let waiting tasks take their places anew, in slices, and look at every slot that is free."""
        steers = self if self.in_force else None
        self._placement.overrides = self._waiting.overrides = steers
        self._renewing.refile(now)
        if self._waiting.placeable:
            self._fleet.opened.extend(pool for pool in self._fleet.pools if pool.counts[0])

    def _tell(self, now: Now, kind: FleetEventKind, rule: Rule, revision: int, why: str, out: list[Effect]) -> None:
        placement = self._placement
        before = placement.policy_revision
        placement.policy_revision = max(before + 1, revision)
        self.changes += 1
        override = rule.override
        by = f", by {override.author}" if override.author else ""
        detail = f"{override.effect}{by}: {why or override.reason or 'no reason given'}"
        event = self._make_event(
            now, kind, "", detail, str(before), str(placement.policy_revision), override.override_id
        )
        out.append(Published(event))

    # ------------------------------------------------------------------ workers

    def workers_of(self, override: Override) -> list[WorkerRecord]:
        """The known workers that a pin or an exclusion is about."""
        records = self._fleet.records
        if not override.labels:
            return [records[worker_id] for worker_id in override.workers if worker_id in records]
        return [record for record in records.values() if override.names(record.worker_id, record.registration.labels)]

    def _marks(self, record: WorkerRecord) -> frozenset[str]:
        labels = record.registration.labels
        found = self._by_labels.get(labels)
        if found is None:
            if len(self._by_labels) >= _MOST_LABELS:
                self._by_labels.clear()
            found = self._by_labels[labels] = frozenset(
                name
                for name, rule in self.in_force.items()
                if rule.override.action in _ABOUT_WORKERS and rule.override.names("", labels)
            )
        named = self._by_worker.get(record.worker_id)
        return found if named is None else found | named

    # ------------------------------------------------------------------ placing

    def needs(self, event: Submit) -> ClassKey:
        """What a task's workers must have, as far as it can wait for them."""
        task = event.task
        steering = self.of(task)
        return _key(event, None if steering is None else steering.bounds)

    def attempt(
        self, now: Now, event: Submit, older: TaskRecord | None, out: list[Effect], *, why: bool
    ) -> Refusal | None:
        """Place a task as `Placement.attempt` does, within what applies to it."""
        placement, task = self._placement, event.task
        steering = self.of(task)
        if steering is None:
            return placement.attempt(now, event, older, out, why=why, needs=_key(event, None))
        full = _full(steering)
        if full is not None:
            return self.capped(full, task) if why else NOBODY
        waited = (task.tenant, task.task_id) in self._waiting.by_task
        pin = steering.pin
        refusal: Refusal | None = NOBODY
        if steering.first is not None:
            refusal = placement.attempt(now, event, older, out, why=False, needs=_key(event, steering.first))
            if refusal is not None:
                pin = None
        if refusal is not None and (pin is None or steering.first is None):
            refusal = placement.attempt(now, event, older, out, why=why, needs=_key(event, steering.bounds))
        if refusal is not None:
            return refusal
        record = self._ledger.tasks[task.tenant, task.task_id]
        parts = _parts(steering, pin, waited=waited)
        record.applied = tuple(rule.told for rule in parts)
        for rule in parts:
            rule.applied += 1
            self.applied_by_kind[rule.override.action] += 1
            rule.last_applied = now.wall
        if steering.caps:
            record.capped = steering.caps
            for rule in steering.caps:
                rule.running += 1
        return None

    def capped(self, rule: Rule, task: Task) -> Refusal:
        """A cap lets no more of these run."""
        override = rule.override
        about = (("task_id", task.task_id), ("task_type", task.task_type), ("override_id", override.override_id))
        mean_s = self._placement.mean_ms / 1e3 / max(1, override.most)
        return Refusal(
            Reason.NO_FREE_SLOT,
            _held(rule),
            about,
            BlockingReason.OVERRIDE,
            retry_after_s=max(_SHORTEST_RETRY_S, min(_LONGEST_RETRY_S, mean_s)),
        )

    def over(self, record: TaskRecord) -> None:
        """A lease that caps count has ended: what waits for them may go."""
        for rule in record.capped:
            was_full = rule.full
            rule.running -= 1
            if was_full and rule.waiting:
                self._look_again(rule)
        record.capped = ()

    def _look_again(self, rule: Rule) -> None:
        for needs in list(rule.waiting):
            groups = self._waiting.groups_of(needs)
            if not groups:
                del rule.waiting[needs]
            for group in groups:
                eligible = group.home.eligible(group) if group.count else None
                if eligible is not None:
                    self._fleet.opened.extend(pool for pool in eligible.pools if pool.counts[0])

    # ------------------------------------------------------------------ waiting

    def priority(self, task: Task) -> float:
        """A task's priority with what boosts add to it."""
        steering = self.of(task)
        if steering is None or not steering.boost:
            return task.priority
        return min(1.0, max(0.0, task.priority + steering.boost))

    def wait_by(self, needs: ClassKey) -> None:
        """Tasks with these needs wait from now on."""
        bounds = bounds_of(needs)
        for name in bounds.caps if bounds is not None else ():
            rule = self.in_force.get(name)
            if rule is not None:
                rule.waiting[needs] = None

    def may_go(self, indexes: list[int], groups: list[Group | None]) -> list[int]:
        """The groups of waiting tasks, by index, that no cap holds back."""
        return [index for index in indexes if (group := groups[index]) is None or self._cap_of(group.needs) is None]

    def _cap_of(self, needs: ClassKey) -> Rule | None:
        """A cap that is full and holds back tasks with these needs."""
        bounds = bounds_of(needs)
        if bounds is None:
            return None
        rules = self.in_force
        return next((rule for name in bounds.caps if (rule := rules.get(name)) is not None and rule.full), None)

    def holds(self, needs: ClassKey) -> str:
        """How overrides hold back tasks with these needs, in words; empty: they do not."""
        cap = self._cap_of(needs)
        if cap is not None:
            return _held(cap)
        bounds = bounds_of(needs)
        if bounds is None or not (bounds.pin or bounds.never):
            return ""
        eligible, else_ = self._fleet.eligible(needs), self._fleet.eligible((needs[0], needs[1], needs[2]))
        if eligible is None or else_ is None or any(pool.members for pool in eligible.pools):
            return ""
        if not any(pool.members for pool in else_.pools):
            return ""
        names = ", ".join(map(repr, filter(None, (bounds.pin, *bounds.never))))
        return f"no worker that could take it is left by {names}"

    def blocked(self) -> dict[str, int]:
        """By override, the waiting tasks that would have a free slot without it, or a chance of one."""
        counts: dict[str, int] = {}
        for group in self._waiting.groups():
            bounds = bounds_of(group.needs)
            if bounds is None or not group.count:
                continue
            cap = self._cap_of(group.needs)
            if cap is not None:
                names = [name for name in bounds.caps if self.in_force[name].full]
            elif (bounds.pin or bounds.never) and self._free_without(group.needs):
                names = [*([bounds.pin] if bounds.pin else []), *bounds.never]
            else:
                continue
            for name in names:
                counts[name] = counts.get(name, 0) + group.count
        return counts

    def _free_without(self, needs: ClassKey) -> bool:
        eligible = self._fleet.eligible((needs[0], needs[1], needs[2]))
        return eligible is not None and any(pool.counts[0] for pool in eligible.pools)

    # ------------------------------------------------------------------ asked

    def would_hold(self, task: Task) -> Refusal | None:
        """The refusal of a cap, were the task asked for now."""
        steering = self.of(task)
        full = None if steering is None else _full(steering)
        return None if full is None else self.capped(full, task)

    def bounds_now(self, event: Submit) -> Bounds | None:
        """Who it would be chosen among now: preferred workers only while one of them could have it."""
        steering = self.of(event.task)
        if steering is None:
            return None
        if steering.first is not None and self._open(event, steering.first):
            return steering.first
        return steering.bounds

    def _open(self, event: Submit, bounds: Bounds) -> bool:
        eligible = self._fleet.eligibility.make(_key(event, bounds), self._fleet.pools, keep=False)
        free = sum(pool.counts[0] for pool in eligible.pools)
        for worker_id in set(event.excluded):
            record = self._fleet.records.get(worker_id)
            if record is not None and not record.status and eligible.serves(record.pool):
                free -= 1
        return free > 0

    def applied(self, event: Submit, *, waits: bool) -> Applied:
        """Which have a part in this task's placement now, in the order in which they apply."""
        steering = self.of(event.task)
        if steering is None:
            return ()
        pin = steering.pin
        if steering.first is not None and not self._open(event, steering.first):
            pin = None
        return tuple(rule.told for rule in _parts(steering, pin, waited=waits))


def _parts(steering: Steering, pin: Rule | None, *, waited: bool) -> list[Rule]:
    """Without a pin that only said whom it preferred, and without boosts of what did not wait."""
    return [
        rule
        for rule in steering.rules
        if (rule is not steering.pin or pin is not None) and (waited or rule.override.action is not Action.BOOST)
    ]


def _full(steering: Steering) -> Rule | None:
    for rule in steering.caps:
        if rule.running >= rule.override.most:
            return rule
    return None


def _held(rule: Rule) -> str:
    return f"override {rule.override.override_id!r} lets {rule.override.effect} of these, and as many run"


def _key(event: Submit, bounds: Bounds | None) -> ClassKey:
    task = event.task
    stream = event.delivery is Delivery.STREAM
    return (task.required, task.labels, stream) if bounds is None else (task.required, task.labels, stream, bounds)
