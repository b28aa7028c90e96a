"""Traces: what a row becomes, what is no row, in which order, and that nothing is held that need not be."""

import json
from collections.abc import Iterator
from itertools import count, islice
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_server.model.task import Hints
from scheduler_server.predictor.settings import LONGEST_MS
from scheduler_server.simulation.trace_file import UnusableTrace
from scheduler_server.simulation.trace_layout import FIELDS, BadColumn, columns
from scheduler_server.simulation.traces import BadRows, read_trace
from tests.unit.simulation.trace_text import HEADER, numbered, reason, rows

ALL = ",".join(FIELDS)
FULL = "7,10.5,resize,ann,acme,image,0.7,4,2048,900,300,2,1500,OK,n1,12,bytes=12;inputs=a b;label_run=3;empty="


def test_every_field_goes_where_a_server_would_see_it() -> None:
    (row,) = rows(ALL, FULL)
    task = row.task
    assert (task.task_id, task.task_type, task.user, task.tenant, task.category) == (
        "7",
        "resize",
        "ann",
        "acme",
        "image",
    )
    assert task.priority == 0.7
    assert task.resources == (("cpus", 4.0), ("mem_mb", 2048.0))
    assert task.features == (("bytes", 12.0),)
    assert task.attributes == (("empty", ""), ("inputs", "a b"))
    assert task.hints == Hints(expected_duration_ms=900.0, description_length=300, dependencies=2)
    assert (row.submit_s, row.start_s, row.duration_ms, row.status, row.node) == (10.5, 12.0, 1500.0, "ok", "n1")
    assert row.end_s == 13.5


def test_what_a_trace_does_not_say_is_absent() -> None:
    (row,) = rows(HEADER, ",3,resize,1500")
    assert row.task.task_id == "line 2"
    assert (row.task.priority, row.task.resources, row.task.features, row.task.attributes) == (0.5, (), (), ())
    assert (row.task.hints, row.start_s, row.status) == (None, None, "unknown")
    assert row.end_s == 4.5


def test_json_lines_say_the_same_as_csv() -> None:
    (csv,) = rows(ALL, FULL)
    given = dict(zip(FIELDS, FULL.split(","), strict=True))
    (words,) = rows(json.dumps(given))
    typed = {
        **given,
        "submit_time_s": 10.5,
        "duration_ms": 1500,
        "priority": 0.7,
        "task_id": 7,
        "features": {"bytes": 12, "inputs": "a b", "label_run": 3, "empty": "", "absent": None},
    }
    (numbers,) = rows(json.dumps(typed))
    assert words == csv._replace(line=1)
    assert numbers == csv._replace(line=1)


def test_csv_may_be_quoted_and_json_keys_may_be_absent() -> None:
    (row,) = rows(HEADER, '1,2,"re,""size""",3')
    assert row.task.task_type == 're,"size"'
    first, second = rows(
        '{"submit_time_s": 1, "task_type": "a", "duration_ms": 2}',
        "",
        '{"submit_time_s": 1, "task_type": "b", "duration_ms": 2, "user": null}',
    )
    assert (first.task.user, second.task.user, second.line) == ("", "", 3)


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_a_name() -> None:
    (row,) = rows(b"\xef\xbb\xbf" + HEADER.encode(), ",2,a,3")
    assert row.task.task_type == "a"


def test_instants_may_be_iso_8601_in_utc_where_no_zone_is_named() -> None:
    first, second = rows(HEADER, ",2026-01-01T00:00:00,a,1", ",2026-01-01T02:00:01+02:00,a,1")
    assert (first.submit_s, second.submit_s) == (1767225600.0, 1767225601.0)


# ------------------------------------------------------------------------------------------ columns by choice


def test_columns_are_mapped_by_name_and_may_become_features() -> None:
    (row,) = rows(
        "when,what,took,size,dataset,prio",
        "1,a,5,77,x,high",
        mapped=["submit_time_s=when", "task_type = what", "duration_ms=took", "priority="],
        features=["size", "dataset"],
    )
    assert (row.task.task_type, row.submit_s, row.duration_ms) == ("a", 1.0, 5.0)
    assert (row.task.features, row.task.attributes) == ((("size", 77.0),), (("dataset", "x"),))


@pytest.mark.parametrize(
    ("mapped", "said"),
    [
        ("task_typ=x", "unknown field 'task_typ'; did you mean task_type?"),
        ("task_type", "'task_type' is not of the form field=column"),
        ("duration_ms=", "duration_ms cannot be ignored"),
        ("=x", "unknown field ''"),
    ],
)
def test_a_mapping_without_sense_is_refused(mapped: str, said: str) -> None:
    with pytest.raises(BadColumn) as refused:
        columns([mapped])
    assert str(refused.value).startswith(said)


def test_ground_truth_cannot_be_made_a_feature() -> None:
    with pytest.raises(BadColumn, match="ground truth"):
        columns([], ["label_build"])


