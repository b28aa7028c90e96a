"""Ejections in words."""

from scheduler_server.registry.ejection import Suspicion


def why(suspicion: Suspicion) -> str:
    """What speaks against a worker."""
    worst = suspicion.worst()
    if worst is None:
        return "it fails out of line"
    kind, track = worst
    ended, failed = track.elsewhere
    others = len(suspicion.tracks) - 1
    more = f", and of {others} other kinds" if others > 1 else ", and of another kind" if others else ""
    return (
        f"it failed {track.own_failed} of {track.own_ended} tasks {of_kind(kind)}{more};"
        f" elsewhere {failed} of {ended} failed meanwhile"
    )


def of_kind(kind: object) -> str:
    """A kind of task: its type, with what such tasks require where they do."""
    if not isinstance(kind, tuple):
        return f"of type {kind!r}"
    task_type, required, labels = kind
    needs = [*required, *(f"{name}={value}" for name, value in labels)]
    return f"of type {task_type!r} that need {', '.join(needs)}"


def nth(number: int) -> str:
    """1st, 2nd, 3rd, 4th."""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in (11, 12, 13) else "th"
    return f"{number}{ending}"


def span(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 120.0:  # noqa: PLR2004 -- two minutes
        return f"{seconds:g} s"
    return f"{seconds / 60.0:.3g} min" if seconds < 7_200.0 else f"{seconds / 3_600.0:.3g} h"  # noqa: PLR2004 -- two hours
