"""Runs scenarios: prose, commands, and below each command what the core answered.

A line that starts with `#` is prose, an indented line is transcript, any other line is a command:

    at 1.5 connect w1 slots=2 caps=gpu

Seconds count from the scenario's start. Between commands the core gets every tick that it asks for, and what those
cause stands under the command that waited for them, with its second in front. `settings` and `scorer` lines come first.

    connect W [slots= caps= specs= labels=k:v accepts reports bare epoch=boot/1]  and everything that beat takes
    beat W [session= depth= cpu= memory= running=lease:ms,lease timestamp= sequence= intent=
            reports=acknowledged:lease,started:lease,finished:lease:ms,cancelled:lease,declined:lease,returned:lease
            drain=]  and a registration's words
    disconnect W    remove W    leave what W had open: stale heartbeats name their session
    submit T [tenant= attempt= type= category= priority= needs= exclude= match=k:v stream
              wait=seconds (its call has the next ticket) enqueue not_before=second start_by=second]
    abandon TICKET    withdraw T [attempt=]    where T (its prospects)    order NAME
    drain D [workers=w,w labels=k:pattern by=second then=leave|cancel|lose reason=]    undrain D    drains
    outcome LEASE [ms]    fail LEASE    cancel T [attempt= lease=]
    publish TYPE MS [as_of=seconds]    slow SECONDS (what predictor and scorer take from now on)
    show W|T        restart (snapshot and journal into a new core)        pass
"""

import json
from dataclasses import fields, replace
from math import inf
from typing import Any

from scheduler_server.assignment.drain_record import drain_of, line_of, to_bytes
from scheduler_server.assignment.effects import (
    Acked,
    AskBack,
    CancelReply,
    DrainForgotten,
    DrainLeft,
    DrainMoved,
    DrainSent,
    DrainStands,
    Effect,
    Ended,
    ForgetReply,
    Goodbye,
    Granted,
    HandOver,
    Moved,
    OrderReply,
    OutcomeReply,
    PriorityReply,
    ProbeSent,
    Published,
    Queued,
    Rebalanced,
    Recall,
    RemoveReply,
    Reply,
    Resolved,
    SessionRefused,
    Stands,
    ToldLate,
    Unqueued,
    Welcomed,
)
from scheduler_server.assignment.events import (
    Abandon,
    Cancel,
    Disconnect,
    DrainEnded,
    DrainOrdered,
    Heartbeat,
    Publish,
    RemoveWorker,
    Submit,
    Tick,
    Withdraw,
)
from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.assignment.state import lease_to_bytes, restore_lease, restore_waiting, waiting_to_bytes
from scheduler_server.model.drain import AtDeadline, DrainOrder
from scheduler_server.model.outcome import Outcome, OutcomeStatus
from scheduler_server.model.prediction import Prediction
from scheduler_server.model.refusal import Refusal
from scheduler_server.model.task import Delivery, Prospects, Task
from scheduler_server.model.worker import Intent, LeaseReport, Registration, ReportKind, RunningLease, Sample
from scheduler_server.predictor.ema import EmaPredictor
from scheduler_server.predictor.published import PublishedPredictor
from scheduler_server.settings import PROFILES
from tests.unit.assignment.rig import START_S, WALL_S, Rig, make_sample

Words = dict[str, str]


def run(text: str) -> str:
    """The scenario with the transcript that it has now."""
    return _Scenario().run(text)


