"""Candidates as rows, and options that describe a task: shared by `explain` and `workers --ranked`."""

import argparse
from typing import Any

from scheduler_api.v1 import decision_pb2
from scheduler_server.schedctl import figures, options
from scheduler_server.schedctl.figures import span
from scheduler_server.schedctl.table import Column


def add_task(parser: argparse.ArgumentParser, about: str = "a task to try, which need not exist") -> None:
    """Options that say what a task is like."""
    group = parser.add_argument_group(about)
    group.add_argument("--task-type", default="", metavar="TYPE", help="its type")
    group.add_argument("--category", default="", metavar="NAME", help="its category")
    group.add_argument("--priority", type=_share, metavar="0-1", help="its priority (default 0.5)")
    group.add_argument(
        "--requires", action="append", default=[], metavar="NAME", help="a capability that it requires; again: all"
    )
    group.add_argument(
        "--match-label", action="append", default=[], type=options.label, metavar="KEY=VALUE", help="a label to match"
    )
    group.add_argument(
        "--exclude", action="append", default=[], dest="worker", metavar="WORKER", help="not on this one"
    )
    group.add_argument("--user", default="", metavar="NAME", help="who asks for it")
    group.add_argument(
        "--feature",
        action="append",
        default=[],
        type=_number,
        metavar="KEY=NUMBER",
        help="a number that tells its size",
    )
    group.add_argument(
        "--task-json", default="", metavar="FILE", help="all of it, as JSON of the contract's Task; - is standard input"
    )


def add_tried(parser: argparse.ArgumentParser) -> None:
    """Options that say how to choose."""
    group = parser.add_argument_group("how to choose")
    group.add_argument("--scorer", default="", metavar="NAME", help="by this scorer (default the one in force)")
    group.add_argument("--stream", action="store_true", help="for a task handed over on the worker's stream")
    group.add_argument("--rejected", action="store_true", help="list the workers that are no candidates, too")


def columns() -> list[Column[Any]]:
    """The table of candidates. Rows are pairs of place and Candidate."""
    return [
        Column(title="#", cell=lambda row: str(row[0]) if not row[1].rejection else figures.ABSENT, right=True),
        Column(title="WORKER", cell=lambda row: row[1].worker_id, cuts=True),
        Column(title="SCORE", cell=lambda row: figures.number_in(row[1], "score", ".3f"), right=True),
        Column(title="FREE", cell=lambda row: str(row[1].free_slots), right=True),
        Column(title="LOAD", cell=lambda row: f"{row[1].load:.2f}", right=True, spare=1),
        Column(title="SPEED", cell=lambda row: f"{row[1].speed:.2f}", right=True, spare=3),
        Column(title="WAIT", cell=lambda row: span(row[1].predicted_wait_ms / 1_000), right=True, spare=4),
        Column(title="TAKES", cell=lambda row: span(row[1].predicted_duration_ms / 1_000), right=True, spare=2),
        Column(title="KEPT OUT", cell=_kept_out, spare=1),
        Column(title="TERMS", cell=_terms, cuts=True, spare=5),
        Column(title="WEIGHED", cell=_weighed, wide=True),
    ]


def rows(candidates: Any) -> list[tuple[int, Any]]:
    """Candidates with their places, from 1."""
    return list(enumerate(candidates, 1))


def counts(rejections: Any) -> str:
    """Workers by what kept them out, in a line."""
    return ", ".join(f"{each.count:,} {figures.word(decision_pb2.RejectionReason, each.reason)}" for each in rejections)


def _kept_out(row: tuple[int, Any]) -> tuple[str, str]:
    reason = row[1].rejection
    return (figures.word(decision_pb2.RejectionReason, reason), "warn") if reason else (figures.ABSENT, "")


def _terms(row: tuple[int, Any]) -> str:
    """Without their weights, which are those of every row: what differs is to be seen."""
    return ", ".join(f"{each.name} {each.value:.3f}" for each in row[1].terms) or figures.ABSENT


def _weighed(row: tuple[int, Any]) -> str:
    return " + ".join(f"{each.weight:g} x {each.name} {each.value:.3f}" for each in row[1].terms) or figures.ABSENT


def _share(said: str) -> float:
    try:
        value = float(said)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 1, not {said!r}")
    return value


def _number(said: str) -> tuple[str, float]:
    key, value = options.label(said)
    try:
        return key, float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be KEY=NUMBER, not {said!r}") from None
