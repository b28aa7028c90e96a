"""After a kill: which decisions the log lacks, and how that is known."""

import asyncio
import sys
from pathlib import Path
from typing import Any

from scheduler_server.assignment.ledger import TaskRecord
from scheduler_server.history import afterwards
from scheduler_server.history.afterwards import Mark, missing, record_anew
from scheduler_server.model.task import Delivery, Task
from scheduler_server.storage.decision_log import SqliteLog
from tests.decision_rows import batch, decided, decision


def lease(number: int) -> TaskRecord:
    made = decision(number)
    return TaskRecord(Task(*made.task, made.task_type), made, None, Delivery.CALLER, 0.0, 1.0)


def test_a_run_that_ended_leaves_no_mark_and_one_that_was_killed_does(tmp_path: Path) -> None:
    first = Mark(tmp_path)
    first.set("run1")
    assert not first.found
    killed = Mark(tmp_path)
    killed.set("run2")
    assert killed.found
    killed.clear()
    after = Mark(tmp_path)
    after.set("run3")
    assert not after.found


async def test_only_when_the_run_before_and_the_process_that_writes_for_it_are_gone_is_a_run_alone(
    tmp_path: Path,
) -> None:
    before = Mark(tmp_path)
    before.set("run1")
    assert await before.alone(0.0)
    line = asyncio.subprocess.PIPE
    writes = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=line, pass_fds=before.held)
    before.close()  # as a kill does
    present = Mark(tmp_path)
    present.set("run2")
    assert present.found
    assert not await present.alone(0.0)
    await writes.communicate(b"\n")
    assert await present.alone(10.0)
    present.clear()
    assert await Mark(tmp_path).alone(0.0)


def test_without_a_folder_or_in_one_that_cannot_be_written_nothing_is_marked(tmp_path: Path) -> None:
    for folder in (None, tmp_path / "nowhere"):
        mark = Mark(folder)
        mark.set("run1")
        mark.clear()
        assert not mark.found


def test_the_leases_whose_decisions_the_log_lacks_are_found_newest_first(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.sqlite")
    log.prepare()
    log.write(batch([decided(number) for number in (1, 2, 3, 5)]))
    leases = [lease(number) for number in (6, 5, 4, 3, 2, 1)]
    assert [each.task.task_id for each in missing(log, leases)] == ["task-6", "task-4"]
    log.close_reading()
    log.close()


def test_behind_many_that_it_has_it_is_not_asked_any_more(tmp_path: Path) -> None:
    asked: list[str] = []

    class Log:
        def find(self, which: Any) -> object:
            asked.append(which.decision_id)
            return object() if which.decision_id != "d-run1-100" else None

    log: Any = Log()
    leases = [lease(number) for number in range(100, 0, -1)]
    assert [each.task.task_id for each in missing(log, leases)] == ["task-100"]
    assert len(asked) == 1 + afterwards._FOUND_IN_A_ROW


def test_they_are_recorded_in_their_order_and_that_is_told() -> None:
    told: list[str] = []
    said = record_anew([lease(2), lease(1)], lambda record: told.append(record.task.task_id), 0.25)
    assert told == ["task-1", "task-2"]
    assert "0.25 s" in said
    assert "2 decisions were recorded again" in said
