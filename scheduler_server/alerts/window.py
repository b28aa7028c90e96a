"""How much has a count risen lately?"""

from collections import deque

_STEPS = 60
"""Steps that a window is kept in: what leaves it leaves within a sixtieth of its length, and an hour takes no more room
than a minute."""


class Rise:
    """A count that only grows, over the last `window_s` seconds. It began at 0 when this was made.

    Invariant: `_marks` are earlier looks (when, count), oldest first, at most two to a step, and all but the first
    within the window; `_latest` is the last look.
    """

    def __init__(self, window_s: float, now: float) -> None:
        self._window_s = window_s
        self._step_s = window_s / _STEPS
        self._latest = (now, 0)
        self._marks = deque([self._latest])

    def over(self, now: float, count: int) -> int:
        """Take in the count as it is now (monotonic seconds); by how much it rose since the window began.

        What rose between two looks counts as risen at the later one.
        """
        marks = self._marks
        if now - marks[-1][0] >= self._step_s:
            marks.append(self._latest)
        self._latest = (now, count)
        # The mark that the window begins at has what was counted before it.
        while len(marks) > 1 and marks[1][0] <= now - self._window_s:
            marks.popleft()
        return count - marks[0][1]
