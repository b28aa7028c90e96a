"""What holds for the SDK as a whole."""

import ast
import inspect
import math
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from scheduler_server import client as sdk
from scheduler_server.client import (
    AsyncSchedulerClient,
    Delivery,
    Outcome,
    OutcomeStatus,
    SchedulerClient,
    Task,
    assigning,
    reporting,
)

FILES = sorted(Path(inspect.getfile(sdk)).parent.glob("*.py"))
ALLOWED = {"grpc", "google.protobuf", "google.rpc", "grpc_status", "scheduler_api", "scheduler_server.client"} | {
    "scheduler_server.credentials",  # it imports grpc alone
    "opentelemetry",  # where it is installed
}
TASK = Task(task_id="t1", task_type="resize")


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_the_sdk_imports_only_what_other_peoples_programs_can_have(path: Path) -> None:
    foreign = {name for name in imported(path) if name.split(".")[0] not in sys.stdlib_module_names}
    assert {n for n in foreign if not any(n == ok or n.startswith(f"{ok}.") for ok in ALLOWED)} == set()
    assert not [name for name in foreign if name.startswith("opentelemetry.sdk")], "its API alone; see tracing.py"


PUBLIC = [name for name, _ in inspect.getmembers(SchedulerClient, inspect.isfunction) if not name.startswith("_")]


def test_sync_and_async_have_the_same_methods() -> None:
    others = inspect.getmembers(AsyncSchedulerClient, inspect.isfunction)
    assert [name for name, _ in others if not name.startswith("_")] == PUBLIC
    assert {"assign", "assign_batch", "report_outcome", "report_outcomes", "get_task", "cancel_task"} <= set(PUBLIC)


@pytest.mark.parametrize("name", [name for name in PUBLIC if name != "call"])
def test_sync_and_async_take_and_give_the_same(name: str) -> None:
    ours, theirs = getattr(SchedulerClient, name), getattr(AsyncSchedulerClient, name)
    one, other = inspect.signature(ours), inspect.signature(theirs)
    assert one.parameters == other.parameters
    if name != "watch_tasks":  # what it gives is iterated over, by `for` or by `async for`
        assert one.return_annotation == other.return_annotation
    assert inspect.getdoc(ours) == inspect.getdoc(theirs)


def test_waiting_and_enqueueing_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="choose one"):
        assigning.assign(TASK, delivery=Delivery.CALLER, wait=timedelta(), enqueue=True, explain=False, timeout=None)


def test_a_whole_outcome_does_not_take_a_second_duration() -> None:
    outcome = Outcome(status=OutcomeStatus.SUCCEEDED)
    with pytest.raises(ValueError, match="belong into the Outcome"):
        reporting.outcome_of(outcome, timedelta(seconds=1), "", "")


@pytest.mark.parametrize("wait", [math.nan, math.inf])
def test_a_span_that_is_no_number_never_leaves_the_caller(wait: float) -> None:
    with pytest.raises((ValueError, OverflowError)):
        assigning.assign(TASK, delivery=Delivery.CALLER, wait=wait, enqueue=False, explain=False, timeout=None)


def test_a_wait_of_zero_is_said() -> None:
    call = assigning.assign(TASK, delivery=Delivery.CALLER, wait=0, enqueue=False, explain=False, timeout=None)
    assert call.request.HasField("wait")
