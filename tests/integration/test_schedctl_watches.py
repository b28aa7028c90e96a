"""`schedctl` with what other processes do meanwhile: dead letters in a real Redis, tasks and events as they happen."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from scheduler_server.client import AsyncSchedulerClient, Task
from tests.contract.command_lines import Ran, lines_of, next_line
from tests.dispatch_house import DURABLE, TASKS, Running, Stream, running, settings, until
from tests.redis_server import redis_server

COMMAND = [sys.executable, "-m", "scheduler_server.schedctl"]
ENVIRONMENT = {**os.environ, "SCHEDCTL_CONFIG": "/nowhere"}
DEADLINE_S = 20.0


async def ctl(server: Running, *words: str) -> Ran:
    """Type a command."""

    def typed() -> Ran:
        command = [*COMMAND, *words, "--server", server.app.address]
        done = subprocess.run(
            command, capture_output=True, text=True, env=ENVIRONMENT, timeout=DEADLINE_S, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return Ran(done.returncode, done.stdout, done.stderr)

    return await asyncio.to_thread(typed)


class Follower:
    """A command that goes on until Ctrl-C."""

    def __init__(self, server: Running, *words: str) -> None:
        self._process = subprocess.Popen(
            [*COMMAND, *words, "--server", server.app.address],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        )
        assert self._process.stdout is not None
        self._lines = lines_of(self._process.stdout)

    async def line(self) -> str:
        return await asyncio.to_thread(next_line, self._lines)

    async def line_with(self, said: str) -> str:
        while said not in (line := await self.line()):
            assert line, f"it ended without {said!r}"
        return line

    async def end(self) -> str:
        """Ctrl-C; answers the token that it leaves."""
        self._process.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(self._process.wait, DEADLINE_S) == 130
        while await self.line():
            pass
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        said = self._process.stderr.read()
        self._process.stdout.close()
        self._process.stderr.close()
        assert len(said.splitlines()) == 1, said
        return said.rpartition(" ")[2].strip()


async def test_dead_letters_are_listed_put_back_and_thrown_away(tmp_path: Path) -> None:
    with redis_server(tmp_path / "redis", *DURABLE) as redis:
        stream = Stream(redis)
        async with running(settings(redis.url)) as server:
            stream.client.xadd(TASKS, {"task": b"\xff\x1b[2J"})
            await until(lambda: len(stream.dead()) == 1, "one is set aside")
            stream.add("bad\u202e", tenant="a", start_by="2020-01-01T00:00:00Z")
            await until(lambda: len(stream.dead()) == 2, "another one, too")
            listed = (await ctl(server, "deadletters", "list", "-o", "json")).json()["dead_letters"]
            bad, unreadable = (each["dead_letter_id"] for each in listed)
            shown = (await ctl(server, "deadletters", "list")).out
            assert all(line.isprintable() for line in shown.splitlines())
            for said in (bad, "a/bad\\u202e", "expired", unreadable, "(unreadable)", "undecodable"):
                assert said in shown
            assert unreadable not in (await ctl(server, "deadletters", "list", "--tenant", "a")).out
            assert bad not in (await ctl(server, "deadletters", "list", "--why", "undecodable")).out
            assert len((await ctl(server, "deadletters", "list", "--limit", "1")).out.splitlines()) == 2

            refused = await ctl(server, "deadletters", "retry", unreadable)
            assert (refused.code, refused.out) == (1, "")
            assert "cannot be read as a task" in refused.err
            near = await ctl(server, "deadletters", "discard", unreadable[:-1] + "9", unreadable, "--yes")
            assert near.code == 1
            assert f"did you mean {bad!r}" in near.err or f"did you mean {unreadable!r}" in near.err
            assert near.out == f"{unreadable}: thrown away\n"  # what can be done is done
            assert len(stream.dead()) == 1


async def test_a_dead_letter_that_is_put_back_runs(tmp_path: Path) -> None:
    with redis_server(tmp_path / "redis", *DURABLE) as redis:
        stream = Stream(redis)
        async with running(settings(redis.url)) as server:
            stream.add("late", start_by="2020-01-01T00:00:00Z")
            await until(stream.dead, "it is set aside")
            letter = (await ctl(server, "deadletters", "list", "-o", "json")).json()["dead_letters"][0]
            server.workers.start("w")
            done = await ctl(server, "deadletters", "retry", letter["dead_letter_id"], "--reason", "again")
            assert (done.code, done.err) == (0, "")
            assert "task late #2 is back in the queue" in done.out
            await until(lambda: server.workers.ran, "it runs")
            assert server.workers.ran[0][:2] == ("late", 2)


async def test_tasks_are_followed_as_they_change_and_taken_up_where_another_one_stopped(tmp_path: Path) -> None:
    async with running(settings("", tmp_path)) as server, AsyncSchedulerClient(server.app.address) as client:
        following = Follower(server, "task", "-f")
        await until(lambda: server.app.calls.watchers, "it watches")
        await client.assign(Task(task_id="t1", task_type="work"), enqueue=True)
        assert (await following.line()).endswith("t1 waiting\n")
        token = await following.end()
        await client.cancel_task("t1")
        one = Follower(server, "task", "t1", "-f", "--resume", token, "-o", "json")
        change = json.loads(await one.line())
        assert change["task"]["state"] == "TASK_STATE_CANCELLED"
        assert await one.end() == change["resume_token"]


async def test_events_are_taken_up_where_another_one_stopped(tmp_path: Path) -> None:
    async with running(settings("", tmp_path)) as server:
        following = Follower(server, "events", "-f", "--kind", "worker_registered")
        server.workers.start("w1")
        await following.line_with("w1")
        token = await following.end()
        server.workers.start("w2")
        await until(lambda: "w2" in server.app.core.fleet.records, "w2 is there")
        again = Follower(server, "events", "-f", "--resume", token, "-o", "json")
        found: list[Any] = []
        while not found or found[-1]["event"]["worker_id"] != "w2":
            found.append(json.loads(await again.line()))
        assert [each["event"]["kind"] for each in found if each["event"]["worker_id"] == "w1"].count(
            "EVENT_KIND_WORKER_REGISTERED"
        ) == 0
        await again.end()


async def test_a_token_of_another_run_is_refused_where_it_was_asked_for(tmp_path: Path) -> None:
    async with running(settings("", tmp_path)) as server:
        foreign = await ctl(server, "events", "-f", "--resume", "1-1")
        assert (foreign.code, foreign.out) == (1, "")
        assert len(foreign.err.splitlines()) == 1
