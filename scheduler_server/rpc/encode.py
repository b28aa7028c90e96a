"""Answers to messages.

Messages to fill are typed Any: the stubs' enumerations are types of their own, and our IntEnums have the same numbers
(a contract test holds that), so they are set as they are; `.value` would cost 0.1 us each.

Fields are set one by one: upb takes twice as long for the same message made by keyword arguments.
"""

from collections.abc import Callable
from typing import Any

from scheduler_api.v1 import decision_pb2, schedule_service_pb2, worker_pb2
from scheduler_server.assignment import effects
from scheduler_server.assignment.ledger import TaskRecord
from scheduler_server.assignment.queueing import Unplaced
from scheduler_server.assignment.telling import counterfactual, sentence
from scheduler_server.assignment.waiting import Waiter
from scheduler_server.model.decision import Candidate, Decision, Explanation, Rejection, Term, without
from scheduler_server.model.outcome import Outcome
from scheduler_server.model.prediction import Prediction
from scheduler_server.model.task import DEFAULT_MAX_ATTEMPTS, Hints, Prospects, Task, TaskKey, TaskState
from scheduler_server.model.trace import Trace


def set_instant(message: Any, seconds: float) -> None:
    """Fill a Timestamp from wall seconds."""
    whole = int(seconds)
    message.seconds = whole
    message.nanos = int((seconds - whole) * 1e9)


def set_span(message: Any, seconds: float) -> None:
    """Fill a Duration from seconds, not negative."""
    whole = int(seconds)
    message.seconds = whole
    message.nanos = int((seconds - whole) * 1e9)


def assigned(reply: effects.Reply) -> schedule_service_pb2.AssignResponse:
    """The answer to Assign; the reply is no refusal."""
    message = schedule_service_pb2.AssignResponse()
    fill_assigned(message, reply)
    return message


def fill_assigned(message: Any, reply: effects.Reply) -> None:
    """The same, into a message that exists."""
    if reply.state is not None:
        message.state = reply.state
    if reply.decision is not None:
        decision(message.decision, reply.decision)
    if reply.outcome is not None:
        outcome(message.outcome, reply.outcome)
    if reply.replayed:
        message.replayed = True
    if reply.waiting is not None:
        waiting(message.waiting, reply.waiting)


def waiting(message: Any, told: Prospects) -> None:
    """Fill a Waiting."""
    message.position = told.position
    if told.start_p50 is not None:
        set_instant(message.expected_start_p50, told.start_p50)
    if told.start_p90 is not None:
        set_instant(message.expected_start_p90, told.start_p90)
    message.blocking = told.blocking.value
    message.blocking_detail = told.detail
    set_instant(message.as_of, told.as_of)
    message.sample_count = told.sample_count
    if told.coverage is not None:
        message.observed_coverage = told.coverage


def waiting_status(message: Any, waiter: Waiter, told: Prospects) -> None:
    """Fill a TaskStatus of a task that waits."""
    task = waiter.event.task
    task_key(message.task, task.key)
    message.state = TaskState.WAITING.value
    message.task_type = task.task_type
    waiting(message.waiting, told)
    set_instant(message.submitted_at, waiter.since_wall)


def unplaced_status(message: Any, ended: Unplaced) -> None:
    """Fill a TaskStatus of a task that ended without having been placed."""
    task_key(message.task, ended.task.key)
    message.state = ended.state.value
    message.task_type = ended.task.task_type
    set_instant(message.submitted_at, ended.since_wall)
    set_instant(message.ended_at, ended.ended_wall)


def task_key(message: Any, key: TaskKey) -> None:
    """Fill a TaskKey."""
    message.task_id = key.task_id
    message.attempt = key.attempt
    if key.tenant:
        message.tenant = key.tenant


def terms(add: Any, values: tuple[Term, ...]) -> None:
    """Add ScoreTerms."""
    for name, value, weight in values:
        add(name=name, value=value, weight=weight)


