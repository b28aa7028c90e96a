"""Which decisions need not be looked at? What those of each block of entries have in the columns that are filtered by.

A filter that little or nothing matches goes through the index of all decisions in its span, which takes 0.15 s for a
million. So for each block of 4,096 entries (of all tables) it is known from when to when its decisions are, and which
words they have: a block without one of the words that are asked for is passed over. Words that a batch brings into its
block are written as one text for each column; a row for each would cost as much as an index of decisions by a column.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

import msgspec

from scheduler_server.storage.decision_log.rows import DecisionRow

BLOCK_BITS: Final = 12
"""The finer, the fewer decisions are looked at in vain, and the more words there are: some 3 bytes for an entry in a
fleet of 1,000 workers, 9 in one of 10,000."""

_FEW: Final = ("source", "cause", "scorer", "policy_revision")  # have few words, so they are gathered together
FIELDS: Final = ("tenant", "task_type", "worker_id", *_FEW)
"""Columns of decisions whose words are kept; in the file each is told by its place here."""

_OVERRIDES: Final = "overrides"  # of which the words are the ids
_PLACES: Final = {name: place for place, name in enumerate((*FIELDS, _OVERRIDES))}

_WORDS_OF = (
    "INSERT INTO block_words SELECT block, %d, char(10) || group_concat(word, char(10)) || char(10)"
    f" FROM (SELECT DISTINCT decisions.key >> {BLOCK_BITS} AS block, %s AS word FROM decisions%s) GROUP BY block"
)

TABLES: Final = ";".join(
    (
        "CREATE TABLE blocks (number INTEGER PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL)",
        "CREATE TABLE block_words (block INTEGER NOT NULL, field INTEGER NOT NULL, words TEXT NOT NULL)",
        "CREATE INDEX block_words_block ON block_words (block, field)",
        f"INSERT INTO blocks SELECT key >> {BLOCK_BITS}, min(at), max(at) FROM decisions GROUP BY 1",
        *(_WORDS_OF % (_PLACES[name], name, "") for name in FIELDS),
        _WORDS_OF
        % (
            _PLACES[_OVERRIDES],
            "json_extract(pair.value, '$[0]')",
            ", json_each(decisions.overrides) AS pair WHERE overrides != ''",
        ),
    )
)
"""The tables, and what they say of decisions that are there already."""

FORGET: Final = (
    f"DELETE FROM block_words WHERE block < (SELECT min(key) FROM decisions) >> {BLOCK_BITS}",
    f"DELETE FROM blocks WHERE number < (SELECT min(key) FROM decisions) >> {BLOCK_BITS}",
)
"""After decisions have gone."""


def _column(*names: str) -> Callable[[Sequence[Any]], Any]:
    return itemgetter(*map(DecisionRow._fields.index, names))


_AT, _SEQUENCE, _GATHERED = _column("at"), _column("sequence"), _column(*_FEW, _OVERRIDES)
_ALONE = [_column(name) for name in FIELDS[: -len(_FEW)]]
_PAIRS = msgspec.json.Decoder(list[tuple[str, str]])
_EDGE = "\n"  # before and after every word; one that has it itself makes a block seem to have more

Run = Callable[[str, Sequence[Any]], Any]


class BlockWriter:
    """Notes what a batch has.

    Invariant: `_known` are words of `_block`, by the place of their column, that are in the file, or will be with the
    transaction that is open; `forget` after one that is taken back.
    """

    def __init__(self) -> None:
        self._block = -1
        self._known: list[set[Any]] = _nothing()

    def forget(self) -> None:
        """Know nothing."""
        self._block = -1
        self._known = _nothing()

    def note(self, run: Run, rows: Sequence[Sequence[Any]], base: int) -> None:
        """Note decisions of one run, in the order of their sequence, in the transaction that stores them."""
        done = 0
        while done < len(rows):
            block = base + _SEQUENCE(rows[done]) >> BLOCK_BITS
            end = bisect_left(rows, ((block + 1) << BLOCK_BITS) - base, done, key=_SEQUENCE)
            self._note(run, block, rows[done:end])
            done = end

    def _note(self, run: Run, block: int, rows: Sequence[Sequence[Any]]) -> None:
        if block != self._block:
            self._block, self._known = block, _nothing()
        instants = list(map(_AT, rows))
        run(
            "INSERT INTO blocks VALUES (?, ?, ?) ON CONFLICT DO UPDATE"
            " SET first = min(first, excluded.first), last = max(last, excluded.last)",
            [block, min(instants), max(instants)],
        )
        words = [set(map(column, rows)) for column in _ALONE]
        *few, overrides = map(set, zip(*set(map(_GATHERED, rows)), strict=True))
        words += few
        words.append({name for text in overrides if text for name, _ in _PAIRS.decode(text)})
        for place, found in enumerate(words):
            if fresh := found - self._known[place]:
                text = _EDGE.join(("", *sorted(map(str, fresh)), ""))
                run("INSERT INTO block_words VALUES (?, ?, ?)", [block, place, text])
                self._known[place] |= fresh


def _nothing() -> list[set[Any]]:
    return [set() for _ in _PLACES]


def stretches(
    ask: Callable[[str, Sequence[Any]], list[tuple[Any, ...]]],
    start: int | None,
    end: int | None,
    words: Mapping[str, Sequence[Any]],
) -> list[tuple[int, int]]:
    """From when to when (both included) there may be decisions with one of the words in each of these columns.

    Newest first, apart from each other, and within `start` and `end` (excluded). All instants are microseconds.
    """
    values: list[Any] = []
    parts = []
    for name, wanted in words.items():
        either = " OR ".join(["instr(words, ?) > 0"] * len(wanted))
        parts.append(f"EXISTS (SELECT 1 FROM block_words WHERE block = number AND field = ? AND ({either}))")
        values += [_PLACES[name], *(f"{_EDGE}{word}{_EDGE}" for word in wanted)]
    where = []
    if start is not None:
        where.append("last >= ?")
        values.append(start)
    if end is not None:
        where.append("first < ?")
        values.append(end)
    sql = f"SELECT first, last, {' AND '.join(parts) or '1'} FROM blocks WHERE {' AND '.join(where) or '1'}"
    found: list[tuple[int, int]] = []
    adjoins = False
    for first, last, has in ask(f"{sql} ORDER BY first, number", values):
        if has:
            # Between blocks that follow each other there is nothing, so one stretch goes through both.
            if found and (adjoins or first <= found[-1][1]):
                found[-1] = (found[-1][0], max(last, found[-1][1]))
            else:
                found.append((first, last))
        adjoins = bool(has)
    low = start if start is not None else -(1 << 62)
    high = end - 1 if end is not None else 1 << 62
    return [(max(first, low), min(last, high)) for first, last in reversed(found)]
