"""How does a queue service ask?

    with SchedulerClient("127.0.0.1:50051") as scheduler:
        task = Task(task_id="42", task_type="resize-image", required_capabilities=["gpu"])
        try:
            placement = scheduler.assign(task, patience=timedelta(seconds=30))
        except NoCapableWorker as error:
            sys.exit(f"nobody can: {error}")
        took = deliver(task, to=placement.worker_id)
        scheduler.report_outcome(placement.lease_id, OutcomeStatus.SUCCEEDED, duration=took)

`AsyncSchedulerClient` has the same methods to await. Both make what `call` describes, over the channel that
`channel` describes (published retry policy, deadlines, keepalive); `errors` is the one tree of what can be
wrong. What has no method here is reached through the raw stubs `schedule` and `admin`, best by way of `call`,
which adds deadline, metadata and error types. A service that calls nobody puts its tasks into a Redis stream instead:
`TaskStream`.

Imports grpc, protobuf, google.rpc, grpc_status, scheduler_api, OpenTelemetry's API where it is installed (`tracing`)
and the standard library, nothing of the server: this folder lives in other people's programs.
"""

from scheduler_server.client.aio import AsyncSchedulerClient
from scheduler_server.client.channel import DEADLINES_S, MAX_MESSAGE_BYTES, SERVICE_CONFIG, service_config
from scheduler_server.client.enums import (
    ENDED,
    BlockingReason,
    DecisionCause,
    DecisionSource,
    Delivery,
    LossPolicy,
    OutcomeResult,
    OutcomeStatus,
    RejectionReason,
    TaskState,
)
from scheduler_server.client.errors import (
    AccessDenied,
    AttemptLost,
    DeadlineExceeded,
    FieldViolation,
    InvalidTask,
    LeaseMismatch,
    LeaseUnknown,
    NoCapableWorker,
    NoFreeSlot,
    NotSupported,
    OverLimit,
    RateLimited,
    SchedulerError,
    ServerFault,
    ServerUnavailable,
    StartByPassed,
    TaskCancelled,
    TaskConflict,
    TaskFinished,
    TaskUnknown,
)
from scheduler_server.client.outcome import Outcome, OutcomeReport
from scheduler_server.client.placement import Placement, Term, Waiting
from scheduler_server.client.status import Cancellation, TaskStatus
from scheduler_server.client.stream import AsyncTaskStream, TaskStream
from scheduler_server.client.sync import SchedulerClient
from scheduler_server.client.task import Task
from scheduler_server.client.watching import AsyncTaskWatch, TaskChange, TaskWatch
from scheduler_server.client.wire_errors import error_from_call, error_from_item
from scheduler_server.credentials import CredentialError, TokenFile, tls

__all__ = [
    "DEADLINES_S",
    "ENDED",
    "MAX_MESSAGE_BYTES",
    "SERVICE_CONFIG",
    "AccessDenied",
    "AsyncSchedulerClient",
    "AsyncTaskStream",
    "AsyncTaskWatch",
    "AttemptLost",
    "BlockingReason",
    "Cancellation",
    "CredentialError",
    "DeadlineExceeded",
    "DecisionCause",
    "DecisionSource",
    "Delivery",
    "FieldViolation",
    "InvalidTask",
    "LeaseMismatch",
    "LeaseUnknown",
    "LossPolicy",
    "NoCapableWorker",
    "NoFreeSlot",
    "NotSupported",
    "Outcome",
    "OutcomeReport",
    "OutcomeResult",
    "OutcomeStatus",
    "OverLimit",
    "Placement",
    "RateLimited",
    "RejectionReason",
    "SchedulerClient",
    "SchedulerError",
    "ServerFault",
    "ServerUnavailable",
    "StartByPassed",
    "Task",
    "TaskCancelled",
    "TaskChange",
    "TaskConflict",
    "TaskFinished",
    "TaskState",
    "TaskStatus",
    "TaskStream",
    "TaskUnknown",
    "TaskWatch",
    "Term",
    "TokenFile",
    "Waiting",
    "error_from_call",
    "error_from_item",
    "service_config",
    "tls",
]
