"""The demo over Redis, as a user runs it; and the account it gives, against a real server and a real Redis."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis.asyncio

from scheduler_server.client import AsyncSchedulerClient, AsyncTaskStream, Task
from scheduler_server.demo.account import STREAM, take_account
from scheduler_server.demo.child import DemoFailed
from scheduler_server.demo.redis_process import redis_program, start_redis
from tests.dispatch_house import DURABLE, Stream, running, settings, until
from tests.integration.demo_process import CHILDREN, DEADLINE_S, demo, family, gone
from tests.redis_server import any_executable, redis_server

KILLED = r"^[\d.]+ s: ([a-z]+-\d) is killed \(SIGKILL\) while it runs (#\d+(?:, #\d+)*)$"
ROW = r"^  ([a-z]+(?: [a-z]+)?) {2,}(\d+)  \w"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: a socket's is bounded. Skips where there is no Redis."""
    any_executable()
    with tempfile.TemporaryDirectory(prefix="demo-") as name:
        yield Path(name)


@pytest.mark.slow
def test_a_short_demo_over_redis_loses_nothing_with_a_worker_killed_on_the_way(folder: Path) -> None:
    with demo(folder, "--queue", "redis", "--seconds", "6", "--tasks", "60") as process:
        said, complained = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0, complained
        assert complained == ""
    killed = re.search(
        r"^[\d.]+ s: ([a-z]+-\d) is killed \(SIGKILL\) while it runs (#\d+(?:, #\d+)*)$", said, re.MULTILINE
    )
    assert killed is not None, said
    assert re.search(rf"^[\d.]+ s: the server: worker {killed[1]} lost: ", said, re.MULTILINE), said
    account = dict(
        re.findall(r"^  ([a-z]+(?: [a-z]+)?) {2,}(\d+)  \w", said.partition("What Redis and")[2], re.MULTILINE)
    )
    again = int(account.pop("placed again"))
    assert account == {
        "tasks in": "60", "ended": "60", "lost": "0", "dead letters": "0", "left pending": "0", "left unread": "0",
    }  # fmt: skip
    # A task may end, and be reported, between the choice of its worker and the kill.
    assert 1 <= again <= len(killed[2].split(", "))
    placed = re.findall(r"^[\d.]+ s: (#\d+) +[a-z-]+ placed again, as attempt 2, on ([a-z]+-\d)$", said, re.MULTILINE)
    assert len(placed) == again
    assert {task for task, _ in placed} <= set(killed[2].split(", "))
    assert killed[1] not in {worker for _, worker in placed}
    assert re.search(r"^  Redis [67]\.\d+\.\d+: appendonly yes, appendfsync always \(CONFIG GET\)$", said, re.MULTILINE)
    assert "the server's store of tasks: ok (GetStatus)" in said
    assert "60 tasks ran, nothing was lost, every result was right" in said
    assert said.endswith("every process has ended\n")
    assert max(map(len, said.splitlines())) <= 80
    assert list(folder.iterdir()) == []


@pytest.mark.slow
def test_killed_it_leaves_no_redis_behind(folder: Path) -> None:
    with demo(folder, "--queue", "redis") as process:
        children = family(process, CHILDREN + 1)
        assert any("redis-server" in child.name() for child in children)
        process.kill()
        process.wait()
        _, alive = psutil.wait_procs(children, timeout=5.0)
        assert gone(alive)


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["redis", "server"])
def test_a_redis_or_server_that_dies_is_named_in_one_line(folder: Path, victim: str) -> None:
    with demo(folder, "--queue", "redis") as process:
        children = family(process, CHILDREN + 1)
        named = {"redis": lambda child: "redis" in child.name(), "server": lambda child: "serve" in child.cmdline()}
        next(filter(named[victim], children)).kill()
        _, complained = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 1
        assert re.fullmatch(rf"scheduler-server demo: {victim} was ended by SIGKILL: .*\n", complained), complained
        assert gone(children)
    assert list(folder.iterdir()) == []


async def test_the_demos_redis_listens_on_a_private_socket_only_and_syncs(folder: Path) -> None:
    child, socket = await start_redis(redis_program(), folder)
    try:
        assert socket.stat().st_mode & 0o777 == 0o700
        assert psutil.Process(child.process.pid).net_connections(kind="inet") == []
        client = redis.asyncio.Redis(unix_socket_path=str(socket))
        assert (await client.config_get("appendfsync"))["appendfsync"] == "always"
        assert (await client.config_get("appendonly"))["appendonly"] == "yes"
        await client.aclose()
    finally:
        assert await child.stop(10.0) == 0


async def test_a_program_that_is_no_redis_is_told_in_one_line(folder: Path) -> None:
    with pytest.raises(DemoFailed, match="redis did not start: it left no word"):
        await start_redis("/bin/false", folder)


@pytest.mark.parametrize("end", ["all", "none", "some"])
async def test_the_account_is_what_redis_and_the_server_have(tmp_path: Path, end: str) -> None:
    with redis_server(tmp_path / "redis", *DURABLE) as server:
        client, seen = redis.asyncio.Redis(host="127.0.0.1", port=server.port), Stream(server)
        stream = AsyncTaskStream(client, STREAM)
        await stream.add_many(Task(task_id=f"t{number}", task_type="work") for number in range(5))
        await stream.add(Task(task_id="t0", task_type="work"))  # twice, as one does who got no answer
        async with running(settings(server.url)) as house, AsyncSchedulerClient(house.app.address) as scheduler:
            if end == "none":
                await until(
                    lambda: [group["pending"] for group in seen.client.xinfo_groups(STREAM)] == [6], "all are read"
                )
            else:
                house.workers.start("w", slots=5)
                await until(lambda: len(house.workers.ran) == 5, "all run")
            if end == "some":
                await stream.add(Task(task_id="t5", task_type="work", required_capabilities=["nobody has it"]))
                await stream.add(Task(task_id="", task_type="work"))
                await until(lambda: len(seen.dead()) == seen.pending() == 1, "one is set aside, one waits")
            account = await take_account(client, scheduler, 10.0 if end == "all" else 0.5)
        await client.aclose()
    assert (account.appendonly, account.appendfsync) == ("yes", "always")
    assert account.unread == 0
    counted = (account.entries, account.tasks, account.ended, account.unacknowledged, account.dead_letters)
    if end == "all":
        assert counted == (6, 5, 5, 0, 0)
        assert account.faults(5) == []
        assert account.faults(6) == ["6 tasks were handed in, the stream has 5"]
    elif end == "none":
        assert counted == (6, 5, 0, 6, 0)
        assert account.lost == [f"t{number}: WAITING" for number in range(5)]
    else:
        assert counted == (8, 7, 5, 1, 1)
        assert account.lost[0] == "t5: WAITING"
        assert len(account.lost) == 2
        assert len(account.faults(7)) == 3
