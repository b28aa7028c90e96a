"""The same with buf curl, which speaks reflection v1 and needs only pip."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.command_lines import SCHEDULE, Ran, Talk, client, run, served


@pytest.fixture(scope="module")
def buf() -> str:
    return client("buf", Path(sys.executable).parent / "buf")


@pytest.fixture(scope="module")
def address(buf: str) -> Iterator[str]:
    with served() as where:
        yield where


class Shell:
    def __init__(self, buf: str, address: str) -> None:
        self.command = [buf, "curl", "--protocol", "grpc", "--http2-prior-knowledge"]
        self.root = f"http://{address}"

    def ask(self, *arguments: str) -> Ran:
        return run(*self.command, *arguments, self.root)

    def call(self, method: str, **request: Any) -> Ran:
        path = method if "/" in method else f"{SCHEDULE}/{method}"
        return run(*self.command, "--data", json.dumps(request), f"{self.root}/{path}")

    def worker(self) -> Talk:
        return Talk(*self.command, "--data", "@-", f"{self.root}/{SCHEDULE}/Schedule")


@pytest.fixture
def shell(buf: str, address: str) -> Shell:
    return Shell(buf, address)


def test_it_lists_services_and_methods(shell: Shell) -> None:
    services = shell.ask("--list-services")
    assert services.code == 0, services.err
    assert {SCHEDULE, "scheduler_api.v1.AdminService", "grpc.health.v1.Health"} <= set(services.out.split())
    methods = shell.ask("--list-methods")
    assert f"{SCHEDULE}/Assign" in methods.out.split()
    assert f"{SCHEDULE}/Schedule" in methods.out.split()


def test_health_answers(shell: Shell) -> None:
    assert shell.call("grpc.health.v1.Health/Check").json() == {"status": "SERVING"}


def test_a_task_is_placed_and_cancelled_while_a_worker_streams(shell: Shell) -> None:
    worker = shell.worker()
    try:
        worker.say({"workerId": "buf-1", "registration": {"maxConcurrentTasks": 1, "reportsOutcomes": True}})
        assert worker.hear()["welcome"]["worker_id"] == "buf-1"
        worker.say({"workerId": "buf-1", "sequence": "2", "cpuUsage": 0.5})
        assert worker.hear()["ack"]["sequence"] == "2"
        placed = shell.call("Assign", task={"taskId": "t1", "taskType": "resize"}).json()
        assert placed["decision"]["worker_id"] == "buf-1"
        assert shell.call("GetTask", task={"taskId": "t1"}).json()["task"]["state"] == "TASK_STATE_PLACED"
        full = shell.call("Assign", task={"taskId": "t2", "taskType": "resize"})
        assert full.code != 0
        assert '"resource_exhausted"' in full.err
        assert "no free slot: 1 with all slots taken" in full.err
        assert details(full) >= {"google.rpc.ErrorInfo", "scheduler_api.v1.PlacementRefusal", "google.rpc.RetryInfo"}
        cancelled = shell.call("CancelTask", task={"taskId": "t1"}).json()
        assert cancelled == {"state": "TASK_STATE_CANCELLED", "worker_told": True}
        assert worker.hear()["cancel"]["lease_id"] == placed["decision"]["lease_id"]
    finally:
        worker.kill()


@pytest.mark.parametrize(
    ("method", "request_", "shown"),
    [
        ("GetTask", {"task": {"taskId": "nobody"}}, ['"not_found"', "task 'nobody' is not known"]),
        ("Assign", {"task": {"taskId": "t"}}, ['"invalid_argument"', "task.task_type: is required"]),
        (
            "Assign",
            {"task": {"taskId": "t", "taskType": "x", "slots": 2}},
            ['"unimplemented"', "this server does not support that yet"],
        ),
    ],
    ids=["not found", "invalid", "not yet"],
)
def test_errors_are_readable(shell: Shell, method: str, request_: dict[str, Any], shown: list[str]) -> None:
    told = shell.call(method, **request_)
    assert told.code != 0
    for each in shown:
        assert each in told.err, told.err
    assert "google.rpc.ErrorInfo" in details(told)


def details(told: Ran) -> set[str]:
    """Types of the details of an error; buf leaves their bytes in base64."""
    return {each["type"] for each in json.loads(told.err)["details"]}
