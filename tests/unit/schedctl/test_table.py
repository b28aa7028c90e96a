"""Tables that fit their place."""

import pytest

from scheduler_server.schedctl import text
from scheduler_server.schedctl.table import SHORTEST, Column, Laid, Line, lay_out

Row = tuple[str, str, str]
COLUMNS: list[Column[Row]] = [
    Column(title="NAME", cell=lambda row: row[0], cuts=True),
    Column(title="COUNT", cell=lambda row: row[1], right=True),
    Column(title="NOTE", cell=lambda row: (row[2], "warn"), spare=1),
    Column(title="MORE", cell=lambda row: row[2], spare=2),
    Column(title="ALL", cell=lambda row: row[2], wide=True),
]


def plain(line: Line) -> str:
    return "".join(said for said, _ in line)


def widest(laid: Laid) -> int:
    return max(text.width(plain(line).rstrip()) for line in [laid.head, *laid.rows])


def test_columns_stand_below_their_heads_and_numbers_to_the_right() -> None:
    laid = lay_out(COLUMNS, [("a", "1", "x"), ("界界", "100", "y")], columns_wide=None)
    assert [plain(line) for line in [laid.head, *laid.rows]] == [
        "NAME  COUNT  NOTE  MORE",
        "a         1  x     x",
        "界界    100  y     y",
    ]
    assert laid.left_out == []


def test_a_table_without_rows_is_its_head() -> None:
    assert plain(lay_out(COLUMNS, [], columns_wide=80).head) == "NAME  COUNT  NOTE  MORE"


def test_what_is_most_to_spare_goes_first_and_is_named() -> None:
    rows = [("a" * 10, "1", "note")]  # 10 + 5 + 4 + 4 and three gaps
    assert lay_out(COLUMNS, rows, columns_wide=29).left_out == []
    assert lay_out(COLUMNS, rows, columns_wide=28).left_out == ["MORE"]
    assert lay_out(COLUMNS, rows, columns_wide=23).left_out == ["MORE"]
    assert lay_out(COLUMNS, rows, columns_wide=22).left_out == ["NOTE", "MORE"]


def test_names_give_way_before_columns_do_down_to_their_shortest() -> None:
    rows = [("a" * 100, "1", "note")]
    needed = SHORTEST + 5 + 4 + 4 + 6
    assert lay_out(COLUMNS, rows, columns_wide=needed).left_out == []
    assert widest(lay_out(COLUMNS, rows, columns_wide=needed)) == needed
    assert lay_out(COLUMNS, rows, columns_wide=needed - 1).left_out == ["MORE"]


def test_several_long_columns_end_equally_wide() -> None:
    columns: list[Column[Row]] = [
        Column(title="A", cell=lambda row: row[0], cuts=True),
        Column(title="B", cell=lambda row: row[1], cuts=True),
        Column(title="C", cell=lambda row: row[2], cuts=True),
    ]
    laid = lay_out(columns, [("a" * 90, "b" * 40, "c" * 5)], columns_wide=80)
    assert [text.width(said) for said, _ in laid.rows[0] if said.strip()] == [35, 36, 5]


@pytest.mark.parametrize("columns_wide", [40, 80, 160])
def test_names_of_200_controls_and_wide_letters_fit_any_place(columns_wide: int) -> None:
    rows = [("\x1b[2J界\n\u202e" * 40 + str(number), "1", "note") for number in range(50)]
    laid = lay_out(COLUMNS, rows, columns_wide=columns_wide)
    assert widest(laid) <= columns_wide
    assert all(plain(line).isprintable() for line in laid.rows)


def test_everything_is_there_in_full_when_it_is_wanted() -> None:
    laid = lay_out(COLUMNS, [("a" * 300, "1", "x")], columns_wide=None, everything=True)
    assert "ALL" in plain(laid.head)
    assert "a" * 300 in plain(laid.rows[0])
