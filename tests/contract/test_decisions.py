"""GetDecision and ListDecisions: from memory, from the log, and what they refuse."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from scheduler_api.v1 import decision_pb2, schedule_service_pb2, task_pb2, worker_pb2
from scheduler_server.history.settings import HistorySettings
from scheduler_server.storage.decision_log import ByDecision
from tests.contract.history import Historian, between, historian, instant, kept, task_key
from tests.contract.server import WALL_S, refused, running, settings, span

FULL = schedule_service_pb2.EXPLANATION_VIEW_FULL


@pytest.fixture
async def asked(tmp_path: Path) -> AsyncIterator[Historian]:
    async with historian(kept(tmp_path)) as found:
        yield found


async def one_ended(asked: Historian, task_id: str = "t", seconds: float = 0.5, **fields: Any) -> str:
    """A task that was placed and has succeeded after so long; its decision's id."""
    made = (await asked.server.assign(task_id, **fields)).decision
    asked.server.forward(seconds)
    await asked.server.report(made.lease_id, duration=span(seconds))
    return made.decision_id


# ------------------------------------------------------------------ one


async def test_a_decision_is_found_by_its_id_its_lease_and_its_task(asked: Historian) -> None:
    await asked.server.worker()
    made = (await asked.server.assign("t", tenant="a", category="thumbs", priority=0.7, caller_choice="w9")).decision
    by_id = await asked.decision(decision_id=made.decision_id)
    assert by_id == await asked.decision(lease_id=made.lease_id)
    assert by_id == await asked.decision(task=task_key("t", "a"))
    assert by_id.decision == made
    assert (by_id.task_type, by_id.category, by_id.caller_choice) == ("resize", "thumbs", "w9")
    assert by_id.priority == pytest.approx(0.7)
    for absent in ("outcome", "actual_wait", "actual_duration", "duration_error", "enqueued_at", "ended_at"):
        assert not by_id.HasField(absent), absent


async def test_what_came_of_it_is_told_and_says_the_same_from_the_log(asked: Historian) -> None:
    await asked.server.worker()
    decision_id = await one_ended(asked, seconds=2.5)
    live = await asked.decision(decision_id=decision_id)
    assert live.outcome.status == task_pb2.OUTCOME_STATUS_SUCCEEDED
    assert live.actual_duration == span(2.5)
    assert live.ended_at == instant(WALL_S + 2.5)
    assert live.duration_error == pytest.approx((2_500 - 5_000) / 2_500)
    text = (await asked.ask("GetDecision", decision_id=decision_id)).text
    assert "came of it: succeeded after 2.5 s, predicted 5 s, 0.50 times that" in text
    await asked.written()
    asked.forget_the_ledger()
    assert await asked.decision(decision_id=decision_id) == live
    assert await asked.decision(task=task_key("t")) == live
    assert (await asked.ask("GetDecision", decision_id=decision_id)).text == text


async def test_what_is_still_to_be_written_is_found_too(tmp_path: Path) -> None:
    async with historian(kept(tmp_path, history=HistorySettings(flush_interval_s=60.0))) as asked:
        await asked.server.worker()
        decision_id = await one_ended(asked)
        asked.forget_the_ledger()
        assert (await asked.decision(decision_id=decision_id)).decision.decision_id == decision_id
        assert await asked.ids() == ["t"]


async def test_the_latest_attempt_is_meant_unless_one_is_named(asked: Historian) -> None:
    await asked.server.worker()
    await one_ended(asked, "t", attempt=1)
    await one_ended(asked, "t", attempt=2)
    assert (await asked.decision(task=task_key("t"))).decision.task.attempt == 2
    assert (await asked.decision(task=task_key("t", attempt=1))).decision.task.attempt == 1
    await asked.written()
    asked.forget_the_ledger()
    assert (await asked.decision(task=task_key("t"))).decision.task.attempt == 2
    assert (await asked.decision(task=task_key("t", attempt=1))).decision.task.attempt == 1


async def test_the_explanation_is_there_where_it_was_asked_for(asked: Historian) -> None:
    await asked.server.worker("a")
    await asked.server.worker("b")
    explained = (await asked.server.assign("t", view=FULL)).decision
    assert len(explained.explanation.candidates) == 2
    assert (await asked.decision(decision_id=explained.decision_id)).decision == explained
    await asked.server.report(explained.lease_id, duration=span(1.0))
    await asked.written()
    asked.forget_the_ledger()
    assert (await asked.decision(decision_id=explained.decision_id)).decision == explained
    basic, full = await asked.ask("ListDecisions"), await asked.ask("ListDecisions", view=FULL)
    assert not basic.records[0].decision.HasField("explanation")
    assert full.records[0].decision == explained


