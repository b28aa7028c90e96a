"""What is shown, in lines and on a terminal of 80 columns and 24 lines."""

import io

import pytest
from rich.console import Console

from scheduler_api.v1 import admin_service_pb2, decision_pb2
from scheduler_server.client import AsyncSchedulerClient
from scheduler_server.demo.picture import picture
from scheduler_server.demo.plain import plain_lines
from scheduler_server.demo.scene import Scene, count, seconds, until
from scheduler_server.demo.server_view import ServerView
from scheduler_server.demo.tape import Tape
from tests.unit.demo.tapes import tape, wait


async def nothing() -> None: ...


def scene(made: Tape, *, tells: bool = True) -> Scene:
    rates = {"predicted": 31.5} if tells else {"in turn": 31.5}
    return Scene(
        title="scheduler" if tells else "round robin",
        tape=made,
        rates=lambda _: rates,
        ask=nothing if tells else None,
    )


def view() -> ServerView:
    made = ServerView(AsyncSchedulerClient("127.0.0.1:1"))
    made.status = admin_service_pb2.GetStatusResponse(
        decisions=[admin_service_pb2.DecisionCount(count=1_234)],
        policy=admin_service_pb2.Policy(predictor="adaptive", scorer="earliest_finish"),
        breaker=admin_service_pb2.BreakerStatus(state=admin_service_pb2.BREAKER_STATE_HALF_OPEN),
    )
    return made


def busy(tasks: int = 40) -> Tape:
    """Many wait, some run, some have ended."""
    made = tape(*(number / 10 for number in range(tasks)))
    for number in range(10):
        run = made.runs[f"t-{number:04d}"]
        wait(made, number, 101.0 + number, 103.0 + number)
        run.placed = 101.0
        run.decision = decision_pb2.Decision(predicted_duration_ms=1_500)
        made.began("medium-1", run.task_id, 101.5 + number)
    for number in range(5):
        made.ended(f"t-{number:04d}", 103.0 + number)
    for number in range(10, tasks):
        wait(made, number, 110.0 + number, 1_000.0, ahead=number)
    return made


def shown(made: Scene, now: float) -> list[str]:
    console = Console(file=io.StringIO(), width=80, height=24, force_terminal=True, color_system=None, highlight=False)
    with console.capture() as captured:
        console.print(picture(made, view(), now))
    return [line.rstrip() for line in captured.get().splitlines()]


async def test_the_picture_shows_the_next_tasks_with_position_expected_start_and_reason() -> None:
    lines = shown(scene(busy()), 110.0)
    assert any(
        "tasks: 5 running, 30 waiting in the server; half start by P50, 9 of 10 by P90" in line for line in lines
    )
    row = next(line for line in lines if line.startswith("#10  archive-folder"))
    assert row.split() == [
        "#10", "archive-folder", "archive", "0.5", "10", "9.00", "s", "10.0", "s", "890.0", "s", "no", "free", "slot",
    ]  # fmt: skip
    assert "and 25 more; #10 waits because all 11 slots that could take it are taken" in lines


async def test_the_picture_shows_what_was_told_beside_what_happened() -> None:
    lines = shown(scene(busy()), 110.0)
    row = next(line for line in lines if line.startswith("#4 ")).split()
    assert row == ["#4", "archive-folder", "medium-1", "5.10", "s", "4.60-6.60", "s", "1.50", "s", "1.50", "s", "+0%"]


async def test_a_task_that_found_a_free_slot_is_said_to_have_started_at_once() -> None:
    made = tape(0.0)
    run = made.runs["t-0000"]
    run.placed, run.decision = 100.0, decision_pb2.Decision(predicted_duration_ms=1_000)
    made.began("large-1", run.task_id, 100.0)
    made.ended(run.task_id, 102.0)
    row = next(line for line in shown(scene(made), 103.0) if line.startswith("#0 "))
    assert "at once" in row
    assert row.endswith("-50%")


@pytest.mark.parametrize("tells", [True, False])
@pytest.mark.parametrize("made", [tape(0.0, 1.0), busy(), busy(2_000)], ids=["idle", "busy", "very busy"])
async def test_the_picture_fits_the_terminal_and_keeps_its_height(made: Tape, *, tells: bool) -> None:
    lines = shown(scene(made, tells=tells), 110.0)
    assert len(lines) == 23
    assert max(map(len, lines)) <= 80
    assert not any("\N{HORIZONTAL ELLIPSIS}" in line for line in lines[9:])


async def test_round_robin_has_no_expected_starts_to_show() -> None:
    made = tape(0.0, 1.0)
    for run in made.runs.values():
        run.placed, run.worker_id = 101.0, "small-2"
    lines = shown(scene(made, tells=False), 103.0)
    assert any("2 waiting on workers, and nobody says when they should start" in line for line in lines)
    assert next(line for line in lines if line.startswith("#0 ")).split() == [
        "#0", "archive-folder", "archive", "small-2", "3.00", "s",
    ]  # fmt: skip
    assert not any("P50" in line for line in lines)


def test_plain_lines_tell_of_the_next_and_of_the_last_that_waits() -> None:
    first, following, last = plain_lines(scene(busy()), 110.0)
    assert " ".join(first.split()) == "scheduler 10.0 s predicted 32/s sent 40 waiting 30 running 5 done 5"
    assert following == "  next #10  archive-folder: 10 ahead, no free slot, start in 10.0 s, P90 890.0 s"
    assert last.startswith("  last #39  archive-folder: 39 ahead")


def test_plain_lines_are_one_when_nothing_waits_and_two_when_one_task_does() -> None:
    made = tape(0.0, 1.0)
    assert len(plain_lines(scene(made), 110.0)) == 1
    wait(made, 0, 111.0, 112.0)
    assert len(plain_lines(scene(made), 110.0)) == 2


def test_plain_lines_fit_80_columns() -> None:
    assert max(len(line) for line in plain_lines(scene(busy(2_000)), 999.0)) <= 80


def test_an_instant_that_has_passed_is_now_and_one_that_nobody_told_is_a_dash() -> None:
    assert until(99.0, 100.0) == "0.00 s"
    assert until(100.25, 100.0) == "0.25 s"
    assert until(None, 100.0) == "-"


@pytest.mark.parametrize(
    ("span_s", "text"), [(0.0, "0.00 s"), (9.994, "9.99 s"), (9.995, "10.0 s"), (123.4, "123.4 s")]
)
def test_spans_have_three_digits_at_least(span_s: float, text: str) -> None:
    assert seconds(span_s) == text


def test_a_task_that_is_on_its_way_does_not_wait() -> None:
    made = tape(0.0, 1.0, 50.0)
    assert count(made, 102.0).waiting == 0
    wait(made, 0, 103.0, 104.0)
    assert count(made, 102.0).waiting == 1
    assert count(made, 102.0).sent == 2
