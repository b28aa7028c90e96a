"""The whole service with nothing but grpcurl: over reflection, without a proto file."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.command_lines import ROOT, SCHEDULE, Ran, Talk, client, run, served


@pytest.fixture(scope="module")
def grpcurl() -> str:
    return client("grpcurl", ROOT / "build" / "bin" / "grpcurl")


@pytest.fixture(scope="module")
def address(grpcurl: str) -> Iterator[str]:
    with served() as where:
        yield where


class Shell:
    def __init__(self, grpcurl: str, address: str) -> None:
        self.grpcurl, self.address = grpcurl, address

    def __call__(self, *arguments: str) -> Ran:
        return run(self.grpcurl, "-plaintext", self.address, *arguments)

    def call(self, method: str, **request: Any) -> Ran:
        return run(self.grpcurl, "-plaintext", "-d", json.dumps(request), self.address, f"{SCHEDULE}/{method}")

    def worker(self) -> Talk:
        return Talk(self.grpcurl, "-plaintext", "-d", "@", self.address, f"{SCHEDULE}/Schedule")


@pytest.fixture
def shell(grpcurl: str, address: str) -> Shell:
    return Shell(grpcurl, address)


def test_list_shows_every_service(shell: Shell) -> None:
    listed = shell("list")
    assert listed.code == 0
    assert set(listed.out.split()) == {
        SCHEDULE,
        "scheduler_api.v1.AdminService",
        "grpc.channelz.v1.Channelz",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    }


def test_list_of_the_service_shows_every_method(shell: Shell) -> None:
    listed = shell("list", SCHEDULE)
    methods = {each.rpartition(".")[2] for each in listed.out.split()}
    assert methods == {"Assign", "AssignBatch", "CancelTask", "GetTask", "ReportOutcome", "Schedule", "WatchTasks"}


@pytest.mark.parametrize("symbol", ["scheduler_api.v1.WorkerHeartbeat", f"{SCHEDULE}.Assign", SCHEDULE])
def test_describe_shows_the_contract(shell: Shell, symbol: str) -> None:
    described = shell("describe", symbol)
    assert described.code == 0, described.err
    expected = {
        "scheduler_api.v1.WorkerHeartbeat": "string worker_id = 1;",
        f"{SCHEDULE}.Assign": "returns ( .scheduler_api.v1.AssignResponse );",
        SCHEDULE: "rpc Schedule ( stream .scheduler_api.v1.WorkerHeartbeat )",
    }
    assert expected[symbol] in described.out


def test_health_answers(shell: Shell) -> None:
    assert shell("grpc.health.v1.Health/Check").json() == {"status": "SERVING"}
    listed = shell("grpc.health.v1.Health/List").json()
    assert {each["status"] for each in listed["statuses"].values()} == {"SERVING"}


def test_channelz_tells_of_the_transport(shell: Shell) -> None:
    (server,) = shell("grpc.channelz.v1.Channelz/GetServers").json()["server"]
    assert int(server["data"]["calls_started"]) >= 1


def test_a_task_is_placed_run_and_reported_with_nothing_but_grpcurl(shell: Shell) -> None:
    worker = shell.worker()
    try:
        worker.say(
            {
                "worker_id": "curl-1",
                "cpu_usage": 0.25,
                "registration": {"capabilities": ["gpu"], "max_concurrent_tasks": 2, "accepts_tasks": True},
            }
        )
        welcome = worker.hear()["welcome"]
        assert welcome["worker_id"] == "curl-1"
        asked = {"task_id": "t1", "task_type": "resize", "required_capabilities": ["gpu"], "payload": "aGk="}
        placed = shell.call("Assign", task=asked, delivery="DELIVERY_STREAM").json()
        assert placed["state"] == "TASK_STATE_OFFERED"
        assert placed["decision"]["worker_id"] == "curl-1"
        assert placed["decision"]["reasoning"].startswith("curl-1: the only candidate")
        ran = worker.hear()["run_task"]
        assert (ran["lease_id"], ran["task"]["payload"]) == (placed["decision"]["lease_id"], "aGk=")
        outcome = {"status": "OUTCOME_STATUS_SUCCEEDED", "duration": "1.500s"}
        worker.say(
            {
                "worker_id": "curl-1",
                "sequence": "2",
                "reports": [
                    {"lease_id": ran["lease_id"], "started": {}},
                    {"lease_id": ran["lease_id"], "finished": outcome},
                ],
            }
        )
        assert worker.hear()["ack"] == {"sequence": "2"}
        task = shell.call("GetTask", task={"task_id": "t1"}).json()["task"]
        assert (task["state"], task["outcome"]["duration"]) == ("TASK_STATE_FINISHED", "1.500s")
        worker.say({"worker_id": "curl-1", "intent": "WORKER_INTENT_LEAVE"})
        assert worker.hear()["goodbye"]["reason"] == "GOODBYE_REASON_LEFT"
        assert worker.end().code == 0
    finally:
        worker.kill()


def test_five_fields_on_a_command_line_make_a_worker(shell: Shell) -> None:
    worker = shell.worker()
    try:
        worker.say({"worker_id": "five", "cpu_usage": 0.1, "memory_usage": 0.2, "queue_depth": 0, "timestamp_ms": "1"})
        assert worker.hear()["welcome"]["worker_id"] == "five"
        placed = shell.call("Assign", task={"task_id": "t2", "task_type": "resize"}).json()
        assert placed["decision"]["worker_id"] == "five"
        lease = placed["decision"]["lease_id"]
        reported = {"lease_id": lease, "outcome": {"status": "OUTCOME_STATUS_SUCCEEDED", "duration": "2s"}}
        assert shell.call("ReportOutcome", reports=[reported]).json() == {
            "results": [{"result": "OUTCOME_RESULT_ACCEPTED"}]
        }
        shell.call("Assign", task={"task_id": "t3", "task_type": "resize"}).json()
        cancelled = shell.call("CancelTask", task={"task_id": "t3"}, reason="not needed").json()
        assert cancelled["state"] == "TASK_STATE_CANCELLED"
        batch = [{"task": {"task_id": name, "task_type": "resize"}} for name in ("t4", "")]
        good, bad = shell.call("AssignBatch", requests=batch).json()["results"]
        assert good["response"]["decision"]["worker_id"] == "five"
        assert bad["error"]["code"] == 3
    finally:
        worker.kill()


@pytest.mark.parametrize(
    ("method", "request_", "code", "shown"),
    [
        ("GetTask", {"task": {"task_id": "nobody"}}, "NotFound", ["task 'nobody' is not known", "TASK_UNKNOWN"]),
        (
            "Assign",
            {"task": {"task_id": "a\nb", "priority": 2}},
            "InvalidArgument",
            ["task.priority", "must be between 0 and 1 (got 2)", "task.task_type", "U+000A", "scheduler-server"],
        ),
        (
            "Assign",
            {"task": {"task_id": "t", "task_type": "x", "required_capabilities": ["no such thing"]}},
            "FailedPrecondition",
            ["REJECTION_REASON_CAPABILITY", "NO_CAPABLE_WORKER"],
        ),
        (
            "Assign",
            {"task": {"task_id": "t", "task_type": "x", "slots": 2}},
            "Unimplemented",
            ["this server does not support that yet", "NOT_SUPPORTED_YET"],
        ),
        ("WatchTasks", {"resume_token": "x"}, "InvalidArgument", ["resume_token", "is malformed"]),
    ],
    ids=["not found", "invalid", "nobody", "not yet", "a stream"],
)
def test_errors_are_readable(shell: Shell, method: str, request_: dict[str, Any], code: str, shown: list[str]) -> None:
    worker = shell.worker()
    try:
        worker.say({"worker_id": "for errors"})
        worker.hear()
        told = shell.call(method, **request_)
    finally:
        worker.kill()
    assert told.code != 0
    assert f"Code: {code}" in told.err, told.err
    assert "ErrorInfo" in told.err
    for each in shown:
        assert each in told.err, told.err


def test_a_stream_that_is_refused_says_why(shell: Shell) -> None:
    worker = shell.worker()
    try:
        worker.say({"worker_id": "bad", "cpu_usage": 90})
        told = worker.end()
    finally:
        worker.kill()
    assert "Code: InvalidArgument" in told.err
    assert "cpu_usage: must be between 0 and 1 (got 90)" in told.err
