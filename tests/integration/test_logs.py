"""What the server writes on standard error, whatever it is sent."""

import contextlib
import json
import signal
from typing import Any

import pytest

from scheduler_api.v1 import schedule_service_pb2, task_pb2
from scheduler_server.client import InvalidTask, SchedulerError, Task
from tests.integration.processes import House, Server, nap, until

NASTY = [
    "a\nb",
    "a\rb",
    "\x1b[31mred",
    "a\x00b",
    "nel\x85",
    "ls\u2028ps\u2029",
    "rtl\u202eevil",
    '{"level": "error"}\n',
]


async def provoke(server: Server) -> None:
    """Ids that could end a line or start a new one, in every place where a caller can put one."""
    for number, nasty in enumerate(NASTY):
        for task in (
            Task(task_id=nasty, task_type="x"),
            Task(task_id=f"t{number}", task_type=nasty),
            Task(task_id=f"t{number}", task_type="x", tenant=nasty, required_capabilities=[nasty]),
        ):
            with contextlib.suppress(SchedulerError):  # most are refused; separators of lines are no controls
                await server.client.assign(task)
        with contextlib.suppress(SchedulerError):
            await server.client.get_task(nasty)
        with contextlib.suppress(SchedulerError):
            await server.client.cancel_task(nasty, reason=nasty)


async def test_every_line_of_a_json_log_is_one_record(house: House) -> None:
    folder = 'state\n{"level": "error"}'
    records: list[dict[str, Any]] = []
    for _ in range(2):  # the second one finds a damaged snapshot, in a folder whose name has a line break
        server = await house.server(folder=folder, log_format="json", log_level="debug")
        worker, other = await house.workers(server, "a", "b")
        await server.hand_over(nap("one", 0.0))
        await server.finished(nap("one", 0.0))
        await provoke(server)
        worker.signal(signal.SIGKILL)
        other.signal(signal.SIGTERM)
        await other.ended()
        assert await server.terminate() == 0
        records = [json.loads(line) for line in server.errors]
        assert all({"time", "level", "logger", "message"} <= set(record) for record in records)
        assert {record["level"] for record in records} <= {"debug", "info", "warning"}
        messages = [record["message"] for record in records]
        assert any(message.startswith("serving on 127.0.0.1:") for message in messages)
        assert messages[-1] == "stopped"
        snapshot = house.folder / folder / "snapshot"
        snapshot.write_bytes(snapshot.read_bytes()[:-10])
    warnings = [record["message"] for record in records if record["level"] == "warning"]
    assert any(f"{house.folder / folder}/snapshot: is damaged" in warning for warning in warnings)


async def test_a_text_log_has_one_line_per_record_whatever_is_in_it(house: House) -> None:
    folder = "state\n2026-01-01T00:00:00.000Z ERROR   forged: line"
    server = await house.server(folder=folder)
    await provoke(server)
    assert await server.terminate() == 0
    (house.folder / folder / "snapshot").write_bytes(b"rubbish")
    again = await house.server(folder=folder)
    assert await again.terminate() == 0
    for line in server.errors + again.errors:
        assert line[:4].isdigit(), line
        assert line.isprintable(), line
        assert line.split()[1] in {"INFO", "WARNING"}, line
    assert any("is damaged" in line for line in again.errors)


async def test_a_level_above_leaves_the_log_empty(house: House) -> None:
    server = await house.server(log_level="warning")
    await house.workers(server, "a")
    await provoke(server)
    assert await server.terminate() == 0
    assert server.errors == []


async def test_what_a_caller_gets_wrong_is_told_to_the_caller_and_fills_no_log(house: House) -> None:
    server = await house.server()
    before = len(server.errors)
    for _ in range(50):
        with pytest.raises(InvalidTask):
            await server.client.assign(Task(task_id="a\nb", task_type="x"))
    batch = schedule_service_pb2.AssignBatchRequest(
        requests=[schedule_service_pb2.AssignRequest(task=task_pb2.Task(task_id="\x1b", task_type="x"))] * 500
    )
    answer = await server.client.call(server.client.schedule.AssignBatch, batch)
    assert len(answer.results) == 500
    server.signal(signal.SIGTERM)
    await until(lambda: not server.running, "it stops")
    assert len(server.errors) <= before + 2
