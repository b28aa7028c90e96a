"""What is one call? All that sync and async share: everything except the await.

`assigning`, `reporting` and `asking` build them; `SchedulerClient` and `AsyncSchedulerClient` make them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message
from grpc import StatusCode

from scheduler_server.client.channel import ANY_DEADLINE_S, DEADLINES_S
from scheduler_server.client.errors import ServerFault
from scheduler_server.client.spans import Span, as_timedelta

A = TypeVar("A")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[A]):
    """One call: what to send, by when, how to read the answer, and the ids it names (for errors)."""

    method: str
    request: Message
    read: Callable[[Any], A]
    deadline_s: float
    known: Mapping[str, str]


def deadline_s(method: str, timeout: Span | None) -> float:
    """What the caller says, otherwise the method's own."""
    if timeout is not None:
        return as_timedelta(timeout).total_seconds()
    return DEADLINES_S.get(method, ANY_DEADLINE_S)


def task_ids(*, task_id: str, tenant: str, attempt: int) -> Mapping[str, str]:
    """What a call names of a task. Attempt 0 names none."""
    ids = {"task_id": task_id, "tenant": tenant, "attempt": str(attempt) if attempt else ""}
    return {name: value for name, value in ids.items() if value}


def same_length(asked: Sequence[object], answered: Sequence[object]) -> None:
    """Raise ServerFault unless each item has its answer: they are told apart only by their order."""
    if len(asked) != len(answered):
        raise ServerFault(
            StatusCode.INTERNAL, message=f"asked for {len(asked)} items, the server answered {len(answered)}"
        )
