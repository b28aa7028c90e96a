"""What the log says, by process and by task; nothing is judged here."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf

from tests.faults.log import Event

Span = tuple[float, float]

ON_ITS_WAY_S = 2.0
"""What was sent to a process while it was stopped is read within this time after it goes on."""


@dataclass(slots=True)
class Process:
    """A worker's process; instants that never came are infinite."""

    name: str
    worker: str
    server: str
    slots: int
    capabilities: frozenset[str]
    killed: Event | None = None
    removing: Event | None = None
    removed: Event | None = None
    drained: Event | None = None
    stops: list[tuple[Event, Event | None]] = field(default_factory=list)
    fenced: list[Event] = field(default_factory=list)
    welcomes: list[Event] = field(default_factory=list)


STARTING_S = 1.0
"""From a server's first thought to the moment when it serves, at most."""

_ENDS_A_SESSION = frozenset({"WORKER_FENCED", "WORKER_LOST", "WORKER_SUPERSEDED"})


class History:
    """The log, indexed. Lists are in the order of time."""

    def __init__(self, events: Iterable[Event]) -> None:
        self.events = list(events)
        self.rules = {"patience_s": 0.0, "claim_after_s": inf, "restart_grace_s": inf, "max_workers_lost": 1}
        self.processes: dict[str, Process] = {}
        self.outages: dict[str, list[tuple[Event, Event | None]]] = defaultdict(list)  # of servers, and of Redis
        self.of_task: dict[str, list[Event]] = defaultdict(list)
        self.began: dict[str, list[Event]] = defaultdict(list)
        self.accepted: dict[str, Event] = {}
        self.letters: dict[str, list[Event]] = defaultdict(list)
        self.said: list[Event] = []
        self.servers: set[str] = set()  # that have served so far
        for event in self.events:
            self._take(event)

    def named(self, what: str) -> list[Event]:
        """Every event of a kind."""
        return [event for event in self.events if event.what == what]

    def _take(self, event: Event) -> None:
        about = event.about
        if "task" in about:
            self.of_task[about["task"]].append(event)
        process = self.processes.get(about.get("process", ""))
        if process is not None:
            _of_process(process, event)
        match event.what:
            case "rules":
                self.rules |= about
            case "worker":
                names = (about["process"], about["worker"], about["server"])
                self.processes[about["process"]] = Process(*names, about["slots"], frozenset(about["capabilities"]))
            case "began":
                self.began[about["task"]].append(event)
            case "accepted":
                self.accepted.setdefault(about["task"], event)
            case "letter":
                self.letters[about["task"]].append(event)
            case "said":
                self.said.append(event)
            case "killed" | "stopped" | "continued" | "serving" if process is None:
                self._outage(event)
            case _:
                pass

    def _outage(self, event: Event) -> None:
        if event.what == "serving":
            self.servers.add(event["process"])
        _span(self.outages[event["process"]], event, begins=event.what in {"killed", "stopped"})

    # ------------------------------------------------------------------ lost or fenced

    def why_lost(self, first: Event, second: Event) -> Event | None:
        """What shows that the session which `first` (a start) belongs to was fenced or lost before `second`.

        The first may be the later one: it was on its way while its process was stopped.
        """
        return self.lost_between(self.processes[first["process"]], min(first.at, second.at), second.at)

    def fenced(self, start: Event) -> Event | None:
        """What shows that a start belongs to a hand-over whose session was being fenced when it came."""
        for one in self.processes[start["process"]].fenced:
            if abs(one.at - start.at) <= ON_ITS_WAY_S:
                return one
        return None

    def added_twice(self, one: Event, other: Event) -> Event | None:
        """What shows that two servers may each have had an entry of the task: its producer had no answer, added again.

        A server runs the entries of one task once; two servers do not know of each other's.
        """
        offers = [event for event in self.of_task[one["task"]] if event.what == "offered" and event.at <= other.at]
        servers = {self.processes[each["process"]].server for each in (one, other)}
        return offers[1] if len(offers) > 1 and len(servers) > 1 else None

    def lost_between(self, process: Process, since: float, by: float) -> Event | None:
        """The same of whatever a process had at an instant."""
        for one in (process.killed, process.removing):
            if one is not None and one.at <= by:
                return one
        since -= ON_ITS_WAY_S
        for began, ended in process.stops:
            until = min(by, ended.at if ended else inf)
            if until - began.at >= self.rules["patience_s"] and until >= since:
                return began
        for one in process.fenced:
            if since <= one.at <= by + ON_ITS_WAY_S:
                return one
        for one in self.said:
            if (
                one["kind"] in _ENDS_A_SESSION
                and one["worker"] == process.worker
                and since <= one.at <= by + ON_ITS_WAY_S
            ):
                return one
        return self._server_lost(process, since, by)

    def _server_lost(self, process: Process, since: float, by: float) -> Event | None:
        """Its server was away for so long that another one could take over what Redis had not heard of.

        Or the server came back, and the worker did not within the time that it has for that.
        """
        for began, ended in self.outages.get(process.server, ()):
            until = min(by, ended.at if ended else inf)
            # Entries are refreshed every third of the time: the last time may be that long ago.
            if until - began.at >= 0.6 * self.rules["claim_after_s"] and until >= since and len(self.servers) > 1:
                return began
            if ended is None or ended.what != "serving" or ended.at < since:
                continue
            # It counts from its start, a moment before it serves.
            late = by - ended.at >= self.rules["restart_grace_s"] - STARTING_S
            if late and not any(ended.at - STARTING_S <= each.at <= by for each in process.welcomes):
                return began
        return None


def _of_process(process: Process, event: Event) -> None:
    match event.what:
        case "stopped" | "continued":
            _span(process.stops, event, begins=event.what == "stopped")
        case "killed":
            process.killed = process.killed or event
        case "removing" if process.welcomes:  # otherwise it was an earlier process of this name that was removed
            process.removing = event
        case "not_removed":
            process.removing = None
        case "removed" if process.welcomes:
            process.removed = event
        case "drained":
            process.drained = process.drained or event
        case "welcome":
            process.welcomes.append(event)
        case "goodbye" if event["reason"] == "FENCED":
            process.fenced.append(event)
        case _:
            pass


def _span(spans: list[tuple[Event, Event | None]], event: Event, *, begins: bool) -> None:
    if begins:
        spans.append((event, None))
    elif spans and spans[-1][1] is None:
        spans[-1] = (spans[-1][0], event)