class _Scenario:
    def __init__(self) -> None:
        self._settings = CoreSettings()
        self._scorer = "weighted"
        self._incarnations = iter("abcdefgh")
        self._rig: Rig | None = None
        self._lines: list[str] = []
        self._worker_of: dict[int, str] = {}
        self._tickets = 0

    def run(self, text: str) -> str:
        for line in text.splitlines():
            if line.startswith("  "):
                continue
            self._lines.append(line)
            words = line.split()
            if words and not line.startswith("#"):
                self._command(words)
        return "\n".join(self._lines) + "\n"

    def _command(self, words: list[str]) -> None:
        if words[0] == "settings":
            self._set(words[1:])
            return
        if words[0] == "scorer":
            self._scorer = words[1]
            return
        assert words[0] == "at", f"no command: {' '.join(words)}"
        rig = self._rig = self._rig or self._make(START_S)
        self._wait(rig, START_S + float(words[1]))
        verb = getattr(self, f"_{words[2]}")
        named: Words = {}
        plain: list[str] = []
        for word in words[3:]:
            name, equals, value = word.partition("=")
            if equals:
                named[name] = value
            else:
                plain.append(word)
        verb(rig, plain, named)

    def _set(self, words: list[str]) -> None:
        for word in words:
            if word == "slow":
                pairs = [(name.split(".")[1], value) for name, value in PROFILES["slow"].items()]
                health = replace(self._settings.health, **dict(pairs))  # type: ignore[arg-type]
                self._settings = replace(self._settings, health=health)
                continue
            path, _, value = word.partition("=")
            part, _, name = path.partition(".")
            section: Any = getattr(self._settings, part)
            kind = type(getattr(section, name))
            assert name in {field.name for field in fields(section)}
            self._settings = replace(self._settings, **{part: replace(section, **{name: kind(value)})})

    def _make(self, at: float) -> Rig:
        table = PublishedPredictor("table", EmaPredictor(self._settings.predictor))
        return Rig(
            self._settings, scorer=self._scorer, predictor=table, start_s=at, incarnation=next(self._incarnations)
        )

    def _wait(self, rig: Rig, until: float) -> None:
        while rig.core.next_deadline() < until:
            rig.t = max(rig.t, rig.core.next_deadline())
            for line in map(told, rig.give(Tick())):
                self._lines.append(f"  {rig.t - START_S:g}: {line}" if line else "")
            self._lines = [line for at, line in enumerate(self._lines) if line or at < len(self._lines) - 1]
        rig.t = max(rig.t, until)

    def _tell(self, rig: Rig) -> None:
        self._lines += [f"  {line}" for line in map(told, rig.out) if line]

    # ------------------------------------------------------------------ workers

    def _connect(self, rig: Rig, plain: list[str], named: Words) -> None:
        boot, _, connection = named.get("epoch", "").partition("/")
        rig.connect(
            plain[0] if plain[0] != "-" else "",
            bare="bare" in plain,
            epoch=(boot, int(connection)) if boot else None,
            registration=None if "bare" in plain else _registration(plain, named),
            sample=_sample(named),
        )
        self._tell(rig)

    def _beat(self, rig: Rig, plain: list[str], named: Words) -> None:
        session = int(named.get("session", rig.session_of[plain[0]]))
        says = {"slots", "caps", "specs", "labels"} & named.keys()
        rig.give(Heartbeat(session, _sample(named), _registration(plain, named) if says else None))
        self._tell(rig)

    def _disconnect(self, rig: Rig, plain: list[str], named: Words) -> None:
        rig.give(Disconnect(rig.session_of[plain[0]]))
        self._tell(rig)

    def _remove(self, rig: Rig, plain: list[str], named: Words) -> None:
        rig.give(RemoveWorker(plain[0]))
        self._tell(rig)

    # ------------------------------------------------------------------ tasks

    def _submit(self, rig: Rig, plain: list[str], named: Words) -> None:
        task = Task(
            tenant=named.get("tenant", ""),
            task_id=plain[0],
            attempt=int(named.get("attempt", "1")),
            task_type=named.get("type", "type"),
            category=named.get("category", ""),
            priority=float(named.get("priority", "0.5")),
            required=_names(named.get("needs")),
            excluded=_names(named.get("exclude")),
            labels=_pairs(named.get("match")),
            not_before=_wall(named.get("not_before")),
            start_by=_wall(named.get("start_by")),
        )
        delivery = Delivery.STREAM if "stream" in plain else Delivery.CALLER
        wait_s = float(named["wait"]) if "wait" in named else None
        self._tickets += wait_s is not None
        rig.give(Submit(task, delivery, False, wait_s, "enqueue" in plain, self._tickets))
        self._tell(rig)

    def _abandon(self, rig: Rig, plain: list[str], named: Words) -> None:
        rig.give(Abandon(int(plain[0])))
        self._tell(rig)

    def _withdraw(self, rig: Rig, plain: list[str], named: Words) -> None:
        rig.give(Withdraw("", plain[0], int(named.get("attempt", "1"))))
        self._tell(rig)

    def _where(self, rig: Rig, plain: list[str], named: Words) -> None:
        waiter = rig.core.queue.waiting.by_task.get((named.get("tenant", ""), plain[0]))
        self._lines.append(f"  {_stands(rig.core.queue.prospects(rig.now, waiter))}" if waiter else "  does not wait")

    def _order(self, rig: Rig, plain: list[str], named: Words) -> None:
        core = rig.core
        core.queue.reconfigure(rig.now, replace(self._settings.queue, order=plain[0]), "balanced", core.predictor)
        rig.give(Tick())
        self._tell(rig)

    def _outcome(self, rig: Rig, plain: list[str], named: Words) -> None:
        rig.end(plain[0], duration_ms=float(plain[1]) if len(plain) > 1 else None)
        self._tell(rig)

    def _fail(self, rig: Rig, plain: list[str], named: Words) -> None:
        rig.end(plain[0], OutcomeStatus.FAILED)
        self._tell(rig)

    def _cancel(self, rig: Rig, plain: list[str], named: Words) -> None:
        rig.give(Cancel("", plain[0], int(named.get("attempt", "1")), named.get("lease", "")))
        self._tell(rig)

    def _publish(self, rig: Rig, plain: list[str], named: Words) -> None:
        value = float(plain[1])
        as_of = START_S + float(named["as_of"]) if "as_of" in named else inf
        entry = Prediction(value, value, value, value, 0.9, 10, f"type={plain[0]}", "table", as_of)
        rig.give(Publish(((plain[0], entry),)))
        self._tell(rig)

    # ------------------------------------------------------------------ drains

    def _drain(self, rig: Rig, plain: list[str], named: Words) -> None:
        order = DrainOrder(
            plain[0],
            _names(named.get("workers")),
            _pairs(named.get("labels")),
            _wall(named.get("by")),
            AtDeadline[named.get("then", "leave").upper()],
            named.get("reason", ""),
            "operator",
            rig.now.wall,
        )
        rig.give(DrainOrdered(order))
        self._tell(rig)

    def _undrain(self, rig: Rig, plain: list[str], named: Words) -> None:
        rig.give(DrainEnded(plain[0]))
        self._tell(rig)

    def _drains(self, rig: Rig, plain: list[str], named: Words) -> None:
        rig.give(Tick())
        self._tell(rig)
        for name, drain in rig.core.drains.drains.items():
            returned, finished, stopped = drain.counts
            lines = ", ".join(
                f"{line.worker_id} {line.left}{' noted' if line.acknowledged else ''}" for line in drain.lines.values()
            )
            self._lines.append(
                f"  {name}: {drain.state.name.lower()}, {drain.left} left, {returned} returned, {finished} finished,"
                f" {stopped} stopped; {lines or 'no workers'}"
            )

    # ------------------------------------------------------------------ the rest

    def _slow(self, rig: Rig, plain: list[str], named: Words) -> None:
        rig.watch.step_s = float(plain[0])
        rig.watch.reads = 0.0  # at 0 the difference of two readings is the step, to the last bit

    def _pass(self, rig: Rig, plain: list[str], named: Words) -> None:
        rig.give(Tick())
        self._tell(rig)

    def _show(self, rig: Rig, plain: list[str], named: Words) -> None:
        record = rig.core.fleet.records.get(plain[0])
        task = rig.core.task("", plain[0], 0)
        if record is not None:
            self._lines.append(
                f"  {record.worker_id}: {record.health.name.lower()}, {record.status.name.lower()},"
                f" {record.accounting.name.lower()}, {record.free} of {record.slots} free, load {record.load:g},"
                f" freshness {record.freshness:g}, {record.completed} completed, {record.failed} failed"
            )
        elif task is not None:
            self._lines.append(f"  attempt {task.task.attempt}: {task.state.name.lower()} on {task.worker_id}")
        else:
            self._lines.append("  not known")

    def _restart(self, rig: Rig, plain: list[str], named: Words) -> None:
        kept = [json.loads(json.dumps(record)) for record in rig.core.snapshot(rig.now)]
        leases = [lease_to_bytes(record) for record in rig.core.ledger.leases.values() if record.live]
        waiting = [waiting_to_bytes(each) for each in rig.core.queue.waiting.by_task.values() if each.enqueued]
        new = self._rig = self._make(rig.t)
        new._start_s = START_S
        new._sessions = rig._sessions
        faults = new.core.restore(new.now, kept)
        for body in leases:
            restore_lease(new.core, new.now, body)
        drains = rig.core.drains.drains.values()
        for drain in drains:
            new.core.drains.restore(drain_of(to_bytes(drain.kept())))
        for line in (line for drain in drains for line in drain.lines.values()):
            new.core.drains.restore_line(line_of(to_bytes(line.kept())))
        new.core.drains.restored(new.now, new.t + self._settings.health.restart_grace_s)
        for body in waiting:
            restore_waiting(new.core, new.now, body)
        also = f", {len(waiting)} waiting" if waiting else ""
        also += f", {len(drains)} drains" if drains else ""
        self._lines += [f"  {len(kept)} records, {len(leases)} leases{also}", *(f"  {fault}" for fault in faults)]


