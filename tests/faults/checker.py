"""The promises, checked from the event log alone."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from tests.faults.history import ON_ITS_WAY_S, History, Process
from tests.faults.log import Event

ALLOWED_S = 0.5
"""What was placed before the server heard that its worker drains, or was told to remove it, may still be on its way:
journal commit, queue of the stream, a busy machine."""


class Rule(Enum):
    """A promise; its value says what it is to break it."""

    LOST = "an accepted task neither ran to its end nor was set aside"
    SET_ASIDE = "a task was set aside without a cause"
    OVER_SLOTS = "a worker had more tasks than slots"
    TWICE = "a task began twice, and the session of its first start was neither fenced nor lost"
    LEASE_TWICE = "one lease began twice"
    DRAINED = "a hand-over to a drained worker"
    REMOVED = "a hand-over to a removed worker"
    INCAPABLE = "a hand-over to a worker that is not capable, or excluded"
    ATTEMPTS = "a task was lost more often than it has attempts, and went on"
    LEFT = "something was left over at the end"
    UNKNOWN = "a worker was handed a task that nobody had put in"


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken promise, and the events that prove it."""

    rule: Rule
    subject: str
    evidence: tuple[Event, ...]

    def __str__(self) -> str:
        lines = "".join(f"\n    {event}" for event in self.evidence)
        return f"{self.rule.name}: {self.subject}: {self.rule.value}{lines}"


def check(events: Iterable[Event]) -> list[Violation]:
    """Every broken promise."""
    history = History(events)
    found: list[Violation] = []
    for rule in (_lost, _set_aside, _attempts, _slots, _twice, _candidates, _left):
        found += rule(history)
    return found


# ------------------------------------------------------------------ lost


def _lost(history: History) -> Iterator[Violation]:
    done = {event["task"] for event in history.named("ended") if not event["stopped"]}
    for task in history.accepted:
        if task not in done and task not in history.letters:
            yield Violation(Rule.LOST, task, tuple(history.of_task[task]))
    for event in history.named("handed"):
        # What Redis took and did not answer may run as well; the load says which it offered.
        if event["task"] not in history.accepted and not any(
            each.what == "offered" for each in history.of_task[event["task"]]
        ):
            yield Violation(Rule.UNKNOWN, event["task"], (event,))


def _set_aside(history: History) -> Iterator[Violation]:
    for task, letters in history.letters.items():
        accepted = history.accepted.get(task)
        for letter in letters:
            if accepted is None or not _cause(history, accepted, letter):
                yield Violation(Rule.SET_ASIDE, task, tuple(history.of_task[task]))


def _cause(history: History, accepted: Event, letter: Event) -> bool:
    """Were enough of its workers really lost?"""
    named = sum(_lost_in_time(history, name, accepted.at, letter.at) for name in letter["workers"])
    # The letter names those of attempts that its server remembers; who was killed too early has written nothing down.
    handed = [event for event in history.of_task[letter["task"]] if event.what == "handed" and event.at <= letter.at]
    lost = max(named, sum(history.why_lost(event, letter) is not None for event in handed))
    match letter["reason"]:
        case "POISONOUS":
            return lost >= history.rules["max_workers_lost"]
        case "ATTEMPTS_EXHAUSTED":
            return lost >= (1 if accepted["policy"] == "REPORT" else accepted["max_attempts"])
        case _:
            return False


def _lost_in_time(history: History, worker: str, since: float, by: float) -> bool:
    return any(
        process.worker == worker
        and (process.killed is None or process.killed.at >= since)
        and history.lost_between(process, since, by) is not None
        for process in history.processes.values()
    )


def _attempts(history: History) -> Iterator[Violation]:
    for task, began in history.began.items():
        accepted = history.accepted.get(task)
        if accepted is not None and len(began) > accepted["max_attempts"]:
            yield Violation(Rule.ATTEMPTS, task, (accepted, *began))


# ------------------------------------------------------------------ slots


def _slots(history: History) -> Iterator[Violation]:
    """Between hand-over and the moment when a worker lets go of a lease, its slot is taken."""
    held: dict[str, dict[str, Event]] = {name: {} for name in history.processes}
    for event in history.events:
        if event.what == "handed":
            leases = held[event["process"]]
            leases.setdefault(event["lease"], event)
            if len(leases) > history.processes[event["process"]].slots:
                yield Violation(Rule.OVER_SLOTS, event["process"], tuple(leases.values()))
        elif event.what in {"ended", "closed"}:
            held[event["process"]].pop(event["lease"], None)


# ------------------------------------------------------------------ twice


def repeats(history: History) -> Iterator[tuple[Event, Event, Event | None]]:
    """Every later start of a task with each earlier one, and what shows that the earlier session was lost.

    By attempt, then by time: a stopped process may begin an earlier attempt after the next one began elsewhere.
    """
    for unsorted in history.began.values():
        began = sorted(unsorted, key=lambda event: (event["attempt"], event.at))
        for number, later in enumerate(began):
            for earlier in began[:number]:
                why = history.why_lost(earlier, later)
                if why is None and earlier["attempt"] == later["attempt"]:
                    why = history.fenced(later)  # two servers: the later start is the one that was handed over first
                yield earlier, later, why or history.added_twice(earlier, later)


def _twice(history: History) -> Iterator[Violation]:
    for earlier, later, why in repeats(history):
        task = later["task"]
        if earlier["lease"] == later["lease"]:
            yield Violation(Rule.LEASE_TWICE, task, (earlier, later))
        elif why is None:
            yield Violation(Rule.TWICE, task, tuple(history.of_task[task]))


# ------------------------------------------------------------------ to whom


def _candidates(history: History) -> Iterator[Violation]:
    for event in history.named("handed"):
        process = history.processes[event["process"]]
        for rule, since in ((Rule.DRAINED, process.drained), (Rule.REMOVED, process.removed)):
            if since is not None and event.at > since.at + ALLOWED_S + _slept(process, event):
                yield Violation(rule, event["task"], (since, event))
        if not process.capabilities.issuperset(event["required"]) or process.worker in event["excluded"]:
            yield Violation(Rule.INCAPABLE, event["task"], (event,))


def _slept(process: Process, event: Event) -> float:
    """What a process reads after a stop may have been sent before it."""
    return sum(
        ended.at - began.at + ON_ITS_WAY_S
        for began, ended in process.stops
        if ended is not None and ended.at <= event.at <= ended.at + ON_ITS_WAY_S
    )


# ------------------------------------------------------------------ at the end


def _left(history: History) -> Iterator[Violation]:
    told = history.named("left")
    if not told:
        yield Violation(Rule.LEFT, "the log does not say what was left", ())
    for event in told:
        if any(event.about.values()):
            yield Violation(Rule.LEFT, str(event), (event,))
