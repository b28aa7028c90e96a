"""`scheduler-server enqueue` and the client library put tasks where a server finds them."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis.asyncio

from scheduler_server.client import AsyncTaskStream, Task, TaskStream
from tests.dispatch_house import DURABLE, TASKS, Stream, running, settings, until
from tests.redis_server import redis_server


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[Stream]:
    with redis_server(tmp_path / "redis", *DURABLE) as server:
        yield Stream(server)


def enqueue(*words: str, given: str = "") -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "scheduler_server", "enqueue", *words]
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=False)


async def test_a_task_from_the_command_line_runs(stream: Stream) -> None:
    done = enqueue(
        "--url", stream.server.url, "--task-id", "t", "--type", "work", "--tenant", "a", "--priority", "0.9",
        "--payload", "p", "--set", 'features={"bytes": 5}', "--set", "loss_policy=LOSS_POLICY_REQUEUE",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == stream.client.xrange(TASKS)[0][0].decode()
    async with running(settings(stream.server.url)) as server:
        waiter = await until(lambda: server.app.core.queue.waiting.by_task.get(("a", "t")), "it waits")
        assert (waiter.event.task.priority, waiter.event.task.features) == (0.9, (("bytes", 5.0),))
        server.workers.start("w")
        await until(lambda: server.workers.ran == [("t", 1, b"p", "w")], "it runs")


async def test_a_file_of_tasks_is_put_in_line_by_line(stream: Stream, tmp_path: Path) -> None:
    lines = "\n".join(json.dumps({"task_id": f"t{number}", "task_type": "work"}) for number in range(1_200))
    done = enqueue("--url", stream.server.url, "--file", "-", given=lines + "\n\n")
    assert (done.returncode, len(done.stdout.split())) == (0, 1_200)
    path = tmp_path / "tasks"
    path.write_text('{"task_id": "u", "task_type": "work"}\n')
    assert enqueue("--url", stream.server.url, "--file", str(path)).returncode == 0
    assert stream.client.xlen(TASKS) == 1_201


@pytest.mark.parametrize(
    ("words", "given", "code", "line"),
    [
        (["--task-id", "t"], "", 2, "--task-id and --type are required, or --file"),
        (["--task-id", "t", "--type", "w", "--set", "x"], "", 2, "--set 'x': must be NAME=VALUE"),
        (["--task-id", "t", "--type", "w", "--set", "colour=red"], "", 2, "the options: Message type"),
        (["--task-id", "t", "--type", "w", "--payload", "@/no/such"], "", 2, "--payload @/no/such: No such file"),
        (["--file", "/no/such"], "", 2, "--file /no/such: No such file"),
        (["--file", "-", "--tenant", "a", "--set", "x=1"], "", 2, "--file: has whole tasks; not with --tenant, --set"),
        (["--file", "-"], "{}\n{", 2, "-, line 2: is no JSON"),
        (["--file", "-"], "[]", 2, "-, line 1: is no JSON object"),
        (["--file", "-"], '{"features": ' + "[" * 100_000, 2, "-, line 1: is no JSON"),
        (["--url", "http://x", "--task-id", "t", "--type", "w"], "", 2, "must begin with redis://"),
        (["--url", "redis://127.0.0.1:1", "--task-id", "t", "--type", "w"], "", 1, "it cannot be reached"),
    ],
)
def test_what_cannot_be_done_is_one_line(words: list[str], given: str, code: int, line: str) -> None:
    done = enqueue(*words, given=given)
    assert done.returncode == code
    assert done.stderr.startswith("scheduler-server enqueue: ")
    assert line in done.stderr
    assert done.stderr.count("\n") == 1
    assert not done.stdout


def test_a_key_that_is_no_stream_is_told(stream: Stream) -> None:
    stream.client.set("mine", "x")
    done = enqueue("--url", stream.server.url, "--stream", "mine", "--task-id", "t", "--type", "w")
    assert (done.returncode, "holds something else than a stream" in done.stderr) == (1, True)


@pytest.mark.parametrize("plain", [False, True])
async def test_tasks_from_the_client_library_run(stream: Stream, plain: bool) -> None:
    tasks = [Task(task_id=f"t{number}", task_type="work", payload=bytes([number])) for number in range(10)]
    one = TaskStream(stream.client, plain=plain)
    assert one.add(tasks[0]) == stream.client.xrange(TASKS)[0][0].decode()
    assert len(one.add_many(tasks[1:6])) == 5
    client = redis.asyncio.Redis(host="127.0.0.1", port=stream.server.port)
    two = AsyncTaskStream(client, plain=plain)
    assert await two.add(tasks[6])
    assert len(await two.add_many(tasks[7:])) == 3
    await client.aclose()
    async with running(settings(stream.server.url)) as server:
        server.workers.start("w")
        await until(lambda: len(server.workers.ran) == 10, "all run")
        assert {task_id: payload for task_id, _, payload, _ in server.workers.ran} == {
            task.task_id: task.payload for task in tasks
        }
        await until(stream.idle, "all are acknowledged")
