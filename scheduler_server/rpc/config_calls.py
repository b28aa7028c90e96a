"""AdminService's configuration: seen, changed, its history, gone back to."""

from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, cast

from scheduler_api.v1 import admin_service_pb2
from scheduler_server.access.caller import CALLER
from scheduler_server.config.faults import ConfigError
from scheduler_server.config.live import Proposal
from scheduler_server.config.origin import DEFAULT, Origin, Source
from scheduler_server.config.revisions import Revision, plain
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.predictor.settings import LONGEST_MS
from scheduler_server.rpc import checks, config_view, encode, paging, ranges
from scheduler_server.rpc.checks import Checker
from scheduler_server.rpc.config_effect import Replay
from scheduler_server.rpc.configuring import NOT_KEPT, Configuring, refusals
from scheduler_server.rpc.errors import Refused
from scheduler_server.rpc.paging import Position
from scheduler_server.rpc.shell import Shell
from scheduler_server.storage.decision_log import Span

MOST_REPLAYED = 10_000

_DEFAULTS = {"task_type": "predictor.type_defaults_ms", "category": "predictor.category_defaults_ms"}


class ConfigCalls:
    """Each method: check the message, propose, commit, encode the answer. What can be refused is told by exception."""

    def __init__(self, configuring: Configuring, shell: Shell) -> None:
        self.configuring = configuring
        self._live = configuring.live
        self._shell = shell
        self._core = shell.core
        self.draining = False

    @property
    def running(self) -> Any:
        """The settings in force."""
        return self._live.running

    @property
    def profile(self) -> str:
        """The profile in force."""
        named: str = self._live.running.profile
        return named

    # ------------------------------------------------------------------ seen

    async def GetConfig(
        self, request: admin_service_pb2.GetConfigRequest, context: Any
    ) -> admin_service_pb2.GetConfigResponse:
        """The settings, each with its origin."""
        live = self._live
        checker = Checker()
        for at, name in enumerate(request.names):
            checker.text(f"names[{at}]", name, required=True)
        checker.done()
        paths: dict[str, None] = {}
        for name in request.names:
            named = live.named(name)
            if not named:
                raise Refused(Refusal(Reason.SETTING_UNKNOWN, live.unknown(name), (("name", name),)))
            paths |= dict.fromkeys(named)
        revision = self._revision(request.revision) if request.revision else None
        response = admin_service_pb2.GetConfigResponse(revision=live.revision if revision is None else revision.number)
        values = live.history.values if revision is None else live.history.values_at(revision.number)
        for path, option in sorted(live.options.items()):
            if paths and path not in paths:
                continue
            origin = live.origin(path) if revision is None else self._origin_then(path, revision)
            message = admin_service_pb2.Setting()
            config_view.fill_setting(message, live, option, values.get(path), origin)
            unchanged = live.wanted.value(path) if option.setting.secret else values.get(path)
            if request.changed_only and plain(unchanged) == plain(option.default):
                continue
            response.settings.append(message)
        if revision is None:
            response.awaiting_restart.extend(sorted(live.awaiting_restart))
        return response

    def _origin_then(self, path: str, revision: Revision) -> Origin:
        """Where a value of an older revision came from, as far as that is kept."""
        if path in revision.overlay:
            changed = [
                each.number for each in self._live.history if any(path == change.path for change in each.changes)
            ]
            since = max((number for number in changed if number <= revision.number), default=revision.number)
            return Origin(Source.UPDATE, f"revision {since}")
        origin = self._live.wanted.origins[path]
        return DEFAULT if origin.source is Source.UPDATE else origin

    def _revision(self, number: int) -> Revision:
        found = self._live.history.find(number)
        if found is None:
            message = f"revision {number} is not kept"
            kept = [each.number for each in self._live.history]
            if kept:
                message += f"; of the last {len(kept):,} the oldest is {kept[0]}, the newest {kept[-1]}"
            raise Refused(Refusal(Reason.REVISION_UNKNOWN, message, (("revision", str(number)),)))
        return found

    async def ListConfigHistory(
        self, request: admin_service_pb2.ListConfigHistoryRequest, context: Any
    ) -> admin_service_pb2.ListConfigHistoryResponse:
        """Revisions, newest first."""
        checker = Checker()
        wanted = self._named(checker, request.names)
        span = ranges.read(checker, request.range) if request.HasField("range") else Span()
        size = paging.size(checker, request.page_size)
        checker.done()
        bound_to = paging.scope(self._core.incarnation, request)
        after = paging.read_token(bound_to, request.page_token)
        response = admin_service_pb2.ListConfigHistoryResponse()
        written = 0
        for revision in reversed(list(self._live.history)):
            if (after is not None and revision.number >= after.value) or not _within(span, revision.at):
                continue
            if wanted and not wanted.intersection(change.path for change in revision.changes):
                continue
            if len(response.revisions) >= size or written > paging.MAX_PAGE_BYTES:
                last = response.revisions[-1].revision
                response.next_page_token = paging.write_token(bound_to, Position(0, float(last), ""))
                break
            message = response.revisions.add()
            config_view.fill_revision(message, self._live, revision)
            written += message.ByteSize()
        return response

    def _named(self, checker: Checker, names: Iterable[str]) -> set[str]:
        wanted: set[str] = set()
        gone = {change.path for revision in self._live.history for change in revision.changes}
        for at, name in enumerate(names):
            found = self._live.named(name) or [path for path in gone if path == name]  # what a version had once
            if not found:
                checker.fault(f"names[{at}]", self._live.unknown(name))
            wanted.update(found)
        return wanted

    # ------------------------------------------------------------------ changed

    async def UpdateConfig(
        self, request: admin_service_pb2.UpdateConfigRequest, context: Any
    ) -> admin_service_pb2.UpdateConfigResponse:
        """Change settings."""
        checker = Checker()
        checker.text("reason", request.reason, limit=checks.MAX_DETAIL)
        checker.count("replay_decisions", request.replay_decisions, 0, MOST_REPLAYED)
        if request.replay_decisions and not request.dry_run:
            checker.fault("replay_decisions", "only with dry_run: what is done is not tried")
        values = {name: config_view.plain_of(value) for name, value in request.values.items()}
        back = self._masked(checker, values, request.update_mask)
        if checker.faults:
            self._other_faults(checker, values)
        checker.done()
        self._refuse_when_draining()
        async with self._turn(request):
            self.configuring.check_base(request.based_on_revision)
            try:
                proposal = self._live.propose(values, back)
            except ConfigError as error:
                raise config_view.faults_of(error, values) from None
            response = admin_service_pb2.UpdateConfigResponse()
            await self._carry_out(request, response, proposal)
        return response

    def _masked(self, checker: Checker, values: dict[str, object], mask: Iterable[str]) -> list[str]:
        """What goes back to what was loaded; faults for names that there are not, or that the mask does not cover."""
        live = self._live
        covered: set[str] = set()
        for at, name in enumerate(mask):
            found = live.named(name)
            if not found:
                why = "has commas: each name is an entry of its own" if "," in name else live.unknown(name)
                checker.fault(f"update_mask[{at}]", why)
            covered.update(found)
        for name in sorted(values):
            if name not in live.options:
                checker.fault(f"values[{name}]", live.unknown(name))
            elif mask and name not in covered:
                checker.fault(f"values[{name}]", "is not covered by update_mask")
            elif values[name] is None and not live.options[name].type.optional:
                checker.fault(f"values[{name}]", "is null: to go back to what was loaded, name it in update_mask alone")
        if not values and not mask:
            checker.fault("values", "names no setting, and neither does update_mask")
        return sorted(covered - values.keys())

    def _other_faults(self, checker: Checker, values: dict[str, object]) -> None:
        """What is wrong with the settings that there are: all that is wrong is told at once."""
        try:
            named = {fault.field for fault in checker.faults}
            others = {name: value for name, value in values.items() if f"values[{name}]" not in named}
            self._live.propose(others)
        except ConfigError as error:
            checker.faults += config_view.faults_of(error, values).faults

    async def RollbackConfig(
        self, request: admin_service_pb2.RollbackConfigRequest, context: Any
    ) -> admin_service_pb2.RollbackConfigResponse:
        """The values of an older revision, as a new one."""
        checker = Checker()
        checker.text("reason", request.reason, limit=checks.MAX_DETAIL)
        if not request.revision:
            checker.fault("revision", "is required")
        checker.done()
        self._refuse_when_draining()
        async with self._turn(request):
            self.configuring.check_base(request.based_on_revision)
            self._revision(request.revision)
            try:
                proposal = self._live.propose_back_to(request.revision)
            except ConfigError as error:
                raise config_view.faults_of(error, {}) from None
            assert proposal is not None  # noqa: S101 -- it is kept: looked up just now
            response = admin_service_pb2.RollbackConfigResponse()
            await self._carry_out(request, response, proposal, request.revision)
        return response

    async def _carry_out(self, request: Any, response: Any, proposal: Proposal[Any], back_to: int = 0) -> None:
        """Refuse it, try it, or do it; and say what it is."""
        configuring, live = self.configuring, self._live
        judged = configuring.judged(proposal)
        response.warnings.extend(judged.warnings)
        for change in proposal.changes:
            config_view.fill_change(response.changes.add(), live, change)
        if configuring.store is None:
            response.warnings.append(NOT_KEPT)
        if proposal.restart:
            response.warnings.append(f"at the next start only: {', '.join(proposal.restart)}")
        if request.dry_run:
            given = {Reason.CONFIG_HARMFUL: "force", Reason.RESTART_NEEDED: "accept_restart"}
            for refusal in refusals(proposal, judged):
                meant = getattr(request, given[refusal.reason])
                said = "sent" if meant else "not sent, so this would be refused"
                response.warnings.append(f"{refusal.reason.value}: {refusal.message} ({said})")
            if getattr(request, "replay_decisions", 0):
                replay = Replay(self._shell, proposal.running.core())
                await replay.run(request.replay_decisions)
                replay.fill(response.effect, judged.changed_health)
                response.warnings.extend(replay.notes())
        elif proposal.changes:
            configuring.refuse(proposal, judged, force=request.force, accept_restart=request.accept_restart)
            await configuring.commit(proposal, CALLER.get().identity, request.reason, back_to)
        response.revision = live.revision
        config_view.fill_policy(response.policy, self._core, proposal.running.profile, proposal.running.core())
        response.policy.shadow_policies.extend(proposal.running.shadow.policies)

    async def SetPredictionDefault(
        self, request: admin_service_pb2.SetPredictionDefaultRequest, context: Any
    ) -> admin_service_pb2.SetPredictionDefaultResponse:
        """The duration assumed for a type or category while nothing is known of it."""
        checker = Checker()
        for field in ("task_type", "category"):
            checker.text(field, getattr(request, field))
        if bool(request.task_type) == bool(request.category):
            checker.fault("task_type", "exactly one of task_type and category is required")
        checker.text("reason", request.reason, limit=checks.MAX_DETAIL)
        duration_ms = None
        if request.HasField("duration"):
            span = request.duration
            duration_ms = 1_000.0 * checker.span_s("duration", span.seconds, span.nanos, above_zero=True)
            if not checker.faults and duration_ms > LONGEST_MS:
                checker.fault("duration", f"must be at most a year (got {duration_ms / 1_000.0:g} s)")
        checker.done()
        self._refuse_when_draining()
        field = "task_type" if request.task_type else "category"
        path, name = _DEFAULTS[field], getattr(request, field)
        async with self.configuring.changing:
            self.configuring.check_base(request.based_on_revision)
            table: dict[str, object] = dict(cast(Mapping[str, object], self._live.wanted.value(path)))
            table.pop(name, None)
            if duration_ms is not None:
                table[name] = duration_ms
            try:
                proposal = self._live.propose({path: table})
            except ConfigError as error:
                raise config_view.faults_of(error, {}) from None
            if proposal.changes:
                await self.configuring.commit(proposal, CALLER.get().identity, request.reason)
        response = admin_service_pb2.SetPredictionDefaultResponse(revision=self._live.revision)
        predictor = self._core.settings.predictor
        defaults = predictor.type_defaults_ms if request.task_type else predictor.category_defaults_ms
        encode.set_span(response.duration, defaults.get(name, predictor.default_ms) / 1_000.0)
        return response

    # ------------------------------------------------------------------ shared

    def _turn(self, request: Any) -> AbstractAsyncContextManager[object]:
        """One change at a time; what is only tried holds nobody up."""
        return nullcontext() if request.dry_run else self.configuring.changing

    def _refuse_when_draining(self) -> None:
        if self.draining:
            raise Refused(Refusal(Reason.SERVER_DRAINING, "the server is going down; nothing was done"))


def _within(span: Span, at: float) -> bool:
    return (span.start is None or at >= span.start) and (span.end is None or at < span.end)
