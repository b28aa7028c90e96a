"""A worker's messages to events. What is wrong is told by field path, all at once, and changes nothing.

As with requests (`decode.py`), the usual heartbeat has a way of its own.
"""

from collections.abc import Sequence

from scheduler_api.v1 import worker_pb2
from scheduler_server.assignment.events import Connect, Heartbeat
from scheduler_server.model.outcome import Outcome, OutcomeStatus
from scheduler_server.model.worker import (
    Epoch,
    Intent,
    LeaseReport,
    Registration,
    ReportKind,
    RunningLease,
    Sample,
)
from scheduler_server.rpc import checks
from scheduler_server.rpc.calendars import calendar_of
from scheduler_server.rpc.checks import Checker
from scheduler_server.rpc.decode import outcome_of


def connect(message: worker_pb2.WorkerHeartbeat, session: int, wall: float) -> Connect:
    """A stream's first heartbeat."""
    checker = Checker()
    has_registration = message.HasField("registration")
    if not message.worker_id and not has_registration:
        checker.fault("worker_id", "is required, unless a registration asks the server to make one")
    checker.text("worker_id", message.worker_id)
    registration = _registration(message.registration, checker, wall) if has_registration else None
    epoch = None
    if message.HasField("epoch"):
        checker.text("epoch.boot_id", message.epoch.boot_id, required=True)
        epoch = Epoch(message.epoch.boot_id, message.epoch.connection)
        # The server goes on counting from here where the worker later says nothing, so there must be room above.
        checker.count("epoch.connection", epoch.connection, 1, checks.MAX_CONNECTION)
    sample = _sample(message, wall, checker)
    checker.done()
    return Connect(session, message.worker_id, epoch, registration, sample)


def heartbeat(message: worker_pb2.WorkerHeartbeat, session: int, worker_id: str, wall: float) -> Heartbeat:
    """A later heartbeat of the session of `worker_id`."""
    cpu, memory, depth = message.cpu_usage, message.memory_usage, message.queue_depth
    timestamp = message.timestamp_ms
    same = message.worker_id == worker_id
    if (
        same
        and 0.0 <= cpu <= 1.0
        and 0.0 <= memory <= 1.0
        and 0 <= depth <= checks.MAX_QUEUE_DEPTH
        and 0 <= timestamp <= (wall + checks.MAX_CLOCK_AHEAD_S) * 1_000.0
        and not message.HasField("registration")
        and 0 <= message.intent <= _WORK
        and not message.probe_nonce
        and not message.drain_id
    ):
        running = _running(message.running, None) if message.HasField("running") else None
        reports = _usual(message.reports) if message.reports else ()
        if reports is not None and (running is not None or not message.HasField("running")):
            return Heartbeat(
                session,
                Sample(
                    round(cpu, 6), round(memory, 6), depth, timestamp, message.sequence, Intent.WORK, running, reports,
                ),
            )  # fmt: skip
    checker = Checker()
    if not same and message.worker_id:
        checker.fault(
            "worker_id", f"is {message.worker_id[: checks.MAX_TEXT]!r}, but this stream is that of {worker_id!r}"
        )
    registration = _registration(message.registration, checker, wall) if message.HasField("registration") else None
    sample = _sample(message, wall, checker)
    checker.done()
    return Heartbeat(session, sample, registration)


def _sample(message: worker_pb2.WorkerHeartbeat, wall: float, checker: Checker) -> Sample:
    timestamp = message.timestamp_ms
    if timestamp < 0:
        checker.fault("timestamp_ms", f"must not be negative (got {timestamp})")
    elif timestamp > (wall + checks.MAX_CLOCK_AHEAD_S) * 1_000.0:
        checker.fault("timestamp_ms", f"is more than a day in the future (got {timestamp}); it counts milliseconds")
    intent = checker.choice("intent", message.intent or Intent.WORK, _INTENTS, "WorkerIntent")
    if len(message.reports) > checks.MAX_ITEMS:
        checker.fault("reports", f"has {len(message.reports):,} entries; the limit is {checks.MAX_ITEMS:,}")
        reports: tuple[LeaseReport, ...] = ()
    else:
        reports = tuple(_report(each, f"reports[{at}]", checker) for at, each in enumerate(message.reports))
    checker.text("probe_nonce", message.probe_nonce)
    checker.text("drain_id", message.drain_id)
    return Sample(
        checker.share("cpu_usage", message.cpu_usage),
        checker.share("memory_usage", message.memory_usage),
        checker.count("queue_depth", message.queue_depth, 0, checks.MAX_QUEUE_DEPTH),
        timestamp,
        message.sequence,
        Intent(intent) if intent in _INTENTS else Intent.WORK,
        _running(message.running, checker) if message.HasField("running") else None,
        reports,
        message.probe_nonce,
        message.drain_id,
    )