# ---------------------------------------------------------------------- words to values


def _names(word: str | None) -> tuple[str, ...]:
    return tuple(sorted(word.split(","))) if word else ()


def _pairs(word: str | None) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, _, value in (each.partition(":") for each in _names(word)))


def _wall(second: str | None) -> float | None:
    return None if second is None else WALL_S + float(second)


def _registration(plain: list[str], named: Words) -> Registration:
    return Registration(
        slots=int(named["slots"]) if "slots" in named else None,
        capabilities=_names(named.get("caps")),
        specializations=_names(named.get("specs")),
        labels=_pairs(named.get("labels")),
        accepts_tasks="accepts" in plain,
        reports_outcomes="reports" in plain,
    )


def _sample(named: Words) -> Sample:
    running = None
    if "running" in named:
        listed = [each.partition(":") for each in named["running"].split(",") if each]
        running = tuple(RunningLease(lease, float(ms) if ms else None) for lease, _, ms in listed)
    reports = []
    for each in named.get("reports", "").split(","):
        kind, *rest = each.split(":")
        if kind == "finished":
            outcome = Outcome(OutcomeStatus.SUCCEEDED, float(rest[1]))
            reports.append(LeaseReport(rest[0], ReportKind.FINISHED, outcome))
        elif kind == "cancelled":
            reports.append(LeaseReport(rest[0], ReportKind.FINISHED, Outcome(OutcomeStatus.CANCELLED, None)))
        elif kind:
            reports.append(LeaseReport(rest[0], ReportKind[kind.upper()]))
    return make_sample(
        cpu=float(named.get("cpu", "0")),
        memory=float(named.get("memory", "0")),
        queue_depth=int(named.get("depth", "0")),
        timestamp_ms=int(named.get("timestamp", "0")),
        sequence=int(named.get("sequence", "0")),
        intent=Intent[named.get("intent", "work").upper()],
        running=running,
        reports=tuple(reports),
        drain_id=named.get("drain", ""),
    )


