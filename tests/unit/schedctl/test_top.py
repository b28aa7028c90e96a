"""The live screen, without a terminal: keys, state, frames."""

from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_api.v1 import decision_pb2, task_pb2
from scheduler_server.schedctl import text
from scheduler_server.schedctl.top.feed import Seen, Wish, rates
from scheduler_server.schedctl.top.frame import frame
from scheduler_server.schedctl.top.keys import Keys
from scheduler_server.schedctl.top.state import MOST, State, View
from scheduler_server.schedctl.top.views import chosen_worker

PREDICTED, BEST = decision_pb2.DECISION_SOURCE_PREDICTED, decision_pb2.DECISION_CAUSE_BEST_SCORE
NASTY = "\x1b[2J\x9b31m界\n\u202e🇩🇪" * 20


def seen(workers: int = 3, *, total: int | None = None, name: str = "w", **fields: Any) -> Seen:
    counts = api.WorkerCounts(total=total or workers, healthy=total or workers, connected=total or workers)
    listed = [
        api.Worker(worker_id=f"{name}{number}", health=api.WORKER_HEALTH_HEALTHY, max_concurrent_tasks=4, free_slots=2)
        for number in range(workers)
    ]
    told = api.GetStatusResponse(version="1", workers=counts, serving=api.SERVING_STATE_SERVING, server_incarnation="r")
    load = api.GetLoadResponse(total_capacity=12, used_capacity=6, utilization=0.5, queued_tasks=2)
    answer = api.ListWorkersResponse(workers=listed, total_size=total or workers)
    return replace(Seen(at=1.0, status=told, load=load, workers=answer), **fields)


def lines(state: State, told: Seen, wide: int = 80, high: int = 24) -> list[str]:
    made = frame(state, told, wide=wide, high=high, now=2.0, server="here:1")
    return ["".join(said for said, _ in line) for line in made]


# ---------------------------------------------------------------------- keys


def test_bytes_become_keys() -> None:
    assert list(Keys().read(b"\x1b[A\x1b[Bj\r\x7f\t\x1b[Z\x1b[5~/")) == [
        "up", "down", "j", "enter", "erase", "tab", "back tab", "page up", "/",
    ]  # fmt: skip


def test_the_escape_key_is_no_sequence_and_an_unknown_sequence_is_no_key() -> None:
    assert list(Keys().read(b"\x1b")) == ["escape"]
    assert list(Keys().read(b"\x1b[15~a\x1b[1;5Cb")) == ["a", "b"]


def test_a_letter_may_come_in_parts() -> None:
    keys = Keys()
    wide = "界".encode()
    assert [*keys.read(wide[:2]), *keys.read(wide[2:])] == ["界"]


@given(st.binary(max_size=50))
def test_whatever_is_typed_gives_keys(data: bytes) -> None:
    state = State()
    for key in Keys().read(data):
        state.press(key, "w")


# ---------------------------------------------------------------------- state


def test_digits_and_tab_choose_the_view() -> None:
    state = State()
    for key, view in [("3", View.DECISIONS), ("tab", View.ACCURACY), ("back tab", View.DECISIONS), ("5", View.EVENTS)]:
        state.press(key)
        assert state.view is view
    state.press("tab")
    assert state.view is View.WORKERS


def test_enter_goes_into_the_chosen_worker_and_escape_back_to_its_line() -> None:
    state, told = State(), seen()
    lines(state, told)
    state.press("j")
    state.press("enter", chosen_worker(state, told))
    assert (state.worker_id, state.chosen) == ("w1", 0)
    assert Wish.of(state).worker_id == "w1"
    state.press("escape")
    assert (state.worker_id, state.chosen) == (None, 1)


def test_a_filter_is_typed_taken_changed_and_forgotten() -> None:
    state = State()
    for key in ["/", "a", "q", "erase", "b", "enter"]:
        state.press(key)
    assert (state.filter, state.typing, state.over) == ("ab", None, False)
    for key in ["/", "c", "escape"]:
        state.press(key)
    assert state.filter == "ab"
    state.press("escape")
    assert state.filter == ""


def test_sorting_goes_round_and_backwards() -> None:
    state = State(sort="load")
    assert Wish.of(state).order_by == "effective_load desc"
    state.press("r")
    assert Wish.of(state).order_by == "effective_load"
    state.press("s")
    assert Wish.of(state).order_by == "free_slots desc"


def test_q_ends_it_from_everywhere_but_a_filter_that_is_typed() -> None:
    for keys in (["q"], ["?", "q"], ["3", "q"]):
        state = State()
        for key in keys:
            state.press(key)
        assert state.over


def test_no_more_workers_are_asked_for_than_are_looked_at() -> None:
    state = State(page=20)
    assert Wish.of(state).rows == 100
    state.press("end")
    state.fit(5_000, 20)
    assert Wish.of(state).rows == MOST


