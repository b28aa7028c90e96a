"""A queue service's messages to events. What is wrong is told by field path, all at once, and changes nothing.

Most fields of most tasks are absent, and reading one costs 0.1 us whether it is there or not, so the usual request has
a way of its own (`_plain`), and everything else goes the careful way, which is the specification of both.
"""

from collections.abc import Sequence
from typing import Any

from scheduler_api.v1 import schedule_service_pb2, task_pb2
from scheduler_server.assignment.events import Cancel, ReportOutcome, Submit
from scheduler_server.assignment.trail import NO_TRAIL
from scheduler_server.model.making import make
from scheduler_server.model.outcome import Outcome, OutcomeStatus
from scheduler_server.model.task import (
    DEFAULT_MAX_ATTEMPTS,
    DEFAULT_PRIORITY,
    Delivery,
    Hints,
    LossPolicy,
    Task,
)
from scheduler_server.model.trace import trace_of
from scheduler_server.rpc import checks
from scheduler_server.rpc.checks import Checker, Faults
from scheduler_server.rpc.errors import NotSupported

_REPORTABLE = frozenset(status.value for status in OutcomeStatus if status is not OutcomeStatus.LOST)
_FULL = schedule_service_pb2.EXPLANATION_VIEW_FULL
_MAX_TEXT = checks.MAX_TEXT

MAX_WAIT_S = 3_600.0
"""A call held longer is better off with enqueue: what holds it is a connection, and those break."""


def submit(request: schedule_service_pb2.AssignRequest, prefix: str = "") -> Submit:
    """An AssignRequest; raises Faults, or NotSupported for what this version does not do yet."""
    return _plain(request) or _careful(request, prefix)


def _plain(request: schedule_service_pb2.AssignRequest) -> Submit | None:
    """The usual request: nothing but what every task has, all of it in order. None where anything is unusual or wrong.

    The size tells: when the fields read here account for every byte of the message, there are no others, every text is
    ASCII, and none is longer than 127 characters. Asking for each of the other fields would cost three times as much.
    """
    message = request.task
    task_id, task_type, tenant, category = message.task_id, message.task_type, message.tenant, message.category
    size = len(task_id) + len(task_type) + 4  # a text takes a byte for its tag and one for its length
    if tenant:
        size += len(tenant) + 2
    if category:
        size += len(category) + 2
    required: tuple[str, ...] = tuple(message.required_capabilities)
    for name in required:
        if not name.isprintable() or not name:
            return None
        size += len(name) + 2
    if len(required) > 1:
        required = tuple(sorted(set(required)))
    attempt = message.attempt
    if attempt:
        size += 2  # below 128, or the size will not match
    else:
        attempt = 1
    priority = message.priority
    if priority:
        if not 0.0 < priority <= 1.0:
            return None
        size += 5
        priority = round(priority, 6)
    elif message.HasField("priority"):
        size += 5
    else:
        priority = DEFAULT_PRIORITY
    size += 2 if size < 128 else 3  # noqa: PLR2004 -- the task's own tag and length
    delivery, view = request.delivery, request.view
    if delivery:
        size += 2
    if view:
        size += 2
    if (
        size != request.ByteSize()
        or not task_id  # counted above as there, and another field may have made up for it
        or not task_type
        or len(required) > checks.MAX_NAMES
        or not (task_id + task_type + tenant + category).isprintable()
    ):
        return None
    delivered = _DELIVERIES.get(delivery)
    if delivered is None or view not in _VIEWS:
        return None
    task = make(
        Task,
        (tenant, task_id, attempt, task_type, category, priority, required, (), (), (), (), None, None, None,
         _REPORT, b"", 1, "", "", DEFAULT_MAX_ATTEMPTS, (), None, None),
    )  # fmt: skip
    plain: Submit = make(Submit, (task, delivered, view == _FULL, None, False, 0, False, NO_TRAIL))
    return plain


