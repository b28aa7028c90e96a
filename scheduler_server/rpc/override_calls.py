"""AdminService's overrides: made, listed, ended."""

import logging
from collections.abc import Callable
from typing import Any

from scheduler_api.v1 import admin_service_pb2
from scheduler_server.access.caller import CALLER
from scheduler_server.assignment.events import Look
from scheduler_server.assignment.override_checks import Judged, judge
from scheduler_server.assignment.override_rules import Rule
from scheduler_server.model.override import Action, Override
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.rpc import checks, encode, paging
from scheduler_server.rpc.checks import Checker
from scheduler_server.rpc.errors import Refused
from scheduler_server.rpc.overriding import NOT_KEPT, Overriding
from scheduler_server.rpc.paging import Page, Position, Turn
from scheduler_server.rpc.shell import Shell

_LOG = logging.getLogger(__name__)

_MOST_RUNNING = 1_000_000


class OverrideCalls:
    """Each method: check the message, judge, carry out, encode the answer. What can be refused is told by exception."""

    def __init__(self, overriding: Overriding, shell: Shell, refuse_when_draining: Callable[[], None]) -> None:
        self._overriding = overriding
        self._shell = shell
        self._core = shell.core
        self._overrides = shell.core.overrides
        self._refuse_when_draining = refuse_when_draining

    # ------------------------------------------------------------------ made

    async def CreateOverride(
        self, request: admin_service_pb2.CreateOverrideRequest, context: Any
    ) -> admin_service_pb2.CreateOverrideResponse:
        """A new override; the same once more is answered as it is."""
        self._shell.handle(Look())
        asked = self._decoded(request)
        self._refuse_when_draining()
        if request.dry_run:
            return await self._tried(request, asked)
        async with self._overriding.changing:
            self._shell.handle(Look())
            known = self._known(asked)
            if known is not None:
                return await self._answer(known, ())
            judged = self._judged(asked)
            self._refuse(judged, force=request.force)
            override = asked._replace(
                override_id=asked.override_id or self._new_id(),
                author=CALLER.get().identity,
                created_at=self._shell.now().wall,
            )
            await self._overriding.create(override)
            _LOG.info("override %s by %s: %s (%s)", override.override_id, override.author, override.effect,
                      override.reason or "no reason given")  # fmt: skip
            rule = self._overrides.in_force.get(override.override_id) or self._overrides.ended[override.override_id]
            return await self._answer(rule, self._warnings(judged, forced=request.force))

    async def _tried(
        self, request: admin_service_pb2.CreateOverrideRequest, asked: Override
    ) -> admin_service_pb2.CreateOverrideResponse:
        known = self._known(asked)
        if known is not None:
            return await self._answer(known, ())
        judged = self._judged(asked)
        self._refuse(judged, force=request.force)
        made = asked._replace(author=CALLER.get().identity, created_at=self._shell.now().wall)
        response = await self._answer(Rule(made, 0), self._warnings(judged, forced=request.force))
        response.policy_revision = self._overriding.next_revision()
        return response

    def _known(self, asked: Override) -> Rule | None:
        """The override of this id where it is the one that is asked for."""
        if not asked.override_id:
            return None
        rule = self._overrides.in_force.get(asked.override_id)
        if rule is not None and asked == rule.override._replace(author="", created_at=0.0):
            return rule
        if rule is not None or asked.override_id in self._overrides.ended:
            ended = "" if rule is not None else ", which has ended"
            message = f"override_id: {asked.override_id!r} is another override's{ended}: choose another or none"
            raise Refused(Refusal(Reason.OVERRIDE_EXISTS, message, (("override_id", asked.override_id),)))
        return None

    def _judged(self, asked: Override) -> Judged:
        in_force, most = len(self._overrides.in_force), self._overriding.most
        if in_force >= most:
            message = f"{in_force:,} overrides are in force; limits.overrides is {most:,}: delete some, or raise it"
            raise Refused(Refusal(Reason.TOO_MANY_OVERRIDES, message, (("limit", "limits.overrides"),)))
        return judge(self._core, asked)

    @staticmethod
    def _refuse(judged: Judged, *, force: bool) -> None:
        if force:
            return
        if judged.impossible:
            message = f"it can never apply as things are: {judged.impossible}; send force if that is meant"
            raise Refused(Refusal(Reason.OVERRIDE_IMPOSSIBLE, message))
        if judged.conflict:
            message = f"it contradicts another: {judged.conflict}; send force if that is meant"
            raise Refused(Refusal(Reason.OVERRIDE_CONFLICT, message, (("override_id", judged.other),)))

    def _warnings(self, judged: Judged, *, forced: bool) -> tuple[str, ...]:
        against = (judged.impossible, judged.conflict) if forced else ()
        return (*filter(None, against), *judged.warnings, *(() if self._overriding.kept else (NOT_KEPT,)))

    def _new_id(self) -> str:
        number = self._overriding.next_revision()
        while f"o-{number}" in self._overrides.in_force or f"o-{number}" in self._overrides.ended:
            number += 1
        return f"o-{number}"

    async def _answer(self, rule: Rule, warnings: tuple[str, ...]) -> admin_service_pb2.CreateOverrideResponse:
        response = admin_service_pb2.CreateOverrideResponse(
            policy_revision=self._core.placement.policy_revision, warnings=warnings
        )
        fill(response.override, rule, self._overrides.blocked())
        turn = Turn()
        for waiter in list(self._core.queue.waiting.by_task.values()):
            if turn.over():
                await turn.pause()
            response.matching_tasks += not waiter.gone and rule.override.covers(waiter.event.task)
        return response

    # ------------------------------------------------------------------ listed

    async def ListOverrides(
        self, request: admin_service_pb2.ListOverridesRequest, context: Any
    ) -> admin_service_pb2.ListOverridesResponse:
        """Overrides, newest first."""
        checker = Checker()
        checker.text("tenant", request.tenant)
        checker.text("task_type", request.task_type)
        checker.text("worker_id", request.worker_id)
        size = paging.size(checker, request.page_size)
        checker.done()
        bound_to = paging.scope(self._core.incarnation, request)
        after = paging.read_token(bound_to, request.page_token)
        self._shell.handle(Look())
        rules = list(self._overrides.in_force.values())
        if request.include_ended:
            rules += self._overrides.ended.values()
        page: Page[Rule] = Page(size, after, backwards=True)
        turn = Turn()
        for rule in rules:
            if turn.over():
                await turn.pause()
            if self._wanted(request, rule.override):
                page.offer(Position(0, rule.override.created_at, rule.override.override_id), rule)
        response = admin_service_pb2.ListOverridesResponse()
        blocked = self._overrides.blocked()

        def add(rule: Rule) -> int:
            message = response.overrides.add()
            fill(message, rule, blocked)
            return message.ByteSize()

        response.next_page_token = paging.next_token(bound_to, await page.write(turn, add))
        return response

    def _wanted(self, request: admin_service_pb2.ListOverridesRequest, override: Override) -> bool:
        if request.HasField("tenant") and override.tenant not in (None, request.tenant):
            return False
        if request.task_type and override.task_type not in ("", request.task_type):
            return False
        if not request.worker_id:
            return True
        record = self._core.fleet.records.get(request.worker_id)
        return override.names(request.worker_id, () if record is None else record.registration.labels)

    # ------------------------------------------------------------------ ended

    async def DeleteOverride(
        self, request: admin_service_pb2.DeleteOverrideRequest, context: Any
    ) -> admin_service_pb2.DeleteOverrideResponse:
        """An override ends."""
        checker = Checker()
        checker.text("override_id", request.override_id, required=True)
        checker.text("reason", request.reason, limit=checks.MAX_DETAIL)
        checker.done()
        self._refuse_when_draining()
        override_id = request.override_id
        async with self._overriding.changing:
            self._shell.handle(Look())
            if override_id not in self._overrides.in_force:
                ended = "has ended already" if override_id in self._overrides.ended else "is not known"
                message = f"override {override_id!r} {ended}; ListOverrides has those in force"
                raise Refused(Refusal(Reason.OVERRIDE_UNKNOWN, message, (("override_id", override_id),)))
            identity = CALLER.get().identity
            await self._overriding.end(override_id, f"{request.reason or 'no reason given'} (ended by {identity})")
            _LOG.info("override %s ended by %s: %s", override_id, identity, request.reason or "no reason given")
            response = admin_service_pb2.DeleteOverrideResponse(policy_revision=self._core.placement.policy_revision)
            fill(response.override, self._overrides.ended[override_id], {})
        return response

    # ------------------------------------------------------------------ from the wire

    def _decoded(self, request: admin_service_pb2.CreateOverrideRequest) -> Override:
        checker = Checker()
        asked = request.override
        if not request.HasField("override"):
            checker.fault("override", "is required")
            checker.done()
        checker.text("override.override_id", asked.override_id)
        checker.text("override.reason", asked.reason, limit=checks.MAX_DETAIL)
        scope = asked.scope
        checker.text("override.scope.tenant", scope.tenant)
        checker.text("override.scope.task_type", scope.task_type)
        checker.text("override.scope.task_id", scope.task_id)
        tenant = scope.tenant if scope.HasField("tenant") else None
        if tenant is None and not scope.task_type and not scope.task_id:
            checker.fault("override.scope", "is required: at least one of tenant, task_type and task_id")
        if tenant is None and scope.task_id:
            tenant = ""
        expires_at = None
        if asked.HasField("expires_at"):
            expires_at = checker.instant_s("override.expires_at", asked.expires_at.seconds, asked.expires_at.nanos)
            if not checker.faults and expires_at <= self._shell.now().wall:
                checker.fault("override.expires_at", "has passed")
        made = Override(
            asked.override_id, tenant, scope.task_type, scope.task_id, Action.BOOST,
            expires_at=expires_at, reason=asked.reason,
        )  # fmt: skip
        made = _with_action(made, asked, checker)
        checker.done()
        return made


