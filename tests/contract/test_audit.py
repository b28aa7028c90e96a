"""Who changed what: every method that changes something is written down, also where it is refused."""

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import struct_pb2
from google.protobuf.duration_pb2 import Duration

from scheduler_api.v1 import admin_service_pb2 as admin
from scheduler_api.v1 import admin_service_pb2_grpc, worker_pb2
from scheduler_server.access.roles import ROLES, Role
from scheduler_server.access.settings import AccessSettings
from scheduler_server.rpc.audit import MOST_TEXT, as_json
from scheduler_server.rpc.audited import AUDITED, SECRET
from scheduler_server.rpc.server import ADMIN, DESCRIPTORS
from scheduler_server.settings import StorageSettings
from tests.contract.access_house import token
from tests.contract.server import DEADLINE_S, Running, refused, running, settings

READS = ("Get", "List", "Watch", "Explain", "Rank")


def test_every_method_that_changes_something_is_in_the_table_and_no_other() -> None:
    service = next(each for each in DESCRIPTORS if each.full_name == ADMIN)
    changing = {method.name for method in service.methods if not method.name.startswith(READS)}
    assert set(AUDITED) == changing | {"CancelTask"}
    for method in service.methods:
        if method.name in changing:
            assert not ROLES[method.full_name.replace(f".{method.name}", f"/{method.name}")], method.name


@asynccontextmanager
async def kept(folder: Path, **parts: Any) -> AsyncIterator[Running]:
    """A server with a history."""
    storage = StorageSettings(state_folder=str(folder / "state"))
    async with running(replace(settings(**parts), storage=storage)) as live:
        yield live


def stub_of(channel: grpc.aio.Channel) -> Any:
    return admin_service_pb2_grpc.AdminServiceStub(channel)


async def entries(channel: grpc.aio.Channel, metadata: Any = None, **fields: Any) -> list[Any]:
    request = admin.ListAuditEntriesRequest(**fields)
    return list((await stub_of(channel).ListAuditEntries(request, timeout=DEADLINE_S, metadata=metadata)).entries)


async def test_a_change_is_written_down_with_who_what_why_before_and_after(tmp_path: Path) -> None:
    async with kept(tmp_path) as live:
        await live.worker("w1")
        stub = stub_of(live.channel)
        await stub.CordonWorker(admin.CordonWorkerRequest(worker_id="w1", reason="a new disk"))
        (entry,) = await entries(live.channel, method="CordonWorker")
        assert (entry.author, entry.code, entry.subject_id, entry.reason) == ("anonymous", 0, "w1", "a new disk")
        assert entry.peer.startswith(("ipv4:", "ipv6:"))
        assert entry.before == ""
        assert json.loads(entry.after)["reason"] == "a new disk"
        assert json.loads(entry.request) == {"worker_id": "w1"}
        await stub.UncordonWorker(admin.UncordonWorkerRequest(worker_id="w1"))
        (entry,) = await entries(live.channel, method="UncordonWorker")
        assert json.loads(entry.before)["reason"] == "a new disk"
        assert entry.after == ""
        assert len(await entries(live.channel, subject_id="w1")) == 2


async def test_what_is_refused_or_wrong_is_written_down_with_its_code(tmp_path: Path) -> None:
    async with kept(tmp_path) as live:
        stub = stub_of(live.channel)
        await refused(stub.CordonWorker(admin.CordonWorkerRequest(worker_id="nobody")))
        await refused(stub.ForgetPredictions(admin.ForgetPredictionsRequest()))
        codes = {entry.method: entry.code for entry in await entries(live.channel)}
        assert codes == {
            "CordonWorker": grpc.StatusCode.NOT_FOUND.value[0],
            "ForgetPredictions": grpc.StatusCode.INVALID_ARGUMENT.value[0],
        }


async def test_what_reads_or_only_tries_is_not_written_down(tmp_path: Path) -> None:
    async with kept(tmp_path) as live:
        stub = stub_of(live.channel)
        await stub.GetStatus(admin.GetStatusRequest())
        update = admin.UpdateConfigRequest(dry_run=True)
        update.values["queue.order"].string_value = "fifo"
        await stub.UpdateConfig(update)
        assert await entries(live.channel) == []


