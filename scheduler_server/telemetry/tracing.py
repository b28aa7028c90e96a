"""Spans, made after the fact.

What happened to a task is known from its record, with its instants. So nothing is started and held open on the way:
when a part is over, a sketch of it (a name, two instants, where it hangs) goes into the bounded queue of the SDK's
batch processor, in two microseconds, and the processor's thread makes a span of it and sends it. A queue that is full
drops what comes and counts it; a collector that is away costs that thread its time, and the service nothing.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags

from scheduler_server.model.trace import Trace, trace_of
from scheduler_server.telemetry.settings import TraceSettings

if TYPE_CHECKING:
    from scheduler_server.telemetry.span_export import SpanExport

Attributes = Mapping[str, str | int | float | bool]

Describe = Callable[..., Attributes]
"""Makes the attributes of a span of what happened; called on the exporter's thread."""

_SAMPLED = SpanContext(1, 1, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))


class Sketch:
    """What a span is to be made of: where it hangs, when it was (wall seconds), and what describes it.

    `describe` is called with `about` when the span is made, so `about` must not change. `error` is empty where all went
    well.
    """

    __slots__ = ("about", "begin", "describe", "end", "error", "kind", "link", "name", "parent", "trace")

    context = _SAMPLED  # all that the SDK's processor looks at

    def __init__(
        self,
        name: str,
        kind: SpanKind,
        trace: Trace,
        parent: Trace | None,
        begin: float,
        end: float,
        describe: Describe,
        about: tuple[Any, ...],
        error: str = "",
        link: Trace | None = None,
    ) -> None:
        self.name = name
        self.kind = kind
        self.trace = trace
        self.parent = parent
        self.begin = begin
        self.end = max(begin, end)
        self.describe = describe
        self.about = about
        self.error = error
        self.link = link


class Tracing:
    """Begins traces, names spans, and hands sketches on from `open` to `close`. For the loop's thread.

    `ends` counts spans by what became of them.
    """

    def __init__(self, settings: TraceSettings, about: Resource) -> None:
        self._settings = settings
        self._about = about
        self._ratio = settings.sample_ratio
        self._most = settings.max_queued
        self._random = random.Random()  # noqa: S311 -- ids have to differ, not to be secret
        self._export: SpanExport | None = None
        self._processor: Any = None
        self._offered = 0
        self.ends = {"exported": 0, "dropped": 0, "failed": 0}

    def reconfigure(self, sample_ratio: float) -> None:
        """Trace this share from the next task on."""
        self._ratio = sample_ratio

    def open(self) -> None:
        """Begin to send. OSError where the file of authorities cannot be read."""
        from scheduler_server.telemetry.span_export import SpanExport, processor  # noqa: PLC0415 -- 0.1 s of imports

        self._export = SpanExport(self._settings, self._about, self.ends)
        self._processor = processor(self._export, self._most)

    async def close(self) -> None:
        """Send what there is, unless nobody takes it, and end."""
        if self._export is not None:
            export, self._export = self._export, None
            await export.close(self._processor)

    # ------------------------------------------------------------------ names

    def below(self, parent: Trace | None) -> Trace | None:
        """A new span below this one, or the first of a trace; None where it is not to be recorded."""
        if parent is None:
            if self._ratio < 1.0 and self._random.random() >= self._ratio:
                return None
            return Trace(f"00-{self._random.getrandbits(128) or 1:032x}-{self._span_id()}-01")
        if not parent.sampled:
            return None
        return Trace(f"{parent.parent[:36]}{self._span_id()}{parent.parent[52:]}", parent.state)

    def _span_id(self) -> str:
        return f"{self._random.getrandbits(64) or 1:016x}"

    # ------------------------------------------------------------------ spans

    def add(self, sketch: Sketch) -> None:
        """A span is over. Never waits: where there is no room it is dropped, and counted."""
        export = self._export
        if export is None or self._offered - export.taken >= self._most:
            self.ends["dropped"] += 1
            return
        self._offered += 1
        self._processor.on_end(sketch)


def caller_of(metadata: Sequence[tuple[str, Any]] | None) -> Trace | None:
    """The span that a call's metadata names in `traceparent` and `tracestate`; None where they name none."""
    parent = state = ""
    for name, value in metadata or ():
        if name == "traceparent":
            parent = value
        elif name == "tracestate":
            state = f"{state},{value}" if state else value
    return trace_of(parent, state) if parent else None
