"""What is looked at, and what keys do to it."""

from dataclasses import dataclass
from enum import IntEnum

from scheduler_server.schedctl import fleet


class View(IntEnum):
    """The five screens, by the keys that choose them."""

    WORKERS = 1
    QUEUE = 2
    DECISIONS = 3
    ACCURACY = 4
    EVENTS = 5


FILTERED = frozenset({View.WORKERS, View.ACCURACY, View.EVENTS})
"""Screens whose lines can be filtered by text."""

SORTS = tuple(fleet.SORTS)
MOST = 1_000
"""Workers of one page of ListWorkers: as far as one can scroll. Whoever looks for one of more filters."""
_LONGEST_FILTER = 200


@dataclass(slots=True, kw_only=True)
class State:
    """What is looked at. Invariant: once drawn, `chosen` and `top` are within the lines there were (`fit`).

    `worker_id`: the worker that was drilled down to, None for the list; `left_at`: where in the list that was.
    `typing`: the filter while it is typed.
    """

    view: View = View.WORKERS
    worker_id: str | None = None
    filter: str = ""
    typing: str | None = None
    sort: str = "id"
    backwards: bool = False
    chosen: int = 0
    top: int = 0
    page: int = 10
    helping: bool = False
    left_at: tuple[int, int] = (0, 0)
    over: bool = False

    def fit(self, lines: int, room: int) -> None:
        """There are so many lines, and room for so many of them."""
        self.page = max(1, room)
        self.chosen = max(0, min(self.chosen, lines - 1))
        self.top = max(0, min(self.top, lines - self.page))
        if self.chosen < self.top:
            self.top = self.chosen
        elif self.chosen >= self.top + self.page:
            self.top = self.chosen - self.page + 1

    def press(self, key: str, chosen_worker: str | None = None) -> None:
        """What a key does. `chosen_worker`: the one on the chosen line, if there is one."""
        if self.typing is not None:
            self._type(key)
        elif self.helping:
            self.helping = False
            self.over = key == "q"
        elif key in _MOVES:
            self._move(key)
        elif key in {"1", "2", "3", "4", "5"}:
            self._show(View(int(key)))
        elif key in {"tab", "right", "back tab", "left"}:
            step = 1 if key in {"tab", "right"} else -1
            self._show(View((self.view - 1 + step) % len(View) + 1))
        elif key == "enter":
            if self.view is View.WORKERS and self.worker_id is None and chosen_worker is not None:
                self.worker_id = chosen_worker
                self.left_at = (self.chosen, self.top)
                self.chosen = self.top = 0
        elif key in {"escape", "erase"}:
            self._back()
        elif key == "/":
            self.typing = self.filter if self.view in FILTERED and self.worker_id is None else None
        elif key == "s":
            self.sort = SORTS[(SORTS.index(self.sort) + 1) % len(SORTS)]
            self.backwards, self.chosen = False, 0
        elif key == "r":
            self.backwards, self.chosen = not self.backwards, 0
        elif key in {"?", "h"}:
            self.helping = True
        elif key == "q":
            self.over = True

    def _type(self, key: str) -> None:
        assert self.typing is not None  # noqa: S101 -- `press` has looked
        if key == "enter":
            self.filter, self.typing = self.typing, None
            self.chosen = self.top = 0
        elif key == "escape":
            self.typing = None
        elif key == "erase":
            self.typing = self.typing[:-1]
        elif key == "erase all":
            self.typing = ""
        elif len(key) == 1 and len(self.typing) < _LONGEST_FILTER:
            self.typing += key

    def _back(self) -> None:
        """Out of what is deepest: the worker, then the filter."""
        if self.worker_id is not None:
            self.worker_id = None
            self.chosen, self.top = self.left_at
        else:
            self.filter = ""
            self.chosen = self.top = 0

    def _show(self, view: View) -> None:
        if view is not self.view or self.worker_id is not None:
            self.filter = "" if view is not self.view else self.filter
            self.chosen = self.top = 0
        self.view, self.worker_id = view, None

    def _move(self, key: str) -> None:
        self.chosen = max(0, min(self.chosen + _lines(key, self.page), MOST - 1))


_MOVES = {
    "up": -1, "k": -1, "down": 1, "j": 1, "home": -MOST, "g": -MOST, "end": MOST, "G": MOST,
    "page up": 0, "page down": 0, " ": 0,
}  # fmt: skip


def _lines(key: str, page: int) -> int:
    """How far a key moves, in lines."""
    return _MOVES[key] or (-page if key == "page up" else page)