# ---------------------------------------------------------------------- effects to words


_OF_DRAINS = (DrainStands, DrainMoved, DrainLeft, DrainForgotten)


def told(effect: Effect) -> str:
    """One effect in a line; empty for those that only journal what another one tells."""
    if isinstance(effect, (Granted, HandOver, Welcomed, Acked, Recall, ProbeSent, DrainSent, Goodbye, SessionRefused)):
        return _sent(effect)
    if isinstance(effect, Published):
        event = effect.event
        moved = f" ({event.before} -> {event.after})" if event.before or event.after else ""
        return f"event {event.kind.name} {event.worker_id}{': ' if event.detail else ''}{event.detail}{moved}"
    if isinstance(effect, Ended):
        record = effect.record
        return f"ended {record.lease_id} of {record.task.task_id}: {record.state.name.lower()}"
    if isinstance(effect, (ToldLate, AskBack, Rebalanced, Stands, OrderReply, PriorityReply, ForgetReply, *_OF_DRAINS)):
        return ""  # a reply or an event says so, or `drains`
    if isinstance(effect, (Moved, Queued, Unqueued, Resolved)):
        return _waited(effect)
    if effect.refusal is not None:
        return f"refused {_no(effect.refusal)}"
    if isinstance(effect, Reply):
        return _reply(effect)
    if isinstance(effect, OutcomeReply):
        return effect.result.name.lower()
    if isinstance(effect, CancelReply):
        return f"{effect.state.name.lower() if effect.state else ''}, worker {'' if effect.worker_told else 'not '}told"
    assert isinstance(effect, RemoveReply)
    return f"removed, {effect.leases_lost} leases lost"


