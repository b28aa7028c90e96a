"""Where is a task, and how is it stopped? The calls GetTask and CancelTask."""

from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_api.v1 import task_pb2
from scheduler_server.client.call import Call, deadline_s, task_ids
from scheduler_server.client.enums import TaskState
from scheduler_server.client.spans import Span
from scheduler_server.client.status import Cancellation, TaskStatus


def get_task(task_id: str, *, tenant: str, attempt: int, timeout: Span | None) -> Call[TaskStatus]:
    """Where is it?"""
    key = task_pb2.TaskKey(tenant=tenant, task_id=task_id, attempt=attempt)

    def read(response: api.GetTaskResponse) -> TaskStatus:
        return TaskStatus.from_proto(response.task)

    return Call(
        method="GetTask",
        request=api.GetTaskRequest(task=key),
        read=read,
        deadline_s=deadline_s("GetTask", timeout),
        known=task_ids(task_id=task_id, tenant=tenant, attempt=attempt),
    )


def cancel_task(
    task_id: str, *, tenant: str, attempt: int, lease_id: str, reason: str, timeout: Span | None
) -> Call[Cancellation]:
    """Stop it."""
    key = task_pb2.TaskKey(tenant=tenant, task_id=task_id, attempt=attempt)

    def read(response: api.CancelTaskResponse) -> Cancellation:
        return Cancellation(state=TaskState(response.state), worker_told=response.worker_told)

    return Call(
        method="CancelTask",
        request=api.CancelTaskRequest(task=key, lease_id=lease_id, reason=reason),
        read=read,
        deadline_s=deadline_s("CancelTask", timeout),
        known=task_ids(task_id=task_id, tenant=tenant, attempt=attempt or 1),
    )