async def test_settings_are_told_before_and_after_and_no_secret_is(tmp_path: Path) -> None:
    async with kept(tmp_path) as live:
        stub = stub_of(live.channel)
        update = admin.UpdateConfigRequest(reason="try it")
        update.values["queue.order"].string_value = "fifo"
        await stub.UpdateConfig(update)
        (entry,) = await entries(live.channel)
        before, after = json.loads(entry.before), json.loads(entry.after)
        assert after["queue.order"] == "fifo" != before["queue.order"]
        assert after["revision"] > before["revision"]
        hidden = admin.UpdateConfigRequest()
        hidden.values["dispatch.urll"].CopyFrom(struct_pb2.Value(string_value="redis://:hunter2@somewhere"))
        await refused(stub.UpdateConfig(hidden))
        newest = (await entries(live.channel))[0]
        assert "hunter2" not in str(newest)
        assert json.loads(newest.request)["values"] == {"dispatch.urll": SECRET}


async def test_who_is_not_allowed_to_is_written_down_and_who_only_looks_is_not(tmp_path: Path) -> None:
    looker, ann = token("looker", Role.VIEWER), token("ann", Role.ADMIN)
    (tmp_path / "access").write_text(f"{looker.line}\n{ann.line}\n")
    (tmp_path / "access").chmod(0o600)
    access = AccessSettings(file=str(tmp_path / "access"), reload_s=3_600)
    async with kept(tmp_path, access=access) as guarded:
        channel = guarded.channel
        stub = stub_of(channel)
        request = admin.TripBreakerRequest(reason="why not")
        told = await refused(stub.TripBreaker(request, metadata=looker.metadata))
        assert told.code == "PERMISSION_DENIED"
        told = await refused(stub.TripBreaker(request))
        assert told.code == "UNAUTHENTICATED"
        await stub.TripBreaker(request, metadata=ann.metadata)
        found = await entries(channel, ann.metadata)
        assert [(each.author, each.role, each.code) for each in found] == [
            ("ann", Role.ADMIN, 0),
            ("anonymous", "", grpc.StatusCode.UNAUTHENTICATED.value[0]),
            ("looker", Role.VIEWER, grpc.StatusCode.PERMISSION_DENIED.value[0]),
        ]
        assert looker.text not in str(found)


async def test_what_cannot_be_shown_as_json_is_refused_with_its_own_code_and_written_down(tmp_path: Path) -> None:
    async with kept(tmp_path) as live:
        stub = stub_of(live.channel)
        endless = admin.UpdateConfigRequest(reason="why not")
        endless.values["queue.priority_worth_s"].number_value = float("inf")
        assert (await refused(stub.UpdateConfig(endless))).code == "INVALID_ARGUMENT"
        level = admin.SetLogLevelRequest(level=admin.LOG_LEVEL_DEBUG, expires_after=Duration(seconds=10**15))
        assert (await refused(stub.SetLogLevel(level))).code == "INVALID_ARGUMENT"
        found = await entries(live.channel)
        assert [(each.method, each.code) for each in found] == [
            ("SetLogLevel", grpc.StatusCode.INVALID_ARGUMENT.value[0]),
            ("UpdateConfig", grpc.StatusCode.INVALID_ARGUMENT.value[0]),
        ]
        assert found[1].reason == "why not"


async def test_a_part_that_has_no_log_is_refused_with_a_history_too(tmp_path: Path) -> None:
    async with kept(tmp_path) as live:
        request = admin.SetLogLevelRequest(logger="nothing.of.the.kind", level=admin.LOG_LEVEL_DEBUG)
        assert (await refused(stub_of(live.channel).SetLogLevel(request))).reason == "LOGGER_UNKNOWN"
        (entry,) = await entries(live.channel)
        assert (entry.subject_id, entry.before, entry.after) == ("nothing.of.the.kind", "", "")
        assert not [name for name in logging.root.manager.loggerDict if "nothing.of.the.kind" in name]


@pytest.mark.parametrize("letter", ["x", '"', "\n", "\\"])
def test_a_text_that_is_cut_keeps_as_much_as_there_is_room_for(letter: str) -> None:
    text = as_json({"values": "begins" + letter * 20_000})
    assert MOST_TEXT - 8 <= len(text) <= MOST_TEXT
    assert json.loads(text)["cut"].startswith('{"values": "begins')


@pytest.mark.parametrize("size", [MOST_TEXT - 2, MOST_TEXT - 1, 20_000])
def test_a_text_is_json_of_at_most_4096_characters(size: int) -> None:
    for letter in ("x", '"', "\n"):
        text = as_json(letter * size)
        assert len(text) <= MOST_TEXT
        assert json.loads(text)
    assert as_json("x" * (MOST_TEXT - 2)) == '"' + "x" * (MOST_TEXT - 2) + '"'


async def test_without_a_history_changes_are_made_all_the_same(live: Running) -> None:
    await live.worker("w1", registration=worker_pb2.WorkerRegistration(max_concurrent_tasks=1))
    await stub_of(live.channel).CordonWorker(admin.CordonWorkerRequest(worker_id="w1"))
    assert live.record("w1").cordoned