def _with_action(made: Override, asked: admin_service_pb2.Override, checker: Checker) -> Override:
    kind = asked.WhichOneof("action")
    if kind in {"pin", "exclude"}:
        field = f"override.{kind}"
        which: Any = getattr(asked, kind)
        workers = checker.names(f"{field}.worker_ids", which.worker_ids, checks.MAX_EXCLUDED)
        labels = checker.pairs(f"{field}.match_labels", which.match_labels.items())
        if not which.worker_ids and not which.match_labels:
            checker.fault(field, "names nobody: at least one of worker_ids and match_labels is required")
        action = Action.PIN if kind == "pin" else Action.EXCLUDE
        return made._replace(
            action=action, workers=workers, labels=labels, preferred=kind == "pin" and asked.pin.preferred_only
        )
    if kind == "cap":
        if not asked.cap.HasField("max_concurrent"):
            checker.fault("override.cap.max_concurrent", "is required, since 0 is a value")
        most = checker.count("override.cap.max_concurrent", asked.cap.max_concurrent, 0, _MOST_RUNNING)
        return made._replace(action=Action.CAP, most=most)
    if kind == "boost":
        delta = asked.boost.priority_delta
        if not -1.0 <= delta <= 1.0 or delta == 0.0:  # NaN is in no range
            checker.fault("override.boost.priority_delta", f"must be between -1 and 1, and not 0 (got {delta:g})")
        return made._replace(action=Action.BOOST, delta=delta)
    checker.fault("override.action", "is required: one of pin, exclude, cap and boost")
    return made


