"""Where each histogram stands: kept by the core and its shell, read when somebody asks."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from scheduler_server.model.histogram import Histogram
from scheduler_server.telemetry.sources import Moment

HistogramReader: TypeAlias = Callable[[Moment], Iterable[tuple[Histogram, tuple[str, ...]]]]
"""Histograms, each with the values of the instrument's labels in the order of its row."""


def _calls(moment: Moment) -> Iterator[tuple[Histogram, tuple[str, ...]]]:
    for method in moment.sources.calls.by_method.values():
        for status, durations in tuple(method.by_status.items()):
            if any(durations.counts):
                yield durations, (method.name, status)


def _errors(moment: Moment) -> Iterator[tuple[Histogram, tuple[str, ...]]]:
    waits = moment.core.queue.waits
    yield waits.later, ("later",)
    yield waits.earlier, ("earlier",)


HISTOGRAMS: dict[str, HistogramReader] = {
    "grpc.server.call.duration": _calls,
    "scheduler.decision.duration": lambda at: ((at.core.placement.latencies, ()),),
    "scheduler.tasks.wait": lambda at: ((at.core.queue.waits.waited, ()),),
    "scheduler.expected_start.error": _errors,
}
"""By the name of the instrument; a test holds it against the table."""