def decision(message: Any, made: Decision) -> None:
    """Fill a Decision."""
    message.decision_id = made.decision_id
    task_key(message.task, made.task)
    message.lease_id = made.lease_id
    message.worker_id = made.worker_id
    message.predicted_wait_ms = made.wait_ms
    message.predicted_duration_ms = made.duration_ms
    message.score = made.score
    terms(message.terms.add, made.terms)
    message.source = made.source
    message.cause = made.cause
    message.scorer = made.scorer
    message.policy_revision = made.policy_revision
    message.server_incarnation = made.incarnation
    message.reasoning = sentence(made)
    set_instant(message.decided_at, made.decided_at)
    if made.prediction is not None:
        prediction(message.prediction, made.prediction)
    if made.explanation is not None:
        explanation(message.explanation, made.explanation)
        message.explanation.counterfactual = counterfactual(made)


def prediction(message: Any, made: Prediction) -> None:
    """Fill a Prediction."""
    message.point_ms = made.point_ms
    message.mean_ms = made.mean_ms
    message.p50_ms = made.p50_ms
    message.p90_ms = made.p90_ms
    message.confidence = made.confidence
    message.sample_count = made.sample_count
    message.key = made.key
    message.predictor = made.predictor


def explanation(message: Any, made: Explanation) -> None:
    """Fill an Explanation."""
    for each in made.candidates:
        candidate(message.candidates.add(), each)
    message.candidate_count = made.candidate_count
    for reason, count in made.rejections:
        message.rejections.add(reason=reason.value, count=count)
    if made.margin is not None:
        message.margin = made.margin


def candidate(message: Any, made: Candidate) -> None:
    """Fill a Candidate."""
    message.worker_id = made.worker_id
    if made.score is not None:
        message.score = made.score
    terms(message.terms.add, made.terms)
    if made.rejection is not Rejection.CANDIDATE:
        message.rejection = made.rejection.value
    message.free_slots = made.free_slots
    message.load = made.load
    message.speed = made.speed
    message.predicted_wait_ms = made.wait_ms
    message.predicted_duration_ms = made.duration_ms


def outcome(message: Any, made: Outcome) -> None:
    """Fill an Outcome."""
    message.status = made.status.value
    if made.duration_ms is not None:
        set_span(message.duration, made.duration_ms / 1_000.0)
    message.error_message = made.error_message
    message.error_kind = made.error_kind
    message.result = made.result


def task_status(message: Any, record: TaskRecord, decided: bytes | None = None) -> None:
    """Fill a TaskStatus. `decided`: what `decided_bytes` makes of its decision, where the caller has it."""
    task_key(message.task, record.task.key)
    message.state = record.state.value
    message.task_type = record.task.task_type
    if decided is None:
        decision(message.decision, without(record.decision))
    else:
        message.decision.ParseFromString(decided)
    if record.outcome is not None:
        outcome(message.outcome, record.outcome)
    for field, wall in (
        (message.submitted_at, record.submitted_wall),
        (message.placed_at, record.placed_wall),
    ):
        set_instant(field, wall)
    if record.started_wall:
        set_instant(message.started_at, record.started_wall)
    if record.ended_wall:
        set_instant(message.ended_at, record.ended_wall)


def decided_bytes(made: Decision) -> bytes:
    """A decision as a TaskStatus tells it, serialized."""
    message = decision_pb2.Decision()
    decision(message, without(made))
    return message.SerializeToString()


def moved_status(message: Any, record: TaskRecord, state: TaskState, decided: bytes | None = None) -> None:
    """Fill a TaskStatus as it was when the task came into this state, acknowledged or started."""
    task_status(message, record, decided)
    message.state = state.value
    message.ClearField("outcome")
    message.ClearField("ended_at")
    if state is TaskState.ACKNOWLEDGED:
        message.ClearField("started_at")


def task(message: Any, asked: Task) -> None:
    """Fill a Task, as the worker gets it."""
    message.task_id = asked.task_id
    message.attempt = asked.attempt
    message.tenant = asked.tenant
    message.task_type = asked.task_type
    message.category = asked.category
    message.priority = asked.priority
    if asked.required:  # an empty list or map costs as much as one with something in it
        message.required_capabilities.extend(asked.required)
    if asked.labels:
        message.match_labels.update(asked.labels)
    if asked.features:
        message.features.update(asked.features)
    if asked.attributes:
        message.attributes.update(asked.attributes)
    if asked.resources:
        message.requested_resources.update(asked.resources)
    message.loss_policy = asked.loss_policy.value
    message.payload = asked.payload
    message.user = asked.user
    message.caller_choice = asked.caller_choice
    if asked.excluded:
        message.excluded_workers.extend(asked.excluded)
    if asked.start_by is not None:
        set_instant(message.start_by, asked.start_by)
    if asked.not_before is not None:
        set_instant(message.not_before, asked.not_before)
    if asked.max_attempts != DEFAULT_MAX_ATTEMPTS:
        message.max_attempts = asked.max_attempts
    if asked.hints is not None:
        hints(message.hints, asked.hints)