def _reply(reply: Reply) -> str:
    again = "again: " if reply.replayed else ""
    if reply.waiting is not None:
        return f"{again}waits, {_stands(reply.waiting)}"
    decision = reply.decision
    assert decision is not None
    assert reply.state is not None
    ended = f", {reply.outcome.status.name.lower()}" if reply.outcome else ""
    tier = ", degraded" if decision.degraded else ""
    return (
        f"{again}{reply.state.name.lower()} on {decision.worker_id} as {decision.lease_id}:"
        f" {decision.source.name.lower()}, {decision.cause.name.lower()},"
        f" {decision.duration_ms:g} ms, score {decision.score:.3f}{tier}{ended}"
    )


def _waited(effect: Moved | Queued | Unqueued | Resolved) -> str:
    if isinstance(effect, Resolved):
        return f"call {effect.ticket}: {told(effect.reply)}"
    if isinstance(effect, Unqueued):
        why = "" if effect.ended is None else f": {effect.ended.state.name.lower()}"
        return f"{effect.waiter.event.task.task_id} waits no more{why}"
    return ""


def _stands(where: Prospects) -> str:
    starts = ""
    if where.start_p50 is not None and where.start_p90 is not None:
        starts = f", starts at {where.start_p50 - WALL_S:.3f}, at the latest {where.start_p90 - WALL_S:.3f}"
    return f"{where.position} ahead{starts}: {where.blocking.name.lower()}, {where.detail}"


def _no(refusal: Refusal) -> str:
    counts = "".join(f", {count} {reason.name.lower()}" for reason, count in refusal.rejections)
    retry = f"; again in {refusal.retry_after_s:g} s" if refusal.retry_after_s is not None else ""
    return f"{refusal.reason}: {refusal.message}{counts and f' [{counts[2:]}]'}{retry}"


def _sent(
    effect: Granted | HandOver | Welcomed | Acked | Recall | ProbeSent | DrainSent | Goodbye | SessionRefused,
) -> str:
    if isinstance(effect, Granted):
        return ""
    to = f"to session {effect.session}: "
    if isinstance(effect, SessionRefused):
        return f"{to}refused {effect.refusal.reason}: {effect.refusal.message}"
    if isinstance(effect, HandOver):
        return (
            f"{to}run {effect.task.task_id} as {effect.decision.lease_id}, acknowledge within {effect.ack_within_s:g} s"
        )
    if isinstance(effect, ProbeSent):
        return f"to session {effect.session}: probe {effect.nonce}"
    if isinstance(effect, Recall):
        return f"{to}stop {effect.lease_id}"
    if isinstance(effect, DrainSent):
        until = f" until {effect.deadline - WALL_S:g}" if effect.deadline is not None else ""
        return f"{to}drain {effect.drain_id}{until}" if effect.drain_id else f"{to}no drain"
    if isinstance(effect, Goodbye):
        back = "" if effect.reconnect_after_s is None else f", come back after {effect.reconnect_after_s:g} s"
        return f"{to}goodbye, {effect.reason.name}: {effect.message}{back}"
    verdicts = "".join(f", {verdict.name.lower()} {lease}" for lease, verdict in effect.verdicts)
    if isinstance(effect, Welcomed):
        return f"{to}welcome {effect.worker_id}, epoch {effect.boot_id or '-'}/{effect.connection}{verdicts}"
    refused = "".join(f", refused {lease}: {refusal.reason}" for lease, refusal in effect.refused)
    return f"{to}ack {effect.sequence}{verdicts}{refused}"
