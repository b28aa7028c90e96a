"""The tables of tasks in the live picture: those that wait, and those that have ended lately."""

from collections.abc import Mapping, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from scheduler_server.demo.scene import Scene, name, seconds, until, words
from scheduler_server.demo.tape import Run, Tape
from scheduler_server.demo.waiting_view import waiting

WAITING = 5  # tasks shown that wait
RECENT = 3  # tasks shown that have ended


def line(text: str) -> Text:
    """One line, whatever its length."""
    return Text(text, no_wrap=True, overflow="ellipsis")


def columns(widths: Mapping[str, int], *, gap: int = 2) -> Table:
    """A table with these headings and least widths, so far apart; a negative width stands to the left."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, gap, 0, 0))
    for heading, width in widths.items():
        table.add_column(
            heading, justify="left" if width < 0 else "right", min_width=abs(width), no_wrap=True, overflow="ellipsis"
        )
    return table


def waiting_in_server(tape: Tape, now: float) -> list[RenderableType]:
    """As the server says: how many go before each, when it should start, and why it has not yet."""
    runs = waiting(tape)
    widths = {"waiting, next first": -20, "needs": -9, "prio": 4, "ahead": 5, "waited": 6}
    table = columns(widths | {"start P50": 9, "P90": 6, "because": -12}, gap=1)
    for run in runs[:WAITING]:
        if (said := run.prospect) is not None:
            table.add_row(
                name(run),
                ", ".join(run.item.kind.requires),
                f"{run.item.priority:.1f}",
                str(said.ahead),
                seconds(now - run.due),
                until(said.p50, now),
                until(said.p90, now),
                words(said.blocking.name),
            )
    why = ""
    if runs and runs[0].prospect is not None:
        why = f"#{runs[0].item.number} waits because {runs[0].prospect.detail}"
    return [_filled(table, WAITING), line("; ".join(filter(None, (_more(runs), why))))]


def queued(tape: Tape, now: float) -> list[RenderableType]:
    """Those that wait on the worker whose turn it was."""
    runs = [run for run in tape.runs.values() if run.placed is not None and run.began is None]
    table = columns({"waiting, longest first": -20, "needs": -9, "on": -8, "waited": 6})
    for run in runs[:WAITING]:
        table.add_row(name(run), ", ".join(run.item.kind.requires), run.worker_id, seconds(now - run.due))
    return [_filled(table, WAITING), line(_more(runs))]


def ended(scene: Scene) -> Table:
    """How long the last tasks waited and took, beside what was said of them."""
    last = sorted((run for run in scene.tape.runs.values() if run.ended is not None), key=lambda run: -(run.ended or 0))
    if scene.ask is None:
        table = columns({"ended lately": -20, "on": -8, "waited": 6, "took": 6})
        for run in last[:RECENT]:
            table.add_row(name(run), run.worker_id, seconds(run.wait_s), seconds(run.took_s))
    else:
        table = columns(
            {"ended lately": -20, "on": -8, "waited": 6, "P50-P90 told": 12, "took": 6, "predicted": 9, "": 5}
        )
        for run in last[:RECENT]:
            table.add_row(name(run), run.worker_id, *_wait(run), *_duration(run))
    return _filled(table, RECENT)


def _wait(run: Run) -> tuple[Text, str]:
    """How long it waited, and what it was told, from its arrival on; green by its P50, yellow by its P90."""
    waited, told, began = seconds(run.wait_s), run.told, run.began
    if told is None:
        return Text(waited), "at once"
    if began is None or told.p50 is None or told.p90 is None:
        return Text(waited), "-"
    style = "green" if began <= told.p50 else "yellow" if began <= told.p90 else "red"
    return Text(waited, style=style), f"{told.p50 - run.due:.2f}-{told.p90 - run.due:.2f} s"


def _duration(run: Run) -> tuple[str | Text, ...]:
    if run.decision is None:
        return seconds(run.took_s), "-", ""
    predicted_s = run.decision.predicted_duration_ms / 1e3
    error = predicted_s / run.took_s - 1 if run.took_s else 0.0
    style = "green" if abs(error) <= 0.25 else "yellow" if abs(error) <= 1 else "red"
    return seconds(run.took_s), seconds(predicted_s), Text(f"{error:+.0%}", style=style)


def _more(runs: Sequence[Run]) -> str:
    more = len(runs) - WAITING
    return f"and {more} more" if more > 0 else ""


def _filled(table: Table, rows: int) -> Table:
    """With empty rows up to so many."""
    while table.row_count < rows:
        table.add_row("")
    return table
