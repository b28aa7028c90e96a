"""Which waiting tasks are held back by an operator?"""

from scheduler_server.model.standing import About
from scheduler_server.model.task import Task


class Pauses:
    """The `scopes` that are paused: whether there are any is all that a decision asks."""

    def __init__(self) -> None:
        self.scopes: dict[About, None] = {}  # oldest first

    def add(self, scope: About) -> None:
        """Pause a scope."""
        self.scopes[scope] = None

    def discard(self, scope: About) -> None:
        """Let it go on."""
        self.scopes.pop(scope, None)

    def covers(self, task: Task) -> bool:
        """Is the task under a pause?"""
        return any(within(scope, task) for scope in self.scopes)

    def covering(self, task: Task) -> list[About]:
        """Those that it is under, oldest first."""
        return [scope for scope in self.scopes if within(scope, task)]


def within(scope: About, task: Task) -> bool:
    """Is the task of this scope?"""
    return scope.name in ("", task.task_type) and scope.tenant in (None, task.tenant)
