"""Ended tasks: kept by number and by age, forgotten, and what a forgotten one means."""

import pytest

from scheduler_server.assignment.settings import AssignmentSettings, CoreSettings
from scheduler_server.model.outcome import OutcomeResult
from tests.unit.assignment.rig import Rig


def rig(**settings: float) -> Rig:
    made = Rig(CoreSettings(assignment=AssignmentSettings(**settings)))  # type: ignore[arg-type] # numbers by name
    made.connect(slots=5)
    return made


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_at_most_so_many_ended_tasks_are_kept(kept: int) -> None:
    core = rig(ended_kept=kept)
    for number in range(10):
        core.end(core.place(f"t{number}").lease_id)
    assert [core.core.task("", f"t{number}", 0) is not None for number in range(10)] == [False] * (10 - kept) + [
        True
    ] * kept
    assert len(core.core.ledger.leases) == kept


@pytest.mark.parametrize(("after_s", "known"), [(59.0, True), (60.0, True), (61.5, False)])
def test_an_ended_task_is_kept_for_so_long(after_s: float, known: bool) -> None:
    core = rig(ended_kept_s=60.0)
    lease_id = core.place("t").lease_id
    core.end(lease_id)
    core.tick_for(after_s)
    assert (core.core.task("", "t", 1) is not None) is known
    assert core.end(lease_id).result is (OutcomeResult.DUPLICATE if known else OutcomeResult.REFUSED)


def test_a_live_task_is_never_forgotten() -> None:
    core = rig(ended_kept=0, ended_kept_s=0.0)
    lease_id = core.place("t").lease_id
    core.tick_for(250.0)
    assert core.core.ledger.leases[lease_id].live
    assert core.submit("t").replayed


def test_a_forgotten_attempt_leaves_the_chain_and_the_others_in_it() -> None:
    core = rig(ended_kept_s=60.0)
    for attempt in (1, 2, 3):
        core.end(core.place("t", attempt=attempt).lease_id)
        core.tick_for(25.0)
        core.beat()
    assert [core.core.task("", "t", attempt) is not None for attempt in (1, 2, 3)] == [False, True, True]
    latest = core.core.task("", "t", 0)
    assert latest is not None
    assert latest.task.attempt == 3
    core.tick_for(100.0)
    assert core.core.ledger.tasks == {}
    assert core.core.ledger.leases == {}


def test_a_forgotten_task_is_placed_anew() -> None:
    core = rig(ended_kept=0)
    first = core.place("t").lease_id
    core.end(first)
    assert core.place("t").lease_id != first


def test_tenants_do_not_share_their_task_ids() -> None:
    core = rig()
    assert core.place("t", tenant="a").lease_id != core.place("t", tenant="b").lease_id