def _careful(request: schedule_service_pb2.AssignRequest, prefix: str) -> Submit:
    """Any request; says everything that is wrong with it."""
    checker = Checker()
    message = request.task
    at = f"{prefix}task."
    checker.text(f"{at}task_id", message.task_id, required=True)
    checker.text(f"{at}task_type", message.task_type, required=True)
    checker.text(f"{at}tenant", message.tenant)
    checker.text(f"{at}category", message.category)
    priority = DEFAULT_PRIORITY
    if message.HasField("priority"):
        priority = checker.share(f"{at}priority", message.priority)
    task = Task(
        tenant=message.tenant,
        task_id=message.task_id,
        attempt=message.attempt or 1,
        task_type=message.task_type,
        category=message.category,
        priority=priority,
        required=checker.names(f"{at}required_capabilities", message.required_capabilities),
    )
    task = _with_rest(task, message, prefix, checker)
    if request.HasField("trace"):
        task = task._replace(trace=trace_of(request.trace.traceparent, request.trace.tracestate))
    delivery = _DELIVERIES.get(request.delivery)
    if delivery is None:
        checker.fault(f"{prefix}delivery", f"has no meaning in Delivery (got {request.delivery})")
    if request.view not in _VIEWS:
        checker.fault(f"{prefix}view", f"has no meaning in ExplanationView (got {request.view})")
    if task.payload and delivery is Delivery.CALLER:
        checker.fault(f"{at}payload", "goes only with DELIVERY_STREAM")
    when_full = request.WhichOneof("when_full")
    wait_s = None
    if when_full == "wait":
        if prefix:
            checker.fault(f"{prefix}wait", "is not for a batch; enqueue its tasks, or ask for each by itself")
        else:
            wait_s = checker.span_s("wait", request.wait.seconds, request.wait.nanos)
            if wait_s > MAX_WAIT_S:
                checker.fault("wait", f"must be at most an hour, {MAX_WAIT_S:.0f} s (got {wait_s:.9g} s)")
    if task.start_by is not None and task.not_before is not None and task.start_by <= task.not_before:
        checker.fault(f"{at}start_by", f"must be after not_before, {task.not_before:.3f} (got {task.start_by:.3f})")
    checker.done()
    if task.slots > 1:
        raise NotSupported(f"{at}slots", "tasks that take more than one slot")
    return Submit(task, delivery or Delivery.CALLER, request.view == _FULL, wait_s, when_full == "enqueue")


def _with_rest(task: Task, message: task_pb2.Task, prefix: str, checker: Checker) -> Task:
    """The fields that few tasks carry."""
    at = f"{prefix}task."
    payload = message.payload
    if len(payload) > checks.MAX_PAYLOAD_BYTES:
        checker.fault(f"{at}payload", f"has {len(payload):,} bytes; the limit is {checks.MAX_PAYLOAD_BYTES:,}")
    policy = checker.choice(f"{at}loss_policy", message.loss_policy or LossPolicy.REPORT, _POLICIES, "LossPolicy")
    checker.text(f"{at}user", message.user)
    checker.text(f"{at}caller_choice", message.caller_choice)
    slots = checker.count(f"{at}slots", message.slots, 1, checks.MAX_SLOTS) if message.HasField("slots") else 1
    attempts = DEFAULT_MAX_ATTEMPTS
    if message.HasField("max_attempts"):
        attempts = checker.count(f"{at}max_attempts", message.max_attempts, 1, checks.MAX_ITEMS)
    return task._replace(
        excluded=checker.names(f"{at}excluded_workers", message.excluded_workers, checks.MAX_EXCLUDED),
        labels=checker.pairs(f"{at}match_labels", message.match_labels.items()),
        features=checker.numbers(f"{at}features", message.features.items(), negative=True),
        resources=checker.numbers(f"{at}requested_resources", message.requested_resources.items(), negative=False),
        hints=_hints(message.hints, f"{at}hints", checker) if message.HasField("hints") else None,
        not_before=_instant(message, "not_before", at, checker),
        start_by=_instant(message, "start_by", at, checker),
        loss_policy=LossPolicy(policy) if policy in _POLICIES else LossPolicy.REPORT,
        payload=payload,
        slots=slots,
        user=message.user,
        caller_choice=message.caller_choice,
        max_attempts=attempts,
        attributes=checker.pairs(f"{at}attributes", message.attributes.items()),
    )


def _hints(message: task_pb2.TaskHints, at: str, checker: Checker) -> Hints:
    expected = None
    if message.HasField("expected_duration"):
        span = message.expected_duration
        expected = checker.span_s(f"{at}.expected_duration", span.seconds, span.nanos, above_zero=True) * 1_000.0
    return Hints(
        expected,
        message.description_length if message.HasField("description_length") else None,
        message.dependencies if message.HasField("dependencies") else None,
    )


def _instant(message: Any, name: str, at: str, checker: Checker) -> float | None:
    if not message.HasField(name):
        return None
    value = getattr(message, name)
    return checker.instant_s(f"{at}{name}", value.seconds, value.nanos)


