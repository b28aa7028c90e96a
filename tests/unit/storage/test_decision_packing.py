"""Entries on their way out of the server's interpreter: packed, unpacked, and rows as if they had never been."""

import socket
import threading
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scheduler_server.model.decision import Change, ChangeKind, Rejection
from scheduler_server.model.fleet_event import FleetEvent, FleetEventKind
from scheduler_server.model.task import BlockingReason, Hints, Prospects, Task
from scheduler_server.storage.decision_log import (
    Audited,
    DecisionFilter,
    Entry,
    Happened,
    LogError,
    LogFault,
    Shadowed,
    SqliteLog,
    Table,
)
from scheduler_server.storage.decision_log.flatten import flatten
from scheduler_server.storage.decision_log.frames import receive, receive_bytes, send
from scheduler_server.storage.decision_log.packing import Parcel, pack, unpack
from scheduler_server.storage.decision_log.scribe import Scribe
from tests.decision_rows import EXPLAINED, START, decided, decision, finished, sampled

CHANGED = EXPLAINED._replace(
    changes=(
        Change(ChangeKind.TERM, "w-2", True, "wait", 1.0, 0.25),
        Change(ChangeKind.ADMITTED, "w-3", False, score=0.5, rejection=Rejection.LABEL),
    )
)
TOLD = Prospects(4, START, None, BlockingReason.NO_FREE_SLOT, "no free slot", START - 5.0, 17, 0.9)
FULL = Task(
    "tenant", "task-1", 1, "resize", "feature", 0.75, ("gpu",), ("w-9",), (("a", "b"),), (("n", 1.5),), (("cpu", 2.0),),
    Hints(100.0, 7, None), user="ann", attributes=(("x", "y"),),
)  # fmt: skip
ENTRIES: list[Entry] = [
    decided(1),
    decided(2, prediction=None, terms=(), degraded=True),
    decided(3, explanation=CHANGED),
    decided(4, about={"enqueued_at": START, "expected": TOLD, "overrides": (("o-1", "capped at 3"),)}),
    finished(5, about={"task": FULL}),
    finished(6, None, about={"status": None, "started_at": None}),
    sampled(7.0, "", 4, 1),
    Happened(FleetEvent(1, START, FleetEventKind.BREAKER_OPENED, "w-1", "why", "a", "b", "s"), "warning", author="ann"),
    Shadowed("other", decision(8), "w-2", 1.0, 2.0, 0.5, "PREDICTED", "BEST_SCORE"),
    Audited(START, "a-1", "ann", "admin", "ipv4:1", "X", "", "", "", "{}", 7, "{}"),
]


def rows(entries: Any) -> dict[Table, list[Any]]:
    """What flatten makes of numbered entries with their kinds."""
    found: dict[Table, list[Any]] = defaultdict(list)
    for number, kind, entry in entries:
        flatten(kind, entry, "run1", number, found)
    return found


def parcel(entries: list[Any], number: int = 1, first: int = 1, *, again: bool = False) -> Parcel:
    return Parcel("run1", number, first, again, [pack(entries).body])


# ------------------------------------------------------------------ packing


def test_rows_of_what_was_packed_are_the_rows_of_what_it_was() -> None:
    packed = [pack(ENTRIES[:4]), pack(ENTRIES[4:])]
    told = unpack(Parcel("run1", 1, 11, False, [each.body for each in packed]))
    made = rows(told)
    assert made == rows((number, type(entry), entry) for number, entry in enumerate(ENTRIES, 11))
    assert set(made) == set(Table)
    assert packed[0].counts == {Table.DECISIONS: 4}
    counts = {table: count for each in packed for table, count in each.counts.items()}
    assert counts == {table: 4 if table is Table.DECISIONS else 2 if table is Table.OUTCOMES else 1 for table in counts}
    assert set(counts) == set(Table) - {Table.CANDIDATES}
    assert [each.refused for each in packed] == [[], []]


