"""Is there room for one more task to wait? The bounds of the queue, and what is said at each."""

from scheduler_server.assignment.events import Submit
from scheduler_server.assignment.queue_settings import QueueSettings
from scheduler_server.assignment.waiting import MOST_GROUPS, WaitingTasks
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.model.task import BlockingReason

_RETRY_AFTER_S = 1.0
"""When there may be room again: nobody knows, and a task a second is no burden."""


def no_room(settings: QueueSettings, share: int, waiting: WaitingTasks, event: Submit) -> Refusal | None:
    """Why this task cannot wait here now; None: it can. `share` is how many tasks one tenant may have."""
    task = event.task
    tenant = waiting.tenants.find(task.tenant)
    if (
        len(waiting.by_task) < settings.max_length
        and (tenant is None or tenant.waiting < share)
        and waiting.payload_bytes + len(task.payload) <= settings.max_payload_bytes
        and waiting.has_group(event)
    ):
        return None
    if len(waiting) >= settings.max_length:
        message = f"the queue is full: {len(waiting):,} tasks wait; queue.max_length is {settings.max_length:,}"
        return _full(event, message)
    if tenant is not None and tenant.waiting >= share:
        message = (
            f"tenant {task.tenant!r} has {share:,} tasks waiting, as many as queue.tenant_share,"
            f" {settings.tenant_share:g}, allows"
        )
        return _full(event, message, BlockingReason.OVER_TENANT_SHARE)
    if waiting.payload_bytes + len(task.payload) > settings.max_payload_bytes:
        message = (
            f"the queue is full: {waiting.payload_bytes:,} bytes of payload wait; queue.max_payload_bytes is"
            f" {settings.max_payload_bytes:,}"
        )
        return _full(event, message)
    if not waiting.has_group(event):
        mine = max(1, int(MOST_GROUPS * settings.tenant_share))
        if waiting.group_count >= MOST_GROUPS or (tenant is not None and tenant.groups >= mine):
            message = (
                f"tasks with at most {MOST_GROUPS:,} different sets of capabilities and labels can wait at once,"
                f" {mine:,} of them for one tenant"
            )
            return _full(event, message)
    return None


def _full(event: Submit, message: str, blocking: BlockingReason = BlockingReason.NO_FREE_SLOT) -> Refusal:
    about = (("task_id", event.task.task_id), ("tenant", event.task.tenant))
    return Refusal(Reason.QUEUE_FULL, message, about, blocking, retry_after_s=_RETRY_AFTER_S)