# ------------------------------------------------------------------------------------------------ bad rows


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1,2,a,soon", "duration_ms 'soon' is not a finite number"),
        ("1,2,a,", "duration_ms is empty"),
        ("1,2,a,0", "duration_ms is 0: must be above 0"),
        ("1,2,a,-1", "duration_ms is -1: must be above 0"),
        ("1,2,a,nan", "duration_ms 'nan' is not a finite number"),
        ("1,2,a,inf", "duration_ms 'inf' is not a finite number"),
        ("1,2,a,1e999", "duration_ms '1e999' is not a finite number"),
        ("1,2,a,1_000", "duration_ms '1_000' is not a finite number"),
        (f"1,2,a,{LONGEST_MS + 1:.0f}", "duration_ms is 31536000001: more than a year"),
        ("1,-2,a,5", "submit_time_s is -2: must not be negative"),
        ("1,nan,a,5", "submit_time_s 'nan' is not a finite number"),
        ("1,,a,5", "submit_time_s is empty"),
        ("1,2026-13-01,a,5", "submit_time_s '2026-13-01' is neither a number nor an ISO 8601 time"),
        ("1,1e13,a,5", "submit_time_s is 10000000000000: too late for seconds"),
        ("1,2,,5", "task_type is empty"),
        ("1,2,  ,5", "task_type is empty"),
        ("1,2,a", "3 values where the header has 4"),
        ("1,2,a,5,6", "5 values where the header has 4"),
        ('1,2,"a,5', "not CSV: unexpected end of data"),
        ('1,2,"a"b,5', "not CSV: ',' expected after '\"'"),
        (b"1,2,\xff,5", "not UTF-8 at byte 5"),
        ("1,2,a\0b,5", "has a NUL byte"),
        (None, "longer than a mebibyte"),
    ],
)
def test_a_row_that_cannot_be_used_is_listed_with_its_reason(line: bytes | str | None, said: str) -> None:
    assert reason(line) == said


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("start_time_s", "0.5", "start_time_s 0.5 is before submit_time_s 1"),
        ("start_time_s", "x", "start_time_s 'x' is not a finite number"),
        ("priority", "1.01", "priority is 1.01: must be from 0 to 1 (--column priority= ignores it)"),
        ("priority", "-0.01", "priority is -0.01: must be from 0 to 1 (--column priority= ignores it)"),
        ("requested_cpus", "-1", "requested_cpus is -1: must not be negative"),
        ("requested_mem_mb", "much", "requested_mem_mb 'much' is not a finite number"),
        ("expected_duration_ms", "0", "expected_duration_ms is 0: must be above 0"),
        ("dependencies", "1.5", "dependencies is 1.5: must be a whole number"),
        ("description_length", "-1", "description_length is -1: must not be negative"),
        ("features", "a=1;b", "features: 'b' is not name=value"),
        ("features", ";".join(f"f{n}=1" for n in range(65)), "65 features: 64 of a kind are the most"),
    ],
)
def test_a_further_value_that_makes_no_sense_costs_its_row(field: str, value: str, said: str) -> None:
    assert reason(f"1,1,a,5,{value}", f"{HEADER},{field}") == said


@pytest.mark.parametrize(("duration", "kept"), [("0.001", 0.001), (f"{LONGEST_MS:.0f}", LONGEST_MS)])
def test_durations_just_within_the_limits_are_kept(duration: str, kept: float) -> None:
    (row,) = rows(HEADER, f"1,2,a,{duration}")
    assert row.duration_ms == kept


def test_a_start_at_the_submit_and_sixty_four_features_are_kept() -> None:
    features = ";".join(f"f{number}={number}" for number in range(64))
    (row,) = rows(f"{HEADER},start_time_s,features", f"1,2,a,5,2,{features}")
    assert (row.start_s, len(row.task.features)) == (2.0, 64)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("not json", "no JSON object"),
        ("[1]", "no JSON object"),
        ('{"submit_time_s": 1, "task_type": "a"}', "duration_ms is empty"),
        ('{"submit_time_s": 1, "task_type": ["a"], "duration_ms": 1}', "task_type is neither text nor a number"),
        ('{"submit_time_s": 1, "task_type": "a", "duration_ms": NaN}', "duration_ms 'nan' is not a finite number"),
        ('{"submit_time_s": 1, "task_type": "a", "duration_ms": true}', "duration_ms 'true' is not a finite number"),
        ('{"submit_time_s": 1, "task_type": "a", "duration_ms": 1, "features": {"a": []}}',
         "features: a is neither text nor a number"),
        ("[" * 100_000, "no JSON object"),
    ],
)  # fmt: skip
def test_a_json_line_that_is_no_row_is_listed_with_its_reason(line: str, said: str) -> None:
    bad = BadRows()
    assert len(rows('{"submit_time_s": 1, "task_type": "a", "duration_ms": 1}', line, bad=bad)) == 1
    assert [(each.line, each.reason) for each in bad.listed] == [(2, said)]


def test_all_bad_rows_are_counted_and_as_many_listed_as_was_asked_for() -> None:
    bad = BadRows(listed_most=2)
    assert len(rows(HEADER, ",1,a,x", ",1,a,5", ",1,a,y", ",1,a,z", bad=bad)) == 1
    assert (bad.count, [each.line for each in bad.listed]) == (3, [2, 4])