def fill(message: admin_service_pb2.Override, rule: Rule, blocked: dict[str, int]) -> None:
    """Fill an Override; `blocked` has the tasks that wait because of each."""
    override = rule.override
    message.override_id = override.override_id
    if override.tenant is not None:
        message.scope.tenant = override.tenant
    message.scope.task_type = override.task_type
    message.scope.task_id = override.task_id
    if override.action is Action.PIN:
        message.pin.SetInParent()
        message.pin.worker_ids.extend(override.workers)
        message.pin.match_labels.update(dict(override.labels))
        message.pin.preferred_only = override.preferred
    elif override.action is Action.EXCLUDE:
        message.exclude.worker_ids.extend(override.workers)
        message.exclude.match_labels.update(dict(override.labels))
    elif override.action is Action.CAP:
        message.cap.max_concurrent = override.most
    else:
        message.boost.priority_delta = override.delta
    if override.expires_at is not None:
        encode.set_instant(message.expires_at, override.expires_at)
    message.reason = override.reason
    message.author = override.author
    encode.set_instant(message.created_at, override.created_at)
    message.applied_count = rule.applied
    if rule.last_applied:
        encode.set_instant(message.last_applied_at, rule.last_applied)
    message.blocked_tasks = blocked.get(override.override_id, 0)
    if rule.ended_at:
        encode.set_instant(message.ended_at, rule.ended_at)
