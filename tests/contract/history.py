"""A server in process that keeps history, and what tests ask it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_api.v1 import admin_service_pb2_grpc, task_pb2
from scheduler_server.history.history import History
from scheduler_server.history.settings import HistorySettings
from scheduler_server.rpc.server import ServerSettings
from scheduler_server.settings import Settings, StorageSettings
from scheduler_server.storage.decision_log import DecisionLog, LogWriter
from scheduler_server.storage.decision_log.scribe import Scribe
from tests.contract.server import DEADLINE_S, Running, running


def kept(folder: Path, **parts: Any) -> Settings:
    """The defaults with a state folder; `history` as given."""
    parts.setdefault("server", ServerSettings(listen="127.0.0.1:0"))
    parts.setdefault("history", HistorySettings(flush_interval_s=0.01))
    return Settings(storage=StorageSettings(state_folder=str(folder)), **parts)


class Historian:
    """Asks a server about its history."""

    def __init__(self, server: Running) -> None:
        self.server = server
        self.stub = admin_service_pb2_grpc.AdminServiceStub(server.channel)

    @property
    def history(self) -> History:
        found = self.server.app.stores.history
        assert found is not None
        return found

    async def ask(self, method: str, /, **fields: Any) -> Any:
        """One call."""
        return await self.call(method, **fields)

    def call(self, method: str, /, **fields: Any) -> Any:
        """The same, not awaited: for `refused`."""
        request = getattr(api, f"{method}Request")(**fields)
        return getattr(self.stub, method)(request, timeout=DEADLINE_S)

    async def decision(self, **target: Any) -> api.DecisionRecord:
        """One decision."""
        answer: api.GetDecisionResponse = await self.ask("GetDecision", **target)
        return answer.record

    async def ids(self, **wanted: Any) -> list[str]:
        """The tasks of the decisions that a filter finds, newest first."""
        answer = await self.ask("ListDecisions", **wanted)
        return [each.decision.task.task_id for each in answer.records]

    async def store(self) -> api.StoreStatus:
        """How the log is."""
        status: api.GetStatusResponse = await self.ask("GetStatus")
        (found,) = [each for each in status.stores if each.name == "decision_log"]
        return found

    async def written(self) -> None:
        """Wait until all that happened is in the log."""
        assert self.history.writer is not None
        assert await self.history.writer.flushed(DEADLINE_S)

    def forget_the_ledger(self) -> None:
        """Ended tasks are known from the log alone from now on."""
        ledger = self.server.core.ledger
        for lease_id, record in list(ledger.leases.items()):
            if not record.live:
                del ledger.leases[lease_id]
                ledger.tasks.pop((record.task.tenant, record.task.task_id), None)
        ledger._ended.clear()


def instant(wall: float) -> Timestamp:
    """A Timestamp."""
    made = Timestamp()
    made.FromNanoseconds(round(wall * 1e9))
    return made


def between(start: float | None = None, end: float | None = None) -> api.TimeRange:
    """A TimeRange."""
    made = api.TimeRange()
    if start is not None:
        made.start.CopyFrom(instant(start))
    if end is not None:
        made.end.CopyFrom(instant(end))
    return made


def task_key(task_id: str, tenant: str = "", attempt: int = 0) -> task_pb2.TaskKey:
    """A TaskKey."""
    return task_pb2.TaskKey(task_id=task_id, tenant=tenant, attempt=attempt)


def _in_a_thread(log: DecisionLog, **options: Any) -> LogWriter:
    return LogWriter(log, writing=Scribe(log, alone=False), **options)


@asynccontextmanager
async def historian(configured: Settings, **options: Any) -> AsyncIterator[Historian]:
    """A server while it runs. Its log is written by a thread of this process: a process takes a second to start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scheduler_server.history.history.LogWriter", _in_a_thread)
        async with running(configured, **options) as server:
            yield Historian(server)
