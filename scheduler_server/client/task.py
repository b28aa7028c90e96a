"""What does a queue service say about a task?"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Self

from scheduler_api.v1 import task_pb2
from scheduler_server.client.enums import LossPolicy
from scheduler_server.client.spans import duration_message, timestamp_message


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task to place; `scheduler_api.v1.Task` says what each field means, its limits and its absence.

    The three hints (`expected_duration`, `description_length`, `dependencies`) stand beside the rest. Nothing
    is checked here beyond what the wire can carry (`to_proto` raises ValueError for -1 slots or an instant
    without zone): the server checks, for every language alike, and answers `InvalidTask` naming the fields.
    """

    task_id: str
    task_type: str
    attempt: int = 1
    tenant: str = ""
    category: str = ""
    priority: float | None = None
    required_capabilities: Iterable[str] = ()
    excluded_workers: Iterable[str] = ()
    match_labels: Mapping[str, str] = field(default_factory=dict)
    features: Mapping[str, float] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)
    expected_duration: timedelta | None = None
    description_length: int | None = None
    dependencies: int | None = None
    not_before: datetime | None = None
    start_by: datetime | None = None
    loss_policy: LossPolicy = LossPolicy.UNSPECIFIED
    payload: bytes = b""
    slots: int | None = None
    user: str = ""
    requested_resources: Mapping[str, float] = field(default_factory=dict)
    caller_choice: str = ""
    max_attempts: int | None = None

    def __post_init__(self) -> None:
        """An iterator would be empty the second time it is sent; a bare string would be its letters."""
        for name in ("required_capabilities", "excluded_workers"):
            value = getattr(self, name)
            if isinstance(value, str):
                raise TypeError(f"{name} takes several strings, not one: [{value!r}]")
            object.__setattr__(self, name, tuple(value))

    def as_attempt(self, attempt: int) -> Self:
        """The same task as another attempt: what to send after `AttemptLost`."""
        return replace(self, attempt=attempt)

    def to_proto(self) -> task_pb2.Task:
        """The task as its message. Fields that are None stay absent."""
        hints = (self.expected_duration, self.description_length, self.dependencies)
        return task_pb2.Task(
            task_id=self.task_id,
            attempt=self.attempt,
            tenant=self.tenant,
            task_type=self.task_type,
            category=self.category,
            priority=self.priority,
            required_capabilities=self.required_capabilities,
            excluded_workers=self.excluded_workers,
            match_labels=self.match_labels,
            features=self.features,
            attributes=self.attributes,
            hints=None if hints == (None, None, None) else self._hints(),
            not_before=None if self.not_before is None else timestamp_message(self.not_before),
            start_by=None if self.start_by is None else timestamp_message(self.start_by),
            loss_policy=task_pb2.LossPolicy.ValueType(self.loss_policy),
            payload=self.payload,
            slots=self.slots,
            user=self.user,
            requested_resources=self.requested_resources,
            caller_choice=self.caller_choice,
            max_attempts=self.max_attempts,
        )

    def _hints(self) -> task_pb2.TaskHints:
        expected = self.expected_duration
        return task_pb2.TaskHints(
            expected_duration=None if expected is None else duration_message(expected),
            description_length=self.description_length,
            dependencies=self.dependencies,
        )
