"""Overrides: an operator's exceptions to the policy, as they were asked for."""

from enum import IntEnum
from typing import NamedTuple

from scheduler_server.model.task import Pairs, Task


class Action(IntEnum):
    """What is different for the tasks of an override."""

    PIN = 1
    EXCLUDE = 2
    CAP = 3
    BOOST = 4


class Override(NamedTuple):
    """One exception: which tasks, what is different for them, until when (wall seconds; None: for good).

    A task is meant where it matches all of `tenant`, `task_type` and `task_id` that are set (None, "" and "" are not).
    `workers` (ids) and `labels` are of a pin or an exclusion, which is about workers that match either; with
    `preferred` others will do while none of them can be given the task. `most` leases at once is of a cap, `delta` is
    added to the priority by a boost. `reason`, `author` and `created_at` (wall seconds) are for people.
    """

    override_id: str
    tenant: str | None
    task_type: str
    task_id: str
    action: Action
    workers: tuple[str, ...] = ()
    labels: Pairs = ()
    preferred: bool = False
    most: int = 0
    delta: float = 0.0
    expires_at: float | None = None
    reason: str = ""
    author: str = ""
    created_at: float = 0.0

    @property
    def scope(self) -> tuple[str | None, str, str]:
        """Which tasks, to compare."""
        return self.tenant, self.task_type, self.task_id

    def covers(self, task: Task) -> bool:
        """Is it about this task?"""
        return (
            (self.tenant is None or self.tenant == task.tenant)
            and (not self.task_type or self.task_type == task.task_type)
            and (not self.task_id or self.task_id == task.task_id)
        )

    def includes(self, other: "Override") -> bool:
        """Is it about every task that the other one is about?"""
        return (
            (self.tenant is None or self.tenant == other.tenant)
            and (not self.task_type or self.task_type == other.task_type)
            and (not self.task_id or self.task_id == other.task_id)
        )

    def meets(self, other: "Override") -> bool:
        """Can there be a task that both are about?"""
        return (
            (self.tenant is None or other.tenant is None or self.tenant == other.tenant)
            and (not self.task_type or not other.task_type or self.task_type == other.task_type)
            and (not self.task_id or not other.task_id or self.task_id == other.task_id)
        )

    def names(self, worker_id: str, labels: Pairs) -> bool:
        """Is it about a worker with this id and these labels?"""
        return worker_id in self.workers or (bool(self.labels) and set(self.labels) <= set(labels))

    @property
    def effect(self) -> str:
        """What it does, for people."""
        match self.action:
            case Action.PIN:
                return f"{'preferably' if self.preferred else 'only'} {self._whom}"
            case Action.EXCLUDE:
                return f"never {self._whom}"
            case Action.CAP:
                return f"at most {self.most:,} at once"
            case Action.BOOST:
                return f"priority {self.delta:+g}"

    @property
    def _whom(self) -> str:
        shown = ", ".join(self.workers[:_SHOWN])
        more = len(self.workers) - _SHOWN
        if more > 0:
            shown += f" and {more} more"
        labels = ", ".join(f"{name}={value}" for name, value in self.labels)
        parts = [*([f"on {shown}"] if shown else []), *([f"on workers with {labels}"] if labels else [])]
        return " or ".join(parts)


_SHOWN = 3
