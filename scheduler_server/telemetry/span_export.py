"""From sketches to spans, and to the collector: all on the SDK's thread."""

import asyncio
from collections.abc import Sequence
from typing import Any

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, Status, StatusCode, TraceFlags, TraceState

from scheduler_server.model.trace import Trace
from scheduler_server.telemetry.meter import SCOPE
from scheduler_server.telemetry.otlp import Reports, exporter_arguments, quiet_exporter, release_exporter
from scheduler_server.telemetry.settings import TraceSettings
from scheduler_server.telemetry.tracing import Sketch

_BATCH = 128
"""Spans made and sent at once, about 10 ms of the interpreter in all; the loop has its turns in between."""

_GATHER_S = 1.0
"""How long a span waits for company."""

_CLOSE_WITHIN_S = 2.0
"""Time for the last spans; a collector that is away must not hold up the exit."""


class SpanExport(SpanExporter):
    """Makes spans and sends them.

    `taken` is how many sketches have come out of the queue: what was put in less that is what waits. Only the
    processor's thread writes here.
    """

    def __init__(self, settings: TraceSettings, about: Resource, ends: dict[str, int]) -> None:
        self._behind = OTLPSpanExporter(
            **exporter_arguments(
                settings.otlp_endpoint, settings.otlp_headers, settings.otlp_ca_file, settings.otlp_timeout_s
            )
        )
        quiet_exporter()
        self._reports = Reports("spans", settings.otlp_endpoint)
        self._about = about
        self._scope = InstrumentationScope(SCOPE)
        self._ends = ends
        self._closing = False
        self.taken = 0

    def export(self, spans: Sequence[Any]) -> SpanExportResult:
        """Send a batch; the spans of one that is not taken are counted as failed, and gone."""
        self.taken += len(spans)
        result = SpanExportResult.FAILURE
        if not self._closing or self._reports.works:  # at the end nobody waits for a collector that is away
            try:
                result = self._behind.export([self._span(sketch) for sketch in spans])
            except Exception:  # noqa: BLE001 -- whatever the exporter raises, the batch has failed
                result = SpanExportResult.FAILURE
        if result is SpanExportResult.SUCCESS:
            self._ends["exported"] += len(spans)
            self._reports.done()
        else:
            self._ends["failed"] += len(spans)
            self._reports.failed()
        return result

    async def close(self, processor: BatchSpanProcessor) -> None:
        """End the processor, and this with it."""
        self._closing = True
        await asyncio.to_thread(_shut_down, processor)
        release_exporter()

    def shutdown(self) -> None:
        """End what is under way."""
        self._behind.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is kept here."""
        return True

    def _span(self, sketch: Sketch) -> ReadableSpan:
        return ReadableSpan(
            name=sketch.name,
            context=_context(sketch.trace),
            parent=_context(sketch.parent) if sketch.parent is not None else None,
            resource=self._about,
            attributes=sketch.describe(*sketch.about),
            links=() if sketch.link is None else (Link(_context(sketch.link)),),
            kind=sketch.kind,
            status=Status(StatusCode.ERROR, sketch.error) if sketch.error else Status(StatusCode.UNSET),
            start_time=int(sketch.begin * 1e9),
            end_time=int(sketch.end * 1e9),
            instrumentation_scope=self._scope,
        )


def processor(export: SpanExport, most: int) -> BatchSpanProcessor:
    """The SDK's queue and thread before it. It looks at nothing but the context of what is put in: a sketch has one."""
    return BatchSpanProcessor(
        export,
        max_queue_size=most,
        schedule_delay_millis=_GATHER_S * 1_000,
        max_export_batch_size=min(_BATCH, most),
    )


def _shut_down(ending: BatchSpanProcessor) -> None:
    ending._batch_processor.shutdown(int(_CLOSE_WITHIN_S * 1_000))


def _context(trace: Trace) -> SpanContext:
    state = TraceState.from_header([trace.state]) if trace.state else None
    trace_id, span_id = int(trace.parent[3:35], 16), int(trace.parent[36:52], 16)
    flags = TraceFlags(int(trace.parent[53:55], 16))
    return SpanContext(trace_id, span_id, is_remote=False, trace_flags=flags, trace_state=state)
