"""How is a task placed? The calls Assign and AssignBatch."""

from collections.abc import Iterable, Mapping

from grpc import StatusCode

from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_api.v1 import task_pb2
from scheduler_server.client.call import Call, deadline_s, same_length, task_ids
from scheduler_server.client.enums import Delivery
from scheduler_server.client.errors import SchedulerError, ServerFault
from scheduler_server.client.placement import Placement
from scheduler_server.client.spans import Span, as_timedelta, duration_message
from scheduler_server.client.task import Task
from scheduler_server.client.wire_errors import error_from_item

AnyTask = Task | task_pb2.Task


def assign(
    task: AnyTask,
    *,
    delivery: Delivery,
    wait: Span | None,
    enqueue: bool,
    explain: bool,
    timeout: Span | None,
) -> Call[Placement]:
    """One task."""
    request = _assign_request(task, delivery=delivery, enqueue=enqueue, explain=explain)
    limit_s = deadline_s("Assign", timeout)
    if wait is not None:
        if enqueue:
            raise ValueError("wait holds the call, enqueue answers at once: choose one")
        request.wait.CopyFrom(duration_message(wait))
        if timeout is None:
            limit_s += as_timedelta(wait).total_seconds()
    return Call(
        method="Assign",
        request=request,
        read=Placement.from_proto,
        deadline_s=limit_s,
        known=_ids_of(request.task),
    )


def assign_batch(
    tasks: Iterable[AnyTask], *, delivery: Delivery, enqueue: bool, explain: bool, timeout: Span | None
) -> Call[list[Placement | SchedulerError]]:
    """Many tasks, all asked in the same way."""
    requests = [_assign_request(task, delivery=delivery, enqueue=enqueue, explain=explain) for task in tasks]

    def read(response: api.AssignBatchResponse) -> list[Placement | SchedulerError]:
        same_length(requests, response.results)
        return [
            _placement_or_error(result, _ids_of(request.task))
            for request, result in zip(requests, response.results, strict=True)
        ]

    return Call(
        method="AssignBatch",
        request=api.AssignBatchRequest(requests=requests),
        read=read,
        deadline_s=deadline_s("AssignBatch", timeout),
        known={},
    )


def _assign_request(task: AnyTask, *, delivery: Delivery, enqueue: bool, explain: bool) -> api.AssignRequest:
    return api.AssignRequest(
        task=task.to_proto() if isinstance(task, Task) else task,
        delivery=task_pb2.Delivery.ValueType(delivery),
        enqueue=api.Enqueue() if enqueue else None,
        view=api.EXPLANATION_VIEW_FULL if explain else api.EXPLANATION_VIEW_UNSPECIFIED,
    )


def _ids_of(task: task_pb2.Task) -> Mapping[str, str]:
    return task_ids(task_id=task.task_id, tenant=task.tenant, attempt=task.attempt or 1)


def _placement_or_error(result: api.AssignBatchResult, known: Mapping[str, str]) -> Placement | SchedulerError:
    match result.WhichOneof("result"):
        case "response":
            return Placement.from_proto(result.response)
        case "error":
            return error_from_item(result.error, known)
        case _:
            return ServerFault(StatusCode.INTERNAL, message="the server sent no answer for this item", metadata=known)
