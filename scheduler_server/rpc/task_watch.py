"""ScheduleService.WatchTasks: what happens to tasks, from a ring of changes (`following.py` says how).

What is kept of a change is the message itself, serialized when it happened: a reader that comes later sees each state,
not only the last. Nothing is kept before the first watch, so that a server nobody watches pays nothing.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_api.v1 import task_pb2
from scheduler_server.assignment.ledger import TaskRecord
from scheduler_server.assignment.queueing import Unplaced
from scheduler_server.assignment.waiting import Waiter
from scheduler_server.model.clock import Now
from scheduler_server.model.decision import Decision
from scheduler_server.model.task import Prospects, TaskState
from scheduler_server.rpc import encode
from scheduler_server.rpc.checks import Checker
from scheduler_server.rpc.following import Followers, Ring

KEPT = 10_000
"""Changes kept for readers that come back, about 5 MB. Overflow: the oldest goes, and an older token is refused."""

MAX_TASKS = 1_000

_DECISIONS = 4_096
"""Decisions kept serialized, about 2 MB: those of tasks that change now. When full all are forgotten."""


class _Change(NamedTuple):
    sequence: int
    tenant: str
    task_id: str
    attempt: int
    state: int
    body: bytes  # a TaskStatus
    at: float


class TaskWatchers:
    """All readers, and the ring."""

    def __init__(self, incarnation: str, now: Callable[[], Now], prospects: Callable[[Now, Waiter], Prospects]) -> None:
        self._now = now
        self._prospects = prospects
        self._ring: Ring[_Change] = Ring(KEPT)
        self._followers = Followers(self._ring, incarnation, what="changes", look="ask GetTask where they stand")
        self._held: deque[int] = deque()  # changes that are not to be told yet, nor what comes after them
        self._decisions: dict[str, tuple[Decision, bytes]] = {}  # by lease
        self.begun = False

    def __len__(self) -> int:
        return len(self._followers)

    @property
    def sent(self) -> int:
        """Messages sent to all watchers since the start."""
        return self._followers.sent

    def drain(self) -> None:
        """End them all, and take no more."""
        self._followers.drain()

    # ------------------------------------------------------------------ changes in

    def of_lease(self, record: TaskRecord) -> None:
        """See `shell.Changes`."""
        if self.begun:
            status = api.TaskStatus()
            encode.task_status(status, record, self._decided(record))
            self._add(status)

    def of_moved(self, record: TaskRecord, state: TaskState) -> None:
        """See `shell.Changes`."""
        if self.begun:
            status = api.TaskStatus()
            encode.moved_status(status, record, state, self._decided(record))
            self._add(status)

    def _decided(self, record: TaskRecord) -> bytes:
        """The record's decision, serialized: a task has some four changes, and writing it is most of their cost."""
        kept = self._decisions.get(record.lease_id)
        if kept is None or kept[0] is not record.decision:
            if len(self._decisions) >= _DECISIONS:
                self._decisions.clear()
            kept = self._decisions[record.lease_id] = (record.decision, encode.decided_bytes(record.decision))
        return kept[1]

    def hold(self) -> None:
        """See `shell.Changes`."""
        self._held.append(self._ring.newest + 1)

    def release(self) -> None:
        """See `shell.Changes`."""
        self._held.popleft()
        self._ring.wake()

    def of_waiting(self, waiter: Waiter) -> None:
        """See `shell.Changes`."""
        if self.begun:
            status = api.TaskStatus()
            encode.waiting_status(status, waiter, self._prospects(self._now(), waiter))
            self._add(status)

    def of_unplaced(self, ended: Unplaced) -> None:
        """See `shell.Changes`."""
        if self.begun:
            status = api.TaskStatus()
            encode.unplaced_status(status, ended)
            self._add(status)

    def _add(self, status: api.TaskStatus) -> None:
        key = status.task
        number = self._ring.newest + 1
        body = status.SerializeToString()
        self._ring.add(_Change(number, key.tenant, key.task_id, key.attempt, status.state, body, self._now().wall))

    # ------------------------------------------------------------------ changes out

    async def watch(self, request: api.WatchTasksRequest, context: Any) -> None:
        """One reader, to its end."""
        wanted = _Wanted(request)
        position = self._followers.resume(request.resume_token) if request.resume_token else self._ring.newest
        self.begun = True
        if request.together:
            await self._followers.follow(position, context, wanted.matches, self._together, self._told, _size)
        else:
            await self._followers.follow(position, context, wanted.matches, _alone, self._told)

    def _together(self, token: str, changes: Sequence[_Change]) -> api.WatchTasksResponse:
        response = api.WatchTasksResponse(resume_token=token)
        for change in changes:
            message = response.changes.add(resume_token=self._followers.token(change.sequence))
            message.task.ParseFromString(change.body)
            encode.set_instant(message.at, change.at)
        return response

    def _told(self) -> int:
        """The last change that may be told by now."""
        return self._held[0] - 1 if self._held else self._ring.newest


def _size(change: _Change) -> int:
    return len(change.body)


def _alone(token: str, changes: Sequence[_Change]) -> api.WatchTasksResponse:
    response = api.WatchTasksResponse(resume_token=token)
    for change in changes:  # one, or none
        response.task.ParseFromString(change.body)
        encode.set_instant(response.at, change.at)
    return response


class _Wanted:
    """Which tasks a reader wants."""

    def __init__(self, request: api.WatchTasksRequest) -> None:
        checker = Checker()
        if request.HasField("tenant"):
            checker.text("tenant", request.tenant)
        if len(request.tasks) > MAX_TASKS:
            checker.fault("tasks", f"has {len(request.tasks):,} entries; the limit is {MAX_TASKS:,}")
        for at, key in enumerate(request.tasks[:MAX_TASKS]):
            checker.text(f"tasks[{at}].task_id", key.task_id, required=True)
            checker.text(f"tasks[{at}].tenant", key.tenant)
        known = range(1, max(task_pb2.TaskState.values()) + 1)
        self._states = frozenset(
            checker.choice(f"states[{at}]", state, known, "TaskState") for at, state in enumerate(request.states)
        )
        checker.done()
        self._tenant = request.tenant if request.HasField("tenant") else None
        self._tasks = {(key.tenant, key.task_id, key.attempt) for key in request.tasks}

    def matches(self, change: _Change) -> bool:
        """Is this one of them? Attempt 0 stands for any."""
        if self._tenant is not None and change.tenant != self._tenant:
            return False
        if self._states and change.state not in self._states:
            return False
        name = (change.tenant, change.task_id)
        return not self._tasks or (*name, change.attempt) in self._tasks or (*name, 0) in self._tasks