def hints(message: Any, given: Hints) -> None:
    """Fill TaskHints."""
    message.SetInParent()  # that there are any is a fact, even where they say nothing
    if given.expected_duration_ms is not None:
        set_span(message.expected_duration, given.expected_duration_ms / 1_000.0)
    if given.description_length is not None:
        message.description_length = given.description_length
    if given.dependencies is not None:
        message.dependencies = given.dependencies


def trace(message: Any, span: Trace) -> None:
    """Fill a TraceContext."""
    message.traceparent = span.parent
    if span.state:
        message.tracestate = span.state


def of_task(asked: Task) -> Trace | None:
    """The span that a worker is told of while the server makes none itself: the caller's."""
    return asked.trace


def directive(
    effect: Any,
    *,
    incarnation: str,
    unhealthy_after_s: float,
    span_of: Callable[[Task], Trace | None] = of_task,
) -> worker_pb2.WorkerDirective:
    """A directive from the effect that orders it; `span_of` says which span a worker's own is to hang below."""
    made = worker_pb2.WorkerDirective()
    message: Any = made
    if isinstance(effect, effects.Acked):
        ack = message.ack
        if effect.sequence:
            ack.sequence = effect.sequence
        ack.timestamp_ms = effect.timestamp_ms
        if effect.heartbeat_interval_s is not None:
            set_span(ack.heartbeat_interval, effect.heartbeat_interval_s)
        for lease_id, kind in effect.verdicts:
            ack.verdicts.add(lease_id=lease_id, verdict=kind.value)
        for lease_id, refusal in effect.refused:
            ack.refused.add(lease_id=lease_id, reason=refusal.reason.value, message=refusal.message)
    elif isinstance(effect, effects.Welcomed):
        welcome = message.welcome
        welcome.worker_id = effect.worker_id
        set_span(welcome.heartbeat_interval, effect.heartbeat_interval_s)
        welcome.server_incarnation = incarnation
        welcome.protocol_version = 1
        for lease_id, kind in effect.verdicts:
            welcome.verdicts.add(lease_id=lease_id, verdict=kind.value)
        welcome.epoch.boot_id = effect.boot_id
        welcome.epoch.connection = effect.connection
        set_span(welcome.unhealthy_after, unhealthy_after_s)
    elif isinstance(effect, effects.HandOver):
        run = message.run_task
        run.lease_id = effect.decision.lease_id
        task(run.task, effect.task)
        set_span(run.ack_within, effect.ack_within_s)
        run.decision_id = effect.decision.decision_id
        set_span(run.predicted_duration, effect.decision.duration_ms / 1_000.0)
        span = span_of(effect.task)
        if span is not None:
            trace(run.trace, span)
    elif isinstance(effect, effects.Recall):
        message.cancel.lease_id = effect.lease_id
        message.cancel.reason = effect.reason
    elif isinstance(effect, effects.AskBack):
        message.return_lease.lease_id = effect.lease_id
        message.return_lease.reason = effect.reason
    elif isinstance(effect, effects.ProbeSent):
        message.probe.nonce = effect.nonce
    elif isinstance(effect, effects.DrainSent):
        _drain(message.drain, effect)
    elif isinstance(effect, effects.Goodbye):
        _goodbye(message.goodbye, effect)
    return made


def _drain(made: Any, effect: effects.DrainSent) -> None:
    made.SetInParent()  # nothing at all says that no drain holds any more
    made.drain_id = effect.drain_id
    if effect.deadline is not None:
        set_instant(made.deadline, effect.deadline)
    made.reason = effect.reason


def _goodbye(made: Any, effect: effects.Goodbye) -> None:
    made.reason = effect.reason.value
    made.message = effect.message
    if effect.reconnect_after_s is not None:
        set_span(made.reconnect_after, effect.reconnect_after_s)