async def test_a_task_that_waited_says_since_when_and_what_it_was_told(asked: Historian) -> None:
    await asked.server.worker(registration=worker_pb2.WorkerRegistration(max_concurrent_tasks=1))
    first = (await asked.server.assign("first")).decision
    waits = await asked.server.stub.Assign(
        schedule_service_pb2.AssignRequest(
            task=task_pb2.Task(task_id="second", task_type="resize"), enqueue=schedule_service_pb2.Enqueue()
        )
    )
    asked.server.forward(3.0)
    await asked.server.report(first.lease_id, duration=span(3.0))
    found = await asked.decision(task=task_key("second"))
    assert found.enqueued_at == instant(WALL_S)
    assert found.decision.decided_at == instant(WALL_S + 3.0)
    assert found.predicted_wait == waits.waiting
    await asked.server.report(found.decision.lease_id, duration=span(1.0))
    live = await asked.decision(task=task_key("second"))
    answer = await asked.ask("GetDecision", task=task_key("second"))
    assert "waited: 3 s; it was told" in answer.text
    await asked.written()
    asked.forget_the_ledger()
    assert await asked.decision(task=task_key("second")) == live


async def test_an_outcome_that_is_told_late_is_what_came_of_it(asked: Historian) -> None:
    await asked.server.worker()
    made = (await asked.server.assign()).decision
    asked.server.forward(1.0)
    record = asked.server.core.ledger.leases[made.lease_id]
    out: list[object] = []
    asked.server.core.outcomes.lost(asked.server.clock(), record, out)  # type: ignore[arg-type]
    for effect in out:
        if type(effect).__name__ == "Ended":
            asked.history.recorder.of_lease(record)
    asked.server.forward(1.0)
    assert (await asked.server.report(made.lease_id, duration=span(2.0))).result == 3  # LATE
    await asked.written()
    asked.forget_the_ledger()
    found = await asked.decision(decision_id=made.decision_id)
    assert found.outcome.status == task_pb2.OUTCOME_STATUS_SUCCEEDED
    assert found.actual_duration == span(2.0)
    utilization = await asked.ask("GetUtilization", range=between())
    assert (utilization.overall.completed, utilization.overall.failed) == (1, 0)


async def test_an_unknown_task_is_refused_with_names_that_are_near(asked: Historian) -> None:
    await asked.server.worker()
    await asked.server.assign("resize-1001")
    problem = await refused(asked.call("GetDecision", task=task_key("resize-1002")))
    assert (problem.code, problem.reason) == ("NOT_FOUND", "DECISION_UNKNOWN")
    assert problem.metadata["similar"] == "resize-1001"
    problem = await refused(asked.call("GetDecision", task=task_key("resize-1001", "other")))
    assert "similar" not in problem.metadata


@pytest.mark.parametrize("target", [{"decision_id": "d-none-1"}, {"lease_id": "l-none-1"}, {"decision_id": "x" * 256}])
async def test_an_unknown_id_is_refused(asked: Historian, target: dict[str, str]) -> None:
    problem = await refused(asked.call("GetDecision", **target))
    assert (problem.code, problem.reason) == ("NOT_FOUND", "DECISION_UNKNOWN")
    assert problem.metadata == target


@pytest.mark.parametrize(
    ("target", "field"),
    [
        ({}, "target"),
        ({"decision_id": ""}, "decision_id"),
        ({"decision_id": "x" * 257}, "decision_id"),
        ({"lease_id": "a\x00"}, "lease_id"),
        ({"task": task_key("")}, "task.task_id"),
        ({"task": task_key("t", "x" * 257)}, "task.tenant"),
    ],
)
async def test_a_malformed_target_is_refused_by_its_field(
    asked: Historian, target: dict[str, object], field: str
) -> None:
    problem = await refused(asked.call("GetDecision", **target))
    assert (problem.code, problem.reason, problem.fields) == ("INVALID_ARGUMENT", "INVALID_ARGUMENT", [field])


async def test_without_a_log_decisions_are_known_as_long_as_the_ledger_has_them() -> None:
    async with running(settings()) as server:
        asked = Historian(server)
        await server.worker()
        decision_id = await one_ended(asked)
        assert (await asked.decision(decision_id=decision_id)).HasField("outcome")
        asked.forget_the_ledger()
        assert (await refused(asked.call("GetDecision", decision_id=decision_id))).reason == "DECISION_UNKNOWN"
        store = await asked.store()
        assert store.state == 4  # DISABLED
        assert list(store.warnings) == ["no history is kept: history.url and storage.state_folder are empty"]


async def test_history_that_is_switched_off_says_so(tmp_path: Path) -> None:
    async with historian(kept(tmp_path, history=HistorySettings(enabled=False))) as asked:
        problem = await refused(asked.call("ListDecisions"))
        assert (problem.code, problem.reason) == ("FAILED_PRECONDITION", "NO_HISTORY")
        assert problem.message == "no history is kept: history.enabled is false"
        assert not (tmp_path / "decisions.sqlite").exists()


