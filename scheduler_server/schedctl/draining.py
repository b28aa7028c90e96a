"""Drains in words: shared by `worker drain`, `drains` and `drain`."""

import argparse
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_server.client import SchedulerError
from scheduler_server.schedctl import figures, options
from scheduler_server.schedctl.complaint import complaint
from scheduler_server.schedctl.figures import counted, seconds_of
from scheduler_server.schedctl.paper import Paper, as_json
from scheduler_server.schedctl.table import Column, Segment
from scheduler_server.schedctl.work import Work

_BAR = 24
_LINES = 12  # workers shown of those that still hold something, while it is watched
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 5.0

STATES = {
    api.DRAIN_STATE_ACTIVE: "note",
    api.DRAIN_STATE_OVERDUE: "bad",
    api.DRAIN_STATE_COMPLETE: "good",
    api.DRAIN_STATE_CANCELLED: "dim",
}
_ACTIONS = {
    api.DRAIN_DEADLINE_ACTION_LEAVE: "what still runs then goes on",
    api.DRAIN_DEADLINE_ACTION_CANCEL: "what still runs then is stopped, and ends as cancelled",
    api.DRAIN_DEADLINE_ACTION_LOSE: "what still runs then is given up, and placed again or reported by its loss policy",
}
AT_DEADLINE = {"leave": 1, "cancel": 2, "lose": 3}


def instant(said: str) -> float:
    """Seconds since 1970 of "2026-11-22T18:00:00Z", or of a span from now such as 30m."""
    try:
        return time.time() + options.span(said)
    except argparse.ArgumentTypeError:
        pass
    try:
        moment = datetime.fromisoformat(said)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be a span such as 30m, or an instant such as 2026-11-22T18:00:00Z, not {said!r}"
        ) from None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


def state(drain: api.DrainStatus) -> Segment:
    """Where it stands."""
    return figures.word(api.DrainState, drain.state) or "unknown", STATES.get(drain.state, "")


def whom(drain: api.DrainStatus) -> str:
    """Which workers it is for."""
    labels = "+".join(f"{name}={value}" for name, value in sorted(drain.match_labels.items()))
    return ",".join([*drain.worker_ids, *([labels] if labels else [])])


def ending(drain: api.DrainStatus, now: float) -> str:
    """What happens at its deadline; "" without one."""
    if not drain.HasField("deadline"):
        return ""
    said = _ACTIONS.get(drain.at_deadline, "")
    return f"deadline {figures.instant_in(drain, 'deadline', now)}: {said}"


def counts(drain: api.DrainStatus) -> str:
    """How far it is, in a line."""
    parts = [
        f"{drain.empty_workers:,} of {counted(drain.worker_count, 'worker')} empty",
        f"{counted(drain.remaining_leases, 'lease')} left",
        f"{drain.returned_tasks:,} handed back",
        f"{drain.finished_tasks:,} finished",
    ]
    return ", ".join([*parts, *([f"{drain.stopped_tasks:,} stopped"] if drain.stopped_tasks else [])])


def facts(drain: api.DrainStatus, now: float) -> list[tuple[str, str | Segment]]:
    """All of it, apart from its workers."""
    own = drain.author and list(drain.worker_ids) == [drain.author]
    said: list[tuple[str, str | Segment]] = [
        ("drain", (drain.drain_id or "(not begun)", "strong")),
        ("state", state(drain)),
        ("workers", whom(drain)),
        ("begun by", f"{drain.author}, by its own wish" if own else drain.author),
        ("reason", drain.reason),
        ("begun", figures.instant_in(drain, "created_at", now)),
        ("deadline", ending(drain, now).removeprefix("deadline ")),
        ("so far", counts(drain)),
        ("noted by", f"{drain.acknowledged_workers:,} of {counted(drain.worker_count, 'worker')}"),
        ("last task ends", figures.instant_in(drain, "expected_end", now) if drain.HasField("expected_end") else ""),
        ("ended", figures.instant_in(drain, "ended_at", now) if drain.HasField("ended_at") else ""),
    ]
    return [(name, value) for name, value in said if value]


def worker_columns(now: float) -> list[Column[api.DrainWorkerStatus]]:
    """The table of its workers. `now`: the server's, in seconds since 1970."""

    def ends(line: api.DrainWorkerStatus) -> str:
        if not line.HasField("expected_end"):
            return figures.ABSENT
        return figures.distance(seconds_of(line.expected_end) - now)

    def stream(line: api.DrainWorkerStatus) -> Segment:
        return ("open", "") if line.connected else ("none", "warn")

    return [
        Column(title="WORKER", cell=lambda line: line.worker_id, cuts=True),
        Column(title="LEFT", cell=lambda line: figures.count(line.remaining_leases), right=True),
        Column(title="TO COME BACK", cell=lambda line: figures.count(line.pending_returns), right=True, spare=2),
        Column(title="HANDED BACK", cell=lambda line: figures.count(line.returned_tasks), right=True, spare=3),
        Column(title="FINISHED", cell=lambda line: figures.count(line.finished_tasks), right=True, spare=4),
        Column(title="NOTED", cell=lambda line: "yes" if line.acknowledged else "no", spare=5),
        Column(title="STREAM", cell=stream, spare=6),
        Column(title="LAST ENDS", cell=ends, spare=1),
    ]