# ------------------------------------------------------------------------------------------- unusable as a whole


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "is empty"),
        (["", "  "], "is empty"),
        ([HEADER], "has no rows"),
        ([HEADER, ",,,"], "has no usable row: 1 bad; line 2: task_type is empty"),
        (["submit_time_s,task_type", "1,a"], "lacks duration_ms (--column duration_ms=NAME tells which column it is); "
         "it has: submit_time_s, task_type"),
        (["a,submit_time_s,a,task_type,duration_ms,task_type", ""], "has two columns named task_type"),
        (['"a,b', ""], "its header cannot be read: not CSV: unexpected end of data"),
        ([b"\x00\x01\x02"], "is binary: neither CSV nor JSON Lines"),
        ([None], "is binary: neither CSV nor JSON Lines"),
        ([b"\xc3\x28"], "is not text: byte 1 of its first line is not UTF-8"),
        (["[", "]"], "is one JSON array: JSON Lines have one object per line"),
        (["{", "}"], "its first line is no JSON object: JSON Lines have one object per line"),
    ],
)  # fmt: skip
def test_a_file_that_makes_no_sense_is_one_line(lines: list[bytes | str | None], said: str) -> None:
    with pytest.raises(UnusableTrace) as refused:
        rows(*lines, bad=BadRows())
    assert str(refused.value) == said


def test_a_column_that_was_asked_for_by_name_has_to_be_there() -> None:
    with pytest.raises(UnusableTrace, match=r"no column 'usr', which user is to be read from; did you mean user\?"):
        rows(HEADER + ",user", ",1,a,5,b", mapped=["user=usr"])
    with pytest.raises(UnusableTrace, match=r"no column 'sizes', which is to be a feature; did you mean size\?"):
        rows(HEADER + ",size", ",1,a,5,6", features=["sizes"])
    line = '{"submit_time_s": 1, "task_type": "a", "duration_ms": 1, "user": "x"}'
    with pytest.raises(UnusableTrace, match=r"no key 'usr' in any object; did you mean user\?"):
        rows(line, line, mapped=["user=usr"])


# --------------------------------------------------------------------------------------------- order and memory


def test_rows_that_are_a_little_out_of_order_are_put_in_order() -> None:
    times = [row.submit_s for row in rows(HEADER, *(f",{time},a,5" for time in (3, 1, 2, 5, 4)), reordered_rows=2)]
    assert times == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_ties_keep_the_order_of_the_file() -> None:
    ids = [row.task.task_id for row in rows(HEADER, "b,1,a,5", "a,1,a,5", "c,1,a,5")]
    assert ids == ["b", "a", "c"]


@pytest.mark.parametrize(("held", "kept"), [(3, 5), (2, 4)])
def test_a_row_that_comes_later_than_rows_are_held_back_is_bad(held: int, kept: int) -> None:
    bad = BadRows()
    lines = [f",{time},a,5" for time in (2, 3, 4, 1, 5)]
    assert len(rows(HEADER, *lines, bad=bad, reordered_rows=held)) == kept
    assert [each.line for each in bad.listed] == [5] * (5 - kept)
    assert all("sort the file by submit time" in each.reason for each in bad.listed)


def test_a_trace_is_read_as_it_is_used_and_never_ahead_of_that() -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        yield HEADER.encode()
        for number in count():
            taken += 1
            yield b",%d,a,5" % number

    reading = read_trace(numbered(endless()), columns(), BadRows(), reordered_rows=10)
    assert taken == 0
    assert [row.submit_s for row in islice(reading, 1_000)] == [float(number) for number in range(1_000)]
    assert taken == 1_010


# --------------------------------------------------------------------------------------------------- labels

names = st.text(st.characters(exclude_characters=';=,"\r\n\0', exclude_categories=["Cs"]), min_size=1).map(str.strip)
labelled = names.map(lambda name: f" label_{name}")


@given(st.dictionaries(st.one_of(names.filter(bool), labelled), st.integers() | names))
def test_no_label_ever_reaches_a_task(features: dict[str, int | str]) -> None:
    text = ";".join(f"{name}={value}" for name, value in features.items())
    given_in_json = json.dumps({"submit_time_s": 1, "task_type": "a", "duration_ms": 5, "features": features})
    quoted = text.replace('"', '""')
    for lines in ((f"{HEADER},features", f'1,1,a,5,"{quoted}"'), (given_in_json,)):
        bad = BadRows()
        (row,) = list(read_trace(numbered([*lines, *lines[-1:]]), columns(), bad))[:1]
        seen = {name for name, _ in (*row.task.features, *row.task.attributes)}
        assert not any(name.startswith("label_") for name in seen)
        assert {name.strip() for name in features if not name.strip().startswith("label_")} == {
            name.strip() for name in seen
        }


def test_a_number_that_is_none_is_a_word() -> None:
    (row,) = rows(f"{HEADER},features", f"1,1,a,5,a=nan;b={inf};c=1_0;d=-0.5")
    assert (row.task.features, [name for name, _ in row.task.attributes]) == ((("d", -0.5),), ["a", "b", "c"])
