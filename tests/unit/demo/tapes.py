"""Tapes to show and to judge."""

from scheduler_server.client import BlockingReason
from scheduler_server.demo.arrivals import Item
from scheduler_server.demo.prospect import Prospect
from scheduler_server.demo.tape import Tape
from scheduler_server.demo.work import BY_TYPE

START = 100.0


def tape(*at_s: float, task_type: str = "archive-folder", span_s: float = 10.0) -> Tape:
    """Tasks due so long after 100 s of the clock, named t-0000 and so on."""
    kind = BY_TYPE[task_type]
    items = [
        Item(number=number, at_s=at, kind=kind, nominal_s=1.0, units=1, priority=0.5) for number, at in enumerate(at_s)
    ]
    made = Tape("t", items, span_s)
    made.start(START)
    return made


def prospect(p50: float | None, p90: float | None, ahead: int = 0) -> Prospect:
    """What the server says, its instants in seconds of the clock."""
    detail = "all 11 slots that could take it are taken"
    return Prospect(ahead=ahead, p50=p50, p90=p90, blocking=BlockingReason.NO_FREE_SLOT, detail=detail)


def wait(made: Tape, number: int, p50: float | None, p90: float | None, ahead: int = 0) -> None:
    """That task waits, and was told so."""
    run = made.runs[f"t-{number:04d}"]
    run.told = run.prospect = prospect(p50, p90, ahead)