def items(field: str, values: Sequence[Any]) -> None:
    """A batch has 1 to 1,000 items."""
    if not values:
        raise Faults([checks.Fault(field, "is empty; send 1 to 1,000")])
    if len(values) > checks.MAX_ITEMS:
        raise Faults([checks.Fault(field, f"has {len(values):,} entries; the limit is {checks.MAX_ITEMS:,}")])


# ---------------------------------------------------------------------- outcomes


def report(message: schedule_service_pb2.OutcomeReport, prefix: str) -> ReportOutcome:
    """One OutcomeReport."""
    lease_id = message.lease_id
    outcome = message.outcome
    status = outcome.status
    if 0 < len(lease_id) <= _MAX_TEXT and lease_id.isprintable() and status in _REPORTABLE:
        span = outcome.duration
        seconds, nanos = span.seconds, span.nanos
        # The usual report: a success with a duration, and nothing to say about it.
        if 0 <= seconds < checks.MAX_SPAN_S and 0 <= nanos <= 999_999_999 and status == _SUCCEEDED:  # noqa: PLR2004 -- likewise
            duration_ms = seconds * 1e3 + nanos / 1e6
            if duration_ms and not (outcome.error_message or outcome.error_kind or outcome.result):
                return ReportOutcome(lease_id, Outcome(OutcomeStatus.SUCCEEDED, duration_ms))
    checker = Checker()
    checker.text(f"{prefix}lease_id", lease_id, required=True)
    decoded = outcome_of(outcome, f"{prefix}outcome", checker)
    checker.done()
    return ReportOutcome(lease_id, decoded)


_SUCCEEDED: int = OutcomeStatus.SUCCEEDED.value
_LOST: int = OutcomeStatus.LOST.value


def outcome_of(message: task_pb2.Outcome, at: str, checker: Checker) -> Outcome:
    """An Outcome, its faults noted."""
    status: int = message.status
    if status == _LOST:
        checker.fault(f"{at}.status", "LOST is said by the server only")
    elif not status:
        checker.fault(f"{at}.status", "is required")
    else:
        checker.choice(f"{at}.status", status, _REPORTABLE, "OutcomeStatus")
    duration_ms = None
    if message.HasField("duration"):
        duration_ms = checker.span_s(f"{at}.duration", message.duration.seconds, message.duration.nanos) * 1_000.0
    if len(message.error_message) > checks.MAX_DETAIL:
        checker.fault(
            f"{at}.error_message",
            f"has {len(message.error_message):,} characters; the limit is {checks.MAX_DETAIL:,}",
        )
    checker.text(f"{at}.error_kind", message.error_kind)
    if len(message.result) > checks.MAX_PAYLOAD_BYTES:
        checker.fault(f"{at}.result", f"has {len(message.result):,} bytes; the limit is {checks.MAX_PAYLOAD_BYTES:,}")
    return Outcome(
        OutcomeStatus(status) if status in _REPORTABLE else OutcomeStatus.FAILED,
        duration_ms,
        message.error_message,
        message.error_kind,
        message.result,
    )


# ---------------------------------------------------------------------- tasks named


def key(message: task_pb2.TaskKey, present: bool, at: str = "task") -> tuple[str, str, int]:
    """Tenant, task id and attempt of a TaskKey."""
    checker = Checker()
    if not present:
        checker.fault(at, "is required")
    else:
        checker.text(f"{at}.task_id", message.task_id, required=True)
        checker.text(f"{at}.tenant", message.tenant)
    checker.done()
    return message.tenant, message.task_id, message.attempt


def cancel(request: schedule_service_pb2.CancelTaskRequest) -> Cancel:
    """A CancelTaskRequest."""
    tenant, task_id, attempt = key(request.task, request.HasField("task"))
    checker = Checker()
    checker.text("lease_id", request.lease_id)
    if len(request.reason) > checks.MAX_DETAIL:
        checker.fault("reason", f"has {len(request.reason):,} characters; the limit is {checks.MAX_DETAIL:,}")
    checker.done()
    return Cancel(tenant, task_id, attempt, request.lease_id, request.reason)


_DELIVERIES: dict[int, Delivery] = {0: Delivery.CALLER} | {each.value: each for each in Delivery}
_VIEWS: frozenset[int] = frozenset({0, 1, 2})
_REPORT = LossPolicy.REPORT
_POLICIES = frozenset(each.value for each in LossPolicy)
