"""`schedctl` against the real server: what it prints, what it refuses, and how it exits."""

import asyncio
import io
import json
import socket
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest

from scheduler_api.v1 import admin_service_pb2 as admin
from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_api.v1 import worker_pb2
from scheduler_server.schedctl.commands import COMMANDS, load
from scheduler_server.schedctl.main import run
from scheduler_server.schedctl.work import Surroundings
from tests.contract.server import DEADLINE_S, Running, Stream, running, settings, span, task


class Ran(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Its output, after a success."""
        assert self.code == 0, self.err
        return json.loads(self.out)


def typed(*words: str, given: str = "", **environment: str) -> Ran:
    """Type a command."""
    out, err = io.StringIO(), io.StringIO()
    around = Surroundings(
        stdin=io.StringIO(given), stdout=out, stderr=err, environment={"SCHEDCTL_CONFIG": "/nowhere", **environment}
    )
    code = run(words, around)
    return Ran(code, out.getvalue(), err.getvalue())


async def ctl(server: Running, *words: str, given: str = "") -> Ran:
    """Type a command, while the server runs in this loop."""
    made = asyncio.to_thread(typed, *words, given=given, SCHEDCTL_SERVER=server.app.address)
    return await asyncio.wait_for(made, DEADLINE_S)


async def worker(server: Running, worker_id: str, *, slots: int = 2, **registration: Any) -> Stream:
    made = worker_pb2.WorkerRegistration(max_concurrent_tasks=slots, reports_outcomes=True, **registration)
    return await server.worker(worker_id, cpu_usage=0.25, registration=made)


# ---------------------------------------------------------------------- looking


async def test_status_tells_server_policy_workers_and_stores(live: Running) -> None:
    await worker(live, "w1")
    ran = await ctl(live, "status")
    assert ran.code == 0
    for said in (live.app.address, "adaptive", "weighted", "1: 1 healthy", "degraded        nothing", "disabled"):
        assert said in ran.out


async def test_json_is_what_the_server_said(live: Running) -> None:
    await worker(live, "w1")
    told = (await ctl(live, "status", "-o", "json")).json()
    assert told["workers"]["total"] == "1"
    assert told["serving"] == "SERVING_STATE_SERVING"
    assert (await ctl(live, "worker", "w1", "-o", "json")).json()["max_concurrent_tasks"] == 2


async def test_workers_are_sorted_and_filtered_by_the_server(live: Running) -> None:
    await worker(live, "small", slots=1, capabilities=["cpu"])
    await worker(live, "large", slots=9, capabilities=["cpu", "gpu"], labels={"zone": "a"})

    async def ids(*options: str) -> list[str]:
        told = (await ctl(live, "workers", "-o", "json", *options)).json()
        return [each["worker_id"] for each in told["workers"]]

    assert await ids() == ["large", "small"]
    assert await ids("--sort", "free", "--reverse") == ["small", "large"]
    assert await ids("--capability", "gpu") == ["large"]
    assert await ids("--free", "2") == ["large"]
    assert await ids("--label", "zone=a") == ["large"]
    assert await ids("--match", "SMA") == ["small"]
    assert await ids("--health", "unhealthy") == []
    assert await ids("--limit", "1") == ["large"]
    assert "no workers match" in (await ctl(live, "workers", "--capability", "tpu")).out
    assert "1 of 2 workers" in (await ctl(live, "workers", "--limit", "1")).out


async def test_a_fleet_of_several_pages_is_listed_whole(live: Running) -> None:
    names = [f"w{number:04}" for number in range(1_001)]  # a page holds 1,000, and so many streams a connection
    async with grpc.aio.insecure_channel(live.app.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        other = Running(live.app, live.clock, channel)
        for start in range(0, len(names), 100):
            some = enumerate(names[start : start + 100])
            await asyncio.gather(*((live if number % 2 else other).worker(name) for number, name in some))
        told = (await ctl(live, "workers", "-o", "json")).json()
        assert [each["worker_id"] for each in told["workers"]] == names
        assert told["total_size"] == len(names)
        assert len((await ctl(live, "workers")).out.splitlines()) == len(names) + 1


async def test_no_workers_no_tasks_and_no_events_are_told_in_words(live: Running) -> None:
    assert (await ctl(live, "workers")).out == "no workers\n"
    assert "nothing" in (await ctl(live, "queue")).out
    assert "nothing to compare yet" in (await ctl(live, "predictions")).out
    assert (await ctl(live, "events", "--kind", "worker_lost")).out == "no events\n"
    assert (await ctl(live, "deadletters", "list")).out == "nothing was set aside\n"


async def test_a_worker_is_shown_with_what_it_runs(live: Running) -> None:
    await worker(live, "w1", node="host-1")
    await live.assign("t1", task_type="resize")
    shown = (await ctl(live, "worker", "w1")).out
    for said in ("host-1", "1/2 taken, 1 free (exact)", "t1", "resize", "placed"):
        assert said in shown


async def test_a_task_is_shown_placed_waiting_and_ended(live: Running) -> None:
    await worker(live, "w1", slots=1)
    lease = (await live.assign("t1", task_type="resize")).decision.lease_id
    placed = (await ctl(live, "task", "t1")).out
    for said in ("placed", "w1", lease, "the only candidate", "expected end"):
        assert said in placed
    await live.stub.Assign(_enqueued("t2"))
    waiting = (await ctl(live, "task", "t2")).out
    for said in ("waiting", "next", "expected start", "nine in ten by"):
        assert said in waiting
    assert "1 task" in (await ctl(live, "queue")).out
    await live.report(lease, 2, error_message="bad\x1b[2J\nline", error_kind="Broken")
    ended = (await ctl(live, "task", "t1")).out
    assert "finished: failed" in ended
    assert "Broken: bad\\x1b[2J\\nline" in ended


def _enqueued(task_id: str) -> api.AssignRequest:
    return api.AssignRequest(task=task(task_id), enqueue=api.Enqueue())


async def test_predictions_are_shown_by_task_type(live: Running) -> None:
    await worker(live, "w1")
    for number in range(3):
        made = await live.assign(f"t{number}", task_type="resize")
        await live.report(made.decision.lease_id, duration=span(2))
    shown = (await ctl(live, "predictions")).out
    assert "resize" in shown
    assert "(all)" in shown
    assert (await ctl(live, "predictions", "-o", "json", "--type", "resize")).json()["overall"]


async def test_events_are_the_last_so_many_in_order(live: Running) -> None:
    for number in range(3):
        await worker(live, f"w{number}")
    shown = (await ctl(live, "events", "--kind", "worker_connected", "-n", "2")).out.splitlines()
    assert [line.split()[-2] for line in shown] == ["w1", "w2"]
    lines = [json.loads(line) for line in (await ctl(live, "events", "-o", "json", "--worker", "w0")).out.splitlines()]
    assert {each["event"]["worker_id"] for each in lines} == {"w0"}
    assert all(each["resume_token"] for each in lines)
    assert (await ctl(live, "events", "-n", "0")).out == "no events\n"


async def test_nothing_from_the_wire_reaches_the_terminal_as_it_came(live: Running) -> None:
    nasty = "a\u202e\u200b" + "界" * 150
    await worker(live, nasty, node="n\u2028x", labels={"k\u200b": "v\u202e"}, capabilities=["c\u200f"])
    for words in (["workers"], ["workers", "-o", "wide"], ["worker", nasty], ["events"], ["worker", nasty + "x"]):
        ran = await ctl(live, *words)
        for line in (ran.out + ran.err).splitlines():
            assert line.isprintable(), words
        assert "\\u202e" in ran.out + ran.err
    assert (await ctl(live, "workers", "-o", "json")).out.isascii()


# ---------------------------------------------------------------------- steering


async def test_a_task_is_cancelled(live: Running) -> None:
    await worker(live, "w1")
    await live.assign("t1")
    assert (await ctl(live, "cancel", "t1", "--reason", "not needed")).out.startswith("task t1 is cancelled")
    assert await live.state("t1") == "CANCELLED"


async def test_a_worker_that_holds_leases_is_removed_only_by_force(live: Running) -> None:
    await worker(live, "w1")
    await live.assign("t1")
    refused = await ctl(live, "remove", "w1")
    assert (refused.code, refused.out) == (1, "")
    assert "still holds leases" in refused.err
    assert "1 lease lost" in (await ctl(live, "remove", "w1", "--force")).out
    assert "w1" not in live.core.fleet.records


async def test_a_snapshot_is_taken(tmp_path: Path) -> None:
    from scheduler_server.rpc.server import ServerSettings
    from scheduler_server.settings import Settings, StorageSettings

    kept = Settings(server=ServerSettings(listen="127.0.0.1:0"), storage=StorageSettings(state_folder=str(tmp_path)))
    async with running(kept) as server:
        assert str(tmp_path) in (await ctl(server, "snapshot")).out
    async with running(settings()) as server:
        refused = await ctl(server, "snapshot")
        assert refused.code == 1
        assert "no snapshot store is configured" in refused.err


async def test_discarding_asks_for_a_word_where_nobody_can_be_asked(live: Running) -> None:
    refused = await ctl(live, "deadletters", "discard", "1-1")
    assert (refused.code, refused.err) == (
        2,
        "schedctl: deadletters discard: cannot be undone; --yes says that it is meant\n",
    )
    unknown = await ctl(live, "deadletters", "discard", "1-1", "--yes")
    assert unknown.code == 1
    assert "dead letter '1-1' is not known" in unknown.err


# ---------------------------------------------------------------------- check, health


async def test_check_is_ok_warning_critical_by_its_limits(live: Running) -> None:
    assert (await ctl(live, "check")).code == 2  # nobody works
    await worker(live, "w1", slots=2)
    await live.assign("t1")
    assert (await ctl(live, "check")).code == 0
    ok = await ctl(live, "check", "--utilization", "0.5:0.9")
    assert ok.out.startswith("SCHEDULER OK - serving, 50% of slots taken")
    assert " | utilization=0.5;0.5;0.9 " in ok.out
    assert (await ctl(live, "check", "--utilization", "0.49:0.9")).code == 1
    bad = await ctl(live, "check", "--utilization", "0.1:0.49", "--workers", "5:")
    assert bad.code == 2
    assert bad.out.startswith("SCHEDULER CRITICAL - 50% of slots taken, 1 workers active |")
    assert (await ctl(live, "check", "--utilization", "x")).code == 3


async def test_health_is_an_exit_code(live: Running) -> None:
    assert (await ctl(live, "health")) == Ran(0, "serving\n", "")
    unknown = await ctl(live, "health", "no.such.Service")
    assert unknown.code == 1


# ---------------------------------------------------------------------- refusals


async def test_an_unknown_worker_is_told_with_ids_that_are_near(live: Running) -> None:
    await worker(live, "worker-17")
    ran = await ctl(live, "worker", "worker-71")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "schedctl: worker 'worker-71' is not known; known are 'worker-17'\n"


async def test_an_unknown_task_is_told_with_what_to_try(live: Running) -> None:
    ran = await ctl(live, "task", "t9")
    assert ran.err == "schedctl: task 't9' is not known, or no longer kept; --tenant names its tenant, if it has one\n"
    assert "--tenant names" not in (await ctl(live, "task", "t9", "--tenant", "acme")).err


async def test_what_this_server_has_not_yet_is_told(live: Running) -> None:
    ran = await ctl(live, "events", "--tenant", "acme")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith(f"schedctl: not supported by this server ({live.app.address}): ")
    assert len(ran.err.splitlines()) == 1


@pytest.mark.parametrize(
    "words", [["status"], ["workers"], ["task", "t"], ["task", "-f"], ["events"], ["events", "-f"]]
)
def test_a_server_that_is_not_there_is_told_with_its_address_and_what_to_look_at(words: list[str]) -> None:
    said = "nobody listens there; is the server running, and is the port right?"
    ran = typed(*words, "--server", "127.0.0.1:1")
    assert ran == Ran(1, "", f"schedctl: cannot reach 127.0.0.1:1 (--server): {said}\n")


def test_check_calls_a_server_that_is_not_there_critical() -> None:
    ran = typed("check", "--server", "127.0.0.1:1")
    assert ran.code == 2
    assert ran.out.startswith("SCHEDULER CRITICAL - cannot reach 127.0.0.1:1")


def test_a_server_that_does_not_answer_in_time_is_told_with_the_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connections are made, and nobody takes them
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        ran = typed("status", "--server", address, "--timeout", "200ms")
    assert ran.code == 1
    assert f"{address} (--server) did not answer within 0.20s" in ran.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["wrokers"], "unknown 'wrokers'; did you mean workers"),
        (["workers", "--sort", "laod"], "unknown 'laod'; did you mean load"),
        (["workers", "--health", "heathy"], "unknown 'heathy'; did you mean healthy"),
        (["workers", "--limt", "3"], "unknown '--limt'; did you mean '--limit'"),
        (["workers", "--limit", "0"], "must be a whole number from 1 to 1,000,000, not '0'"),
        (["workers", "--label", "zone"], "must be KEY=VALUE"),
        (["deadletters"], "STEP"),
        (["task"], "which one?"),
        (["events", "--kind", "worker_lots"], "did you mean worker_lost"),
        (["events", "--resume", "x"], "--resume goes with -f"),
        (["status", "--timeout", "fast"], "must be a span such as 90s"),
        (["status", "--token-file", "/nowhere"], "/nowhere: cannot be read"),
        (["status", "--ca-file", "/nowhere"], "/nowhere: cannot be read"),
        (["status", "--server", "far:1", "--token-file", "/dev/null"], "needs --tls"),
        (["top"], "needs a terminal"),
        (["\x1b[2J"], "unknown '\\x1b[2J'"),
    ],
)
def test_what_is_asked_wrongly_is_told_in_one_line_with_exit_code_2(words: list[str], said: str) -> None:
    ran = typed(*words)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert len(ran.err.splitlines()) == 1
    assert ran.err[:-1].isprintable()


# ---------------------------------------------------------------------- help, contexts, completion


def test_every_command_is_listed_and_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    listed = typed().out
    width = max(map(len, COMMANDS))
    for name, about in COMMANDS.items():
        assert f"  {name:{width}}  {about}" in listed
        command = load(name)
        assert (command.run is None) != (command.steps is None)
        with pytest.raises(SystemExit) as done:
            typed(name, "--help")
        assert done.value.code == 0
        assert "--server" in capsys.readouterr().out


async def test_contexts_are_made_used_listed_and_forgotten(live: Running, tmp_path: Path) -> None:
    def at_home(*words: str) -> Ran:
        return typed(*words, SCHEDCTL_CONFIG=str(tmp_path / "config.toml"))

    assert at_home("context", "list").out.startswith("no contexts: 127.0.0.1:50051 is asked")
    assert at_home("context", "set", "here", "--server", live.app.address).out.endswith("(in use)\n")
    assert at_home("context", "set", "there", "--server", "there:1", "--tls").code == 0
    assert (await asyncio.to_thread(at_home, "health")).out == "serving\n"
    assert at_home("context", "use", "there").out == "there is in use: there:1\n"
    listed = at_home("context", "list", "-o", "json").json()
    assert (listed["current"], listed["contexts"]["there"]["tls"]) == ("there", True)
    assert (await asyncio.to_thread(at_home, "health", "--context", "here")).out == "serving\n"
    assert at_home("context", "set", "there", "--clear", "tls").code == 0
    assert at_home("context", "list", "-o", "json").json()["contexts"]["there"]["server"] == "there:1"
    assert at_home("context", "remove", "there").code == 0
    assert at_home("context", "list", "-o", "json").json()["current"] == ""
    assert "did you mean here" in at_home("context", "use", "her").err


async def test_a_tab_offers_commands_options_values_and_workers(live: Running) -> None:
    await worker(live, "worker-17")
    await worker(live, "worker 18; rm")

    async def offered(*words: str) -> list[str]:
        return (await ctl(live, "completion", "candidates", *words)).out.split("\n")[:-1]

    assert await offered("wor") == ["workers", "worker"]
    assert await offered("deadletters", "") == ["list", "retry", "discard"]
    assert await offered("workers", "--so") == ["--sort"]
    assert await offered("workers", "--sort", "lo") == ["load"]
    assert await offered("-o", "json", "events", "--kind", "worker_lo") == ["worker_load_crossed", "worker_lost"]
    assert await offered("worker", "wor") == ["worker-17"]  # the other one is a word for nobody's shell
    assert await offered("no-such", "x") == []


def test_a_tab_where_no_server_is_offers_nothing_and_says_nothing() -> None:
    assert typed("completion", "candidates", "cordon", "", SCHEDCTL_SERVER="127.0.0.1:1") == Ran(0, "", "")


def test_an_event_tells_its_kind_where_its_words_do_not() -> None:
    from scheduler_server.schedctl.commands import events

    def told(kind: Any, detail: str) -> str:
        return "".join(said for said, _ in events.line(admin.Event(kind=kind, detail=detail)))

    assert told(admin.EVENT_KIND_WORKER_CONNECTED, "worker w1 connected").endswith("  worker w1 connected")
    assert told(admin.EVENT_KIND_WORKER_LOST, "3 leases lost").endswith("  3 leases lost  (worker lost)")
    assert told(admin.EVENT_KIND_WORKER_LOST, "").endswith("  worker lost")
