"""A task that somebody decides about: taken, declined, or left until it lapses."""

import threading
from collections.abc import Callable
from typing import Protocol

from scheduler_server.worker.running import Lease
from scheduler_server.worker.task_context import TaskContext, context_of


class Answers(Protocol):
    """Who carries an answer on; both say whether there was still anything to answer."""

    def accept(self, lease_id: str) -> bool: ...  # noqa: D102 -- the class docstring says it
    def decline(self, lease_id: str, reason: str) -> bool: ...  # noqa: D102


class Offer:
    """One task that is offered. Its methods may be called from any thread, at any time; the first answer counts."""

    def __init__(self, lease: Lease, answers: Answers) -> None:
        self.task: TaskContext = context_of(lease)
        run = lease.run
        self.accept_within_s = 0.0 if run is None else run.ack_within.ToNanoseconds() / 1e9
        self._answers = answers

    @property
    def withdrawn(self) -> threading.Event:
        """Set once it can not be accepted any more: it lapsed, the shift is over, or the connection was lost."""
        return self.task.cancelled

    def accept(self) -> bool:
        """Take the task: its handler runs as soon as there is a slot. False: it was too late."""
        return self._answers.accept(self.task.lease_id)

    def decline(self, reason: str = "") -> bool:
        """Leave it to others, and say why. False: it was too late."""
        return self._answers.decline(self.task.lease_id, reason)


AskAbout = Callable[[Offer], None]
"""What a program does with an offer: show it to somebody. It runs on a thread of its own."""