# ---------------------------------------------------------------------- frames


@pytest.mark.parametrize("wide", [10, 80, 160])
@pytest.mark.parametrize("high", [3, 13, 14, 24, 60])
@pytest.mark.parametrize("count", [0, 3, 200])
def test_a_frame_has_the_size_of_its_terminal_and_only_letters_that_print(wide: int, high: int, count: int) -> None:
    worker = api.Worker(worker_id=NASTY, node=NASTY, labels={NASTY: NASTY})
    event = api.Event(detail=NASTY, worker_id=NASTY, at=Timestamp(seconds=1), kind=api.EVENT_KIND_WORKER_LOST)
    row = api.AccuracyRow(task_type=NASTY)
    told = seen(count, total=5_000 if count == 200 else count, name=NASTY, events=(event,) * count)
    told.accuracy.rows.append(row)
    told.status.degraded.add(name=NASTY, detail=NASTY)
    told.status.decisions.add(source=PREDICTED, cause=BEST, count=5)
    for view in View:
        for inside in (None, NASTY):
            into = seen(count, worker=worker, wish=Wish(worker_id=NASTY)) if inside else told
            shown = lines(State(view=view, worker_id=inside), into, wide, high)
            assert len(shown) == high
            assert all(line.isprintable() and text.width(line) <= wide for line in shown), (view, shown)


def test_the_header_tells_fleet_slots_queue_and_pace() -> None:
    shown = "\n".join(lines(State(), seen()))
    for said in ("here:1", "3: 3 healthy", "#####..... 6 of 12 taken (50%)", "2 tasks", "w2"):
        assert said in shown


def test_what_is_chosen_is_marked_and_stays_in_sight() -> None:
    state, told = State(), seen(100)
    shown = lines(state, told)
    for _ in range(50):
        state.press("down")
        shown = lines(state, told)
        assert next(line for line in shown if line.startswith("> ")).split()[1] == f"w{state.chosen}"
    assert any("of 100 workers" in line for line in shown)


def test_a_server_that_is_gone_is_told_with_the_age_of_what_is_seen() -> None:
    shown = lines(State(), seen(trouble="cannot reach here:1"))
    assert "1.00s old: cannot reach here:1" in shown[1]
    assert "w0" in "".join(shown)
    assert "cannot reach" in lines(State(), Seen(trouble="cannot reach here:1"))[1]


def test_a_worker_that_has_gone_is_told() -> None:
    told = seen(wish=Wish(worker_id="w9"), missing="worker 'w9' is not known")
    assert "worker 'w9' is not known" in "\n".join(lines(State(worker_id="w9"), told))


def test_events_and_task_types_are_filtered_by_text() -> None:
    events = tuple(api.Event(detail=f"worker w{number} lost") for number in range(3))
    shown = "\n".join(lines(State(view=View.EVENTS, filter="W1"), seen(events=events)))
    assert "worker w1 lost" in shown
    assert "worker w2 lost" not in shown
    assert "no events match" in "\n".join(lines(State(view=View.EVENTS, filter="zzz"), seen(events=events)))


def test_rates_are_differences_within_one_run_of_the_server() -> None:
    def told(run: str, count: int) -> api.GetStatusResponse:
        decisions = [api.DecisionCount(source=PREDICTED, cause=BEST, count=count)]
        return api.GetStatusResponse(server_incarnation=run, decisions=decisions)

    before = Seen(at=10.0, status=told("a", 100))
    assert rates(before, told("a", 120), 12.0) == {(1, 1): 10.0}
    assert rates(before, told("b", 5), 12.0) == {}
    assert rates(Seen(), told("a", 5), 12.0) == {}


# ---------------------------------------------------------------------- queue


def waiting(count: int) -> api.ListWaitingResponse:
    tasks = [api.WaitingTask(task=task_pb2.TaskKey(task_id=f"t{number}-{NASTY}")) for number in range(count)]
    return api.ListWaitingResponse(tasks=tasks, total_size=count)


def test_the_queue_lists_what_waits_in_its_order_and_scrolls() -> None:
    state = State(view=View.QUEUE)
    told = seen(wish=Wish(view=View.QUEUE), waiting=waiting(100))
    shown = lines(state, told)
    listed = [line for line in shown if "  0 " in line or "> " in line]
    assert any("AHEAD" in line for line in shown)
    assert any("t0" in line for line in listed)
    assert all(text.width(line) <= 80 for line in shown)
    assert len(shown) == 24
    state.press("end")
    shown = lines(state, told)
    assert "t99" in next(line for line in shown if line.startswith(">"))


def test_a_queue_with_nothing_in_it_is_told_in_words() -> None:
    told = seen(wish=Wish(view=View.QUEUE))
    shown = "\n".join(lines(State(view=View.QUEUE), told))
    assert "expected starts" in shown
    assert "AHEAD" not in shown