def _running(message: worker_pb2.RunningLeases, checker: Checker | None) -> tuple[RunningLease, ...] | None:
    """A running list. Without a checker, None where anything is wrong with it, for the careful way to say what."""
    leases = message.leases
    if len(leases) > checks.MAX_LEASES:
        if checker is None:
            return None
        checker.fault("running.leases", f"has {len(leases):,} entries; the limit is {checks.MAX_LEASES:,}")
        return ()
    listed = []
    for at, lease in enumerate(leases):
        lease_id = lease.lease_id
        if not (0 < len(lease_id) <= checks.MAX_TEXT and lease_id.isprintable()):
            if checker is None:
                return None
            checker.text(f"running.leases[{at}].lease_id", lease_id, required=True)
        elapsed_ms = None
        if lease.HasField("elapsed"):
            span = lease.elapsed
            if checker is not None:
                elapsed_ms = checker.span_s(f"running.leases[{at}].elapsed", span.seconds, span.nanos) * 1_000.0
            elif 0 <= span.seconds < checks.MAX_SPAN_S and 0 <= span.nanos <= 999_999_999:  # noqa: PLR2004 -- nanoseconds short of a second
                elapsed_ms = span.seconds * 1e3 + span.nanos / 1e6
            else:
                return None
        listed.append(RunningLease(lease_id, elapsed_ms))
    if len(listed) > 1:  # named twice it is still one lease
        listed = list({lease.lease_id: lease for lease in listed}.values())
    return tuple(listed)


def _usual(messages: Sequence[worker_pb2.LeaseReport]) -> tuple[LeaseReport, ...] | None:
    """Reports of what nearly every task goes through; None where one says something else, for the careful way."""
    if len(messages) > checks.MAX_ITEMS:
        return None
    reports = []
    for message in messages:
        lease_id = message.lease_id
        kind = _USUAL.get(message.WhichOneof("fact"))
        if kind is None or not (0 < len(lease_id) <= checks.MAX_TEXT and lease_id.isprintable()):
            return None
        outcome = None
        if kind is ReportKind.FINISHED:
            finished = message.finished
            span = finished.duration
            seconds, nanos = span.seconds, span.nanos
            if not (
                finished.status == _SUCCEEDED
                and 0 <= seconds < checks.MAX_SPAN_S
                and 0 <= nanos <= checks.MAX_NANOS
                and len(finished.result) <= checks.MAX_PAYLOAD_BYTES
            ) or (finished.error_message or finished.error_kind):
                return None
            duration_ms = seconds * 1e3 + nanos / 1e6 if finished.HasField("duration") else None
            outcome = Outcome(OutcomeStatus.SUCCEEDED, duration_ms, "", "", finished.result)
        reports.append(LeaseReport(lease_id, kind, outcome))
    return tuple(reports)


def _report(message: worker_pb2.LeaseReport, at: str, checker: Checker) -> LeaseReport:
    checker.text(f"{at}.lease_id", message.lease_id, required=True)
    fact = message.WhichOneof("fact")
    if fact is None:
        checker.fault(at, "says nothing: set acknowledged, started, finished, declined or returned")
        return LeaseReport(message.lease_id, ReportKind.ACKNOWLEDGED)
    if fact == "finished":
        outcome = outcome_of(message.finished, f"{at}.finished", checker)
        return LeaseReport(message.lease_id, ReportKind.FINISHED, outcome)
    detail = ""
    if fact == "declined":
        detail = message.declined.reason
        if len(detail) > checks.MAX_DETAIL:
            checker.fault(
                f"{at}.declined.reason", f"has {len(detail):,} characters; the limit is {checks.MAX_DETAIL:,}"
            )
    return LeaseReport(message.lease_id, ReportKind[fact.upper()], None, detail)


def _registration(message: worker_pb2.WorkerRegistration, checker: Checker, wall: float) -> Registration:
    at = "registration."
    for name, value in (
        ("node", message.node),
        ("worker_type", message.worker_type),
        ("software", message.software),
    ):
        checker.text(f"{at}{name}", value)
    slots = None
    if message.HasField("max_concurrent_tasks"):
        slots = checker.count(f"{at}max_concurrent_tasks", message.max_concurrent_tasks, 1, checks.MAX_SLOTS)
    prefetch = None
    if message.HasField("prefetch"):
        prefetch = checker.count(f"{at}prefetch", message.prefetch, 0, checks.MAX_SLOTS)
    calendar = None
    if message.HasField("calendar"):
        calendar = calendar_of(message.calendar, f"{at}calendar", checker, wall, slots or checks.MAX_SLOTS)
    accept_within_s = None
    if message.HasField("accept_within"):
        span = message.accept_within
        accept_within_s = checker.span_s(f"{at}accept_within", span.seconds, span.nanos, above_zero=True)
    return Registration(
        message.node,
        checker.names(f"{at}capabilities", message.capabilities),
        checker.names(f"{at}specializations", message.specializations),
        message.worker_type,
        slots,
        checker.pairs(f"{at}labels", message.labels.items()),
        message.accepts_tasks,
        message.reports_outcomes,
        message.software,
        prefetch=prefetch,
        calendar=calendar,
        accept_within_s=accept_within_s,
    )


_USUAL: dict[str | None, ReportKind] = {
    "acknowledged": ReportKind.ACKNOWLEDGED,
    "started": ReportKind.STARTED,
    "finished": ReportKind.FINISHED,
}
_SUCCEEDED: int = OutcomeStatus.SUCCEEDED.value
_WORK: int = Intent.WORK.value
_INTENTS = frozenset(each.value for each in Intent)