# ------------------------------------------------------------------ many


async def test_decisions_are_listed_newest_first_page_by_page(asked: Historian) -> None:
    await asked.server.worker()
    for number in range(25):
        await one_ended(asked, f"t{number:02}")
    found: list[str] = []
    token, pages = "", 0
    while True:
        answer = await asked.ask("ListDecisions", page_size=10, page_token=token)
        found += [each.decision.task.task_id for each in answer.records]
        token, pages = answer.next_page_token, pages + 1
        if not token:
            break
    assert found == [f"t{number:02}" for number in reversed(range(25))]
    assert pages == 3
    assert answer.dropped == 0


async def test_filters_hold_together(asked: Historian) -> None:
    await asked.server.worker("a", registration=worker_pb2.WorkerRegistration(capabilities=["gpu"]))
    await asked.server.worker("b")
    await one_ended(asked, "one", tenant="x", required_capabilities=["gpu"])
    await one_ended(asked, "two", task_type="encode")
    lost = (await asked.server.assign("three", tenant="x", required_capabilities=["gpu"])).decision
    await asked.server.report(lost.lease_id, status=task_pb2.OUTCOME_STATUS_FAILED)
    await asked.server.assign("four", tenant="x")
    assert await asked.ids(tenant="x") == ["four", "three", "one"]
    assert await asked.ids(tenant="") == ["two"]
    assert await asked.ids(task_type="encode") == ["two"]
    assert await asked.ids(task_id="three") == ["three"]
    assert await asked.ids(worker_id="a", tenant="x", outcomes=[task_pb2.OUTCOME_STATUS_SUCCEEDED]) == ["one"]
    assert await asked.ids(outcomes=[1, 2]) == ["three", "two", "one"]
    assert await asked.ids(sources=[decision_pb2.DECISION_SOURCE_FALLBACK]) == []
    only = [decision_pb2.DECISION_CAUSE_ONLY_CANDIDATE]
    assert await asked.ids(causes=only) == ["three", "one"]
    assert await asked.ids(policy_revision=2) == []
    assert await asked.ids(policy_revision=2**63 - 1) == []
    assert await asked.ids(scorer="weighted", range=between(WALL_S, WALL_S + 0.5)) == ["one"]
    assert await asked.ids(range=between(WALL_S + 0.5)) == ["four", "three", "two"]
    assert await asked.ids(override_id="o-1") == []


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"range": between(5.0, 5.0)}, "range.end"),
        ({"range": between(6.0, 5.0)}, "range.end"),
        ({"tenant": "x" * 257}, "tenant"),
        ({"worker_id": "a\n"}, "worker_id"),
        ({"sources": [9]}, "sources[0]"),
        ({"causes": [1, 99]}, "causes[1]"),
        ({"outcomes": [0]}, "outcomes[0]"),
        ({"page_size": 1_001}, "page_size"),
        ({"policy_revision": 2**63}, "policy_revision"),
    ],
)
async def test_a_malformed_filter_is_refused_by_its_field(
    asked: Historian, fields: dict[str, object], field: str
) -> None:
    problem = await refused(asked.call("ListDecisions", **fields))
    assert (problem.code, problem.fields) == ("INVALID_ARGUMENT", [field])


async def test_a_page_token_is_good_for_its_own_request_only(asked: Historian) -> None:
    await asked.server.worker()
    for number in range(3):
        await one_ended(asked, f"t{number}")
    token = (await asked.ask("ListDecisions", page_size=1)).next_page_token
    assert (await asked.ask("ListDecisions", page_size=2, page_token=token)).records  # another size is no other request
    for fields in ({"task_type": "resize"}, {"view": FULL}, {"range": between(1.0)}):
        problem = await refused(asked.call("ListDecisions", page_token=token, **fields))
        assert (problem.code, problem.reason) == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")
    for foreign in ("x", token[:-2], "AAAA" + token):
        assert (await refused(asked.call("ListDecisions", page_token=foreign))).reason == "PAGE_TOKEN_INVALID"


async def test_no_decision_is_logged_twice(asked: Historian) -> None:
    await asked.server.worker()
    made = (await asked.server.assign("t")).decision
    assert (await asked.server.assign("t")).replayed
    await asked.server.report(made.lease_id, duration=span(1.0))
    await asked.server.report(made.lease_id, duration=span(1.0))
    assert await asked.ids() == ["t"]
    status = asked.history.status()
    assert status is not None
    assert (status.written_by_table["decisions"], status.written_by_table["outcomes"]) == (1, 1)  # type: ignore[index]
    log = asked.history.log
    assert log is not None
    assert log.find(ByDecision(made.decision_id)) is not None
