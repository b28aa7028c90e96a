"""The table of a campaign: faults, recovery, tasks, and what did not hold."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from statistics import median

from tests.faults.campaign import Result
from tests.faults.checker import Rule, repeats
from tests.faults.history import History
from tests.faults.log import Event
from tests.faults.plan import Kind

_OF_WORKERS = frozenset({Kind.WORKER_KILL.value, Kind.WORKER_STOP.value, Kind.WORKER_REMOVE.value})


def recoveries(history: History) -> Iterator[tuple[str, float | None]]:
    """Each fault's kind with how long it took to recover, in seconds; None: there was nothing to recover.

    A worker's: until the last task that it held had begun elsewhere, or ended. A poisonous task's: until it was set
    aside. Otherwise: from the end of the fault (of a server's kill, from the kill) to the first start of a task that
    was accepted since.
    """
    lifted = {event["number"]: event for event in history.named("lifted")}
    starts = sorted(
        (began[0].at, history.accepted[task].at) for task, began in history.began.items() if task in history.accepted
    )
    for fault in history.named("fault"):
        kind = fault["kind"]
        if kind in _OF_WORKERS:
            yield kind, _again(history, fault)
        elif kind == Kind.POISON.value:
            letters = history.letters.get(fault["target"])
            yield kind, letters[0].at - fault.at if letters else None
        elif kind == Kind.WORKER_DRAIN.value:
            yield (
                kind,
                next(
                    (each.at - fault.at for each in history.named("exited") if each["process"] == fault["target"]), None
                ),
            )
        else:
            since = lifted.get(fault["number"], fault).at
            yield kind, next((began - since for began, accepted in starts if accepted >= since), None)


def _again(history: History, fault: Event) -> float | None:
    process = fault["target"]
    held: dict[str, Event] = {}
    for event in history.events:
        if event.at > fault.at:
            break
        if event.about.get("process") == process:
            if event.what == "handed":
                held[event["lease"]] = event
            elif event.what in {"ended", "closed"}:
                held.pop(event["lease"], None)
    ends = [
        end for lease, event in held.items() if (end := _resolved(history, event["task"], lease, fault.at)) is not None
    ]
    return max(ends) - fault.at if ends else None


def _resolved(history: History, task: str, lease: str, since: float) -> float | None:
    """When the task began under another lease, ended after all, or was set aside."""
    for event in history.of_task[task]:
        if event.at > since and (
            (event.what == "began" and event["lease"] != lease)
            or event.what == "letter"
            or (event.what == "ended" and not event["stopped"])
        ):
            return event.at
    return None


def table(result: Result) -> str:
    """All of it as text."""
    history = result.history
    found: dict[str, list[float | None]] = defaultdict(list)
    for kind, seconds in recoveries(history):
        found[kind].append(seconds)
    lines = [f"{'fault':<26} {'faults':>6} {'recovered: median':>18} {'longest':>8}"]
    for name in (kind.value for kind in Kind if kind.value in found):
        known = [each for each in found[name] if each is not None]
        times = f"{median(known):>16.2f} s {max(known):>6.2f} s" if known else ""
        lines.append(f"{name:<26} {len(found[name]):>6} {times}")
    again = Counter(_reason(why) for _, _, why in repeats(history))
    letters = Counter(letter["reason"] for each in history.letters.values() for letter in each)
    done = {event["task"] for event in history.named("ended") if not event["stopped"]}
    lines += [
        "",
        f"tasks accepted {len(history.accepted)}, ran to their end {len(done)},"
        f" handed over {len(history.named('handed'))}",
        f"began again after {_counted(again)}",
        f"set aside: {_counted(letters)}",
        f"violations: {_counted(Counter(each.rule.name for each in result.violations))}",
        f"seconds: {history.events[-1].at - history.events[0].at:.0f}",
    ]
    return "\n".join(lines)


def _reason(why: Event | None) -> str:
    if why is None:
        return Rule.TWICE.name
    names = {
        "stopped": "SIGSTOP",
        "offered": "added twice, to two servers",
        "goodbye": "fenced",
        "said": "lost or fenced, as the server says",
    }
    return names.get(why.what, why.what)


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items())) or "none"
