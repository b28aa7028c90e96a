"""In which order a server would have seen it: a predictor must not learn what has not happened yet."""

from hypothesis import given
from hypothesis import strategies as st

from scheduler_server.model.task import Task
from scheduler_server.simulation.feedback import events
from scheduler_server.simulation.trace_row import TraceRow


def row(name: str, submit_s: float, duration_ms: float, start_s: float | None = None) -> TraceRow:
    return TraceRow(1, Task("", name, 1, "a"), submit_s, start_s, duration_ms, "ok", "")


def told(*rows: TraceRow) -> str:
    """Submits as capitals, ends as small letters."""
    return "".join(each.row.task.task_id.lower() if each.ended else each.row.task.task_id for each in events(rows))


def test_a_task_ends_when_its_duration_is_over_and_not_before() -> None:
    assert told(row("A", 0, 2_000), row("B", 1.999, 1), row("C", 2.001, 1)) == "ABabCc"


def test_an_end_at_the_instant_of_a_submit_comes_first() -> None:
    assert told(row("A", 0, 2_000), row("B", 2, 1)) == "AaBb"


def test_the_duration_counts_from_the_start_where_it_is_known() -> None:
    assert told(row("A", 0, 2_000, start_s=5), row("B", 6, 1), row("C", 7, 1)) == "ABbaCc"


def test_ends_at_one_instant_keep_the_order_of_their_submits() -> None:
    assert told(row("B", 0, 2_000), row("A", 1, 1_000), row("C", 9, 1)) == "BAbaCc"


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20_000)), max_size=60))
def test_every_task_is_submitted_and_ends_once_and_time_never_goes_back(times: list[tuple[int, int]]) -> None:
    rows = [row(str(number), at, ms) for number, (at, ms) in enumerate(sorted(times))]
    seen = list(events(rows))
    instants = [each.row.end_s if each.ended else each.row.submit_s for each in seen]
    assert instants == sorted(instants)
    assert [each.row for each in seen if not each.ended] == rows
    assert sorted(each.row for each in seen if each.ended) == sorted(rows)
    for each in seen:
        if each.ended:
            assert seen.index(each) > seen.index(each._replace(ended=False))