def columns() -> list[Column[api.DrainStatus]]:
    """The table of drains."""
    return [
        Column(title="DRAIN", cell=lambda drain: drain.drain_id),
        Column(title="STATE", cell=state),
        Column(title="WORKERS", cell=whom, cuts=True),
        Column(title="EMPTY", cell=lambda drain: f"{drain.empty_workers:,}/{drain.worker_count:,}", right=True),
        Column(title="LEFT", cell=lambda drain: figures.count(drain.remaining_leases), right=True),
        Column(title="BACK", cell=lambda drain: figures.count(drain.returned_tasks), right=True, spare=4),
        Column(title="DONE", cell=lambda drain: figures.count(drain.finished_tasks), right=True, spare=5),
        Column(title="DEADLINE", cell=lambda drain: figures.instant_in(drain, "deadline"), spare=3),
        Column(title="THEN", cell=_then, spare=6),
        Column(title="BY", cell=lambda drain: drain.author or figures.ABSENT, cuts=True, spare=2),
        Column(title="REASON", cell=lambda drain: drain.reason or figures.ABSENT, cuts=True, spare=1),
        Column(title="STOPPED", cell=lambda drain: figures.count(drain.stopped_tasks), right=True, wide=True),
        Column(title="BEGUN", cell=lambda drain: figures.instant_in(drain, "created_at"), wide=True),
        Column(title="ENDED", cell=lambda drain: figures.instant_in(drain, "ended_at"), wide=True),
    ]


def _then(drain: api.DrainStatus) -> str:
    return figures.word(api.DrainDeadlineAction, drain.at_deadline) if drain.HasField("deadline") else figures.ABSENT


# ---------------------------------------------------------------------- followed


def follow(work: Work, drain_id: str, sleep: Callable[[float], None] = time.sleep) -> int:
    """Tell how it goes on until it is complete (0) or called off (1), over restarts of the server."""
    try:
        return _follow(work, drain_id, sleep)
    except KeyboardInterrupt:
        work.note(f"the drain goes on; schedctl drain watch {drain_id} follows it again")
        raise


def _follow(work: Work, drain_id: str, sleep: Callable[[float], None]) -> int:
    view = _View(work)
    pause_s, came = 0.0, False
    while True:
        try:
            for message in work.connection.stream("WatchDrain", api.WatchDrainRequest(drain_id=drain_id)):
                view.show(message, whole=pause_s != 0.0 or not came)
                pause_s, came = 0.0, True
                if message.drain.state == api.DRAIN_STATE_COMPLETE:
                    return 0
                if message.drain.state == api.DRAIN_STATE_CANCELLED:
                    return 1
        except SchedulerError as error:
            if not came or error.code.name not in {"UNAVAILABLE", "RESOURCE_EXHAUSTED", "CANCELLED"}:
                raise
            if not pause_s:
                work.note(f"{complaint(error, work.place)}; the drain goes on; trying again")
                view.forget()
        pause_s = min(max(_FIRST_PAUSE_S, pause_s * 2), _LONGEST_PAUSE_S)
        sleep(pause_s)


class _View:
    """What is seen of a drain: on a terminal one picture, drawn over itself; elsewhere a line for each change."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._paper = work.paper
        self._holding: dict[str, api.DrainWorkerStatus] = {}
        self._drawn = 0
        self._live = self._paper.wide is not None and work.paper.form == "table"

    def forget(self) -> None:
        """What is on the screen stays; the next picture stands below it."""
        self._drawn = 0

    def show(self, message: api.WatchDrainResponse, *, whole: bool) -> None:
        """One message more; the first of a watch has the whole."""
        drain = message.drain
        if whole:
            self._holding.clear()
        for line in drain.workers:
            self._holding.pop(line.worker_id, None)
            if line.remaining_leases:
                self._holding[line.worker_id] = line
        if self._work.json:
            self._paper.json_line({"drain": as_json(drain), "at": as_json(message).get("at", "")})
            return
        if self._live:
            self._paper.take_back(self._drawn)
            before = self._paper.lines
            self._picture(drain, seconds_of(message.at))
            self._drawn = self._paper.lines - before
        else:
            now = figures.time_of_day(message.at)
            self._paper.line((now, "dim"), "  ", state(drain), "  ", counts(drain), _end(drain, message))
        self._work.surroundings.stdout.flush()

    def _picture(self, drain: api.DrainStatus, now: float) -> None:
        paper: Paper = self._paper
        gone = drain.returned_tasks + drain.finished_tasks + drain.stopped_tasks
        everything = gone + drain.remaining_leases
        full = _BAR if not everything else _BAR * gone // everything
        paper.line(
            ("drain ", "dim"), (drain.drain_id, "strong"), " ", state(drain),
            f"  [{'#' * full}{'.' * (_BAR - full)}] ", counts(drain), cut=True,
        )  # fmt: skip
        said = [ending(drain, now)]
        if drain.HasField("expected_end"):
            said.append(f"last task ends {figures.distance(seconds_of(drain.expected_end) - now)}")
        if any(said):
            paper.line(("; ".join(filter(None, said)), "dim"), cut=True)
        lines = sorted(self._holding.values(), key=lambda line: (-line.remaining_leases, line.worker_id))
        if lines:
            paper.table(worker_columns(now), lines[:_LINES])
        if len(lines) > _LINES:
            paper.line((f"and {counted(len(lines) - _LINES, 'worker')} more", "dim"))


def _end(drain: api.DrainStatus, message: Any) -> str:
    if not drain.HasField("expected_end"):
        return ""
    return f", the last ends {figures.distance(seconds_of(drain.expected_end) - seconds_of(message.at))}"