def test_what_cannot_be_packed_is_left_out_and_what_follows_keeps_its_number() -> None:
    bad = [None, decided(2, worker_id="\ud800"), decided(3, policy_revision=2**64), decided(4, scorer=object())]
    body, counts, refused = pack([decided(1), *bad, finished(5)])
    assert counts == {Table.DECISIONS: 1, Table.OUTCOMES: 1}
    assert [table for table, _ in refused] == [Table.EVENTS, *[Table.DECISIONS] * 3]
    assert "a value of type object cannot be kept" in refused[3][1]
    kept = list(unpack(Parcel("run1", 1, 1, False, [body])))
    assert [(number, kind.__name__) for number, kind, _ in kept] == [(1, "Decided"), (6, "Finished")]


def test_numbers_of_numpy_are_numbers() -> None:
    made = rows(unpack(parcel([decided(1, score=np.float64(0.5), candidates=np.int64(3))])))
    assert made == rows([(1, type(ENTRIES[0]), decided(1, score=0.5, candidates=3))])


# ------------------------------------------------------------------ the line


def test_messages_and_what_belongs_to_them_cross_the_line_whole() -> None:
    here, there = socket.socketpair()
    bodies = [bytes([at % 251]) * size for at, size in enumerate([0, 1, 3_000_000, *[17] * 1_500])]
    with here, there, there.makefile("rb") as source:
        sender = threading.Thread(target=send, args=(here.fileno(), ("write", len(bodies)), bodies))
        sender.start()
        assert receive(source) == ["write", len(bodies)]
        assert [receive_bytes(source) for _ in bodies] == bodies
        sender.join()
        here.shutdown(socket.SHUT_WR)
        assert receive(source) is None


@pytest.mark.parametrize("kept", [1, 7, 8, 9, 12])
def test_a_message_that_ends_in_its_midst_is_the_end(kept: int) -> None:
    here, there = socket.socketpair()
    with here, there, there.makefile("rb") as source:
        here.sendall(((6).to_bytes(8) + b"123456")[:kept])
        here.shutdown(socket.SHUT_WR)
        assert receive(source) is None


# ------------------------------------------------------------------ the scribe


@pytest.fixture
def log(tmp_path: Path) -> Any:
    made = SqliteLog(tmp_path / "decisions.sqlite")
    yield made
    made.close_reading()
    made.close()


def ids(log: SqliteLog) -> list[str]:
    return [each.decision.decision_id for each in log.decisions(DecisionFilter(), limit=100).items]


@pytest.mark.parametrize("alone", [True, False])
def test_what_no_store_can_hold_is_refused_and_the_rest_is_written(log: SqliteLog, alone: bool) -> None:
    scribe = Scribe(log, alone=alone)
    bad = [decided(2, policy_revision=2**63), decided(3, explanation=EXPLAINED, source=99)]
    told, refused, why = scribe.write(parcel([decided(1), *bad, decided(4)]))
    assert (told, refused) == ([], {Table.DECISIONS: 2})
    assert "cannot hold a value" in why
    assert ids(log) == ["d-run1-4", "d-run1-1"]


def test_a_parcel_whose_answer_was_lost_is_answered_alike_and_stored_once(log: SqliteLog) -> None:
    scribe = Scribe(log, alone=True)
    odd = [decided(3, score=float("nan")), sampled(4.0, "w-1", 4, 1, covers_s=float("inf"))]
    given = parcel([decided(1), decided(2, policy_revision=2**63), *odd])
    first = scribe.write(given)
    again = Scribe(log, alone=True).write(given._replace(again=True))
    assert first.refused == again.refused == {Table.DECISIONS: 1, Table.HEARTBEATS: 1}
    assert ids(log) == ["d-run1-3", "d-run1-1"]


def test_a_value_that_is_missing_does_not_hold_up_the_log_for_ever(log: SqliteLog) -> None:
    nothing: Any = None
    written = Scribe(log, alone=True).write(parcel([decided(1, worker_id=nothing)]))
    assert written.refused == {Table.DECISIONS: 1}
    assert "NOT NULL" in written.why


def test_a_parcel_that_can_never_be_stored_is_refused_as_a_whole_after_three_tries() -> None:
    class Never:
        tries = 0

        def write(self, batch: Any) -> list[str]:
            self.tries += 1
            raise LogError(LogFault.UNSUITABLE_ROW, "log: cannot hold a value")

    never: Any = Never()
    written = Scribe(never, alone=True).write(parcel([decided(1), finished(2), decided(3)]))
    assert (written.refused, never.tries) == ({Table.DECISIONS: 2, Table.OUTCOMES: 1}, 3)
