"""An OTLP collector that keeps what it is sent: the real contract over a real port, for real servers."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    """What came so far. Any thread may read; `refuse` makes it answer with that status from now on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spans: list[tuple[str, Span]] = []  # with the service's name
        self._metrics: dict[str, Metric] = {}  # of the newest push
        self.pushes = 0
        self.metadata: list[dict[str, str]] = []
        self.resource: dict[str, str] = {}
        self.refuse: grpc.StatusCode | None = None
        self.url = ""

    def spans(self) -> list[tuple[str, Span]]:
        """All spans, each with the name of the service that made it."""
        with self._lock:
            return list(self._spans)

    def metrics(self) -> dict[str, Metric]:
        """The newest push, by name."""
        with self._lock:
            return dict(self._metrics)

    def _met(self, context: grpc.ServicerContext) -> None:
        self.metadata.append({name: str(value) for name, value in context.invocation_metadata()})
        if self.refuse is not None:
            context.abort(self.refuse, "told to")

    def took_spans(self, request: trace_service_pb2.ExportTraceServiceRequest, context: Any) -> Any:
        """One batch."""
        self._met(context)
        with self._lock:
            for of_resource in request.resource_spans:
                name = attributes(of_resource.resource).get("service.name", "")
                for of_scope in of_resource.scope_spans:
                    self._spans += [(name, span) for span in of_scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()

    def took_metrics(self, request: metrics_service_pb2.ExportMetricsServiceRequest, context: Any) -> Any:
        """One push."""
        self._met(context)
        with self._lock:
            self.pushes += 1
            for of_resource in request.resource_metrics:
                self.resource = attributes(of_resource.resource)
                for of_scope in of_resource.scope_metrics:
                    self._metrics = {metric.name: metric for metric in of_scope.metrics}
        return metrics_service_pb2.ExportMetricsServiceResponse()


def attributes(message: Any) -> dict[str, Any]:
    """Attributes of a span, a point or a resource as a dict."""
    return {
        each.key: getattr(each.value, each.value.WhichOneof("value") or "string_value") for each in message.attributes
    }


@contextmanager
def collecting(credentials: grpc.ServerCredentials | None = None, port: int = 0) -> Iterator[Collector]:
    """A collector that listens on `url`, over TLS with credentials."""
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])

    class Traces(trace_service_pb2_grpc.TraceServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:
            return collector.took_spans(request, context)

    class Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:
            return collector.took_metrics(request, context)

    add_traces: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server  # neither has types
    add_metrics: Any = metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server
    add_traces(Traces(), server)
    add_metrics(Metrics(), server)
    address = f"127.0.0.1:{port}"
    bound = server.add_insecure_port(address) if credentials is None else server.add_secure_port(address, credentials)
    collector.url = (
        f"http{'s' if credentials is not None else ''}://{'localhost' if credentials else '127.0.0.1'}:{bound}"
    )
    server.start()
    try:
        yield collector
    finally:
        server.stop(0.2).wait()
