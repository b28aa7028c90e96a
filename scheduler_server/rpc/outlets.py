"""Where metrics and spans go: the scrape's port, and collectors. All of it off unless it is set."""

import logging
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from scheduler_server.model.clock import Now
from scheduler_server.rpc.entry import Entries
from scheduler_server.rpc.schedule import ScheduleCalls
from scheduler_server.rpc.shell import Shell
from scheduler_server.rpc.streams import WorkerStreams
from scheduler_server.telemetry.exposition import PrometheusText
from scheduler_server.telemetry.meter import resource
from scheduler_server.telemetry.scrape import MetricsServer
from scheduler_server.telemetry.settings import MetricsSettings, TraceSettings, host_and_port
from scheduler_server.telemetry.sources import Sources

if TYPE_CHECKING:
    from scheduler_server.telemetry.push import MetricsPush
    from scheduler_server.telemetry.tracing import Tracing

_LOG = logging.getLogger(__name__)


class OutletError(Exception):
    """One that is set cannot be opened; one line that says which setting, and why."""


class Outlets:
    """In this order: `begin`, what is made with spans in mind (`calls`, `entries`, `streams`), `open`, `close`.

    The exporters are imported where they are used: a tenth of a second, and 10 MB.
    """

    def __init__(
        self, metrics: MetricsSettings, traces: TraceSettings, incarnation: str, now: Callable[[], Now]
    ) -> None:
        self._metrics_settings = metrics
        self._traces_settings = traces
        self._about = resource(version=_version(), incarnation=incarnation)
        self._now = now
        self._scraped: MetricsServer | None = None
        self._push: MetricsPush | None = None
        self.tracing: Tracing | None = None
        self.url = ""

    # ------------------------------------------------------------------ spans

    def begin(self) -> None:
        """Begin to send spans. Raises OutletError."""
        settings = self._traces_settings
        if not settings.otlp_endpoint:
            return
        from scheduler_server.telemetry.tracing import Tracing  # noqa: PLC0415 -- see the class

        tracing = Tracing(settings, self._about)
        try:
            tracing.open()
        except OSError as error:
            raise OutletError(f"traces.otlp_ca_file: cannot read {settings.otlp_ca_file}: {error.strerror}") from None
        self.tracing = tracing
        _LOG.info("spans go to %s", settings.otlp_endpoint)

    def calls(self, shell: Shell) -> ScheduleCalls:
        """The calls of queue services, with spans where these go somewhere."""
        if self.tracing is None:
            return ScheduleCalls(shell)
        from scheduler_server.rpc.traced import TracedCalls  # noqa: PLC0415 -- see the class
        from scheduler_server.telemetry.task_spans import TaskSpans  # noqa: PLC0415 -- see the class

        shell.changes.append(TaskSpans(self.tracing, self._now))
        return TracedCalls(shell, self.tracing)

    def entries(self) -> Entries:
        """The reader of task streams, likewise."""
        if self.tracing is None:
            return Entries()
        from scheduler_server.rpc.traced import Entered  # noqa: PLC0415 -- see the class
        from scheduler_server.telemetry.task_spans import handed_over  # noqa: PLC0415 -- see the class

        return Entries(Entered(self.tracing, self._now), handed_over)

    def streams(self, shell: Shell) -> WorkerStreams:
        """The streams of workers, likewise."""
        streams = WorkerStreams(shell)
        if self.tracing is not None:
            from scheduler_server.rpc.traced import heartbeat  # noqa: PLC0415 -- see the class
            from scheduler_server.telemetry.task_spans import handed_over  # noqa: PLC0415 -- see the class

            streams.span_of, streams.decode = handed_over, heartbeat
        return streams

    # ------------------------------------------------------------------ metrics

    async def open(self, sources: Sources) -> None:
        """Serve and push metrics of these sources, and of what is pushed. Raises OutletError."""
        settings = self._metrics_settings
        sources = replace(
            sources,
            pushes=lambda: None if self._push is None else self._push.ends,
            spans=lambda: None if self.tracing is None else self.tracing.ends,
        )
        if settings.otlp_endpoint:
            self._begin_push(settings, sources)
        if not settings.listen:
            return
        self._scraped = MetricsServer(PrometheusText(sources, self._about).text)
        try:
            await self._scraped.open(*host_and_port(settings.listen))
        except ValueError as error:
            raise OutletError(f"metrics.listen: {error}") from None
        except OSError:
            why = "the port is taken, or the address is not ours"
            raise OutletError(f"metrics.listen: cannot listen on {settings.listen}: {why}") from None
        self.url = self._scraped.url
        _LOG.info("metrics on %s", self.url)

    def _begin_push(self, settings: MetricsSettings, sources: Sources) -> None:
        from scheduler_server.telemetry.push import MetricsPush  # noqa: PLC0415 -- see the class

        push = MetricsPush(settings, sources, self._about)
        try:
            push.open()
        except OSError as error:
            raise OutletError(f"metrics.otlp_ca_file: cannot read {settings.otlp_ca_file}: {error.strerror}") from None
        self._push = push
        _LOG.info("metrics go to %s every %g s", settings.otlp_endpoint, settings.otlp_interval_s)

    def reconfigure(self, settings: MetricsSettings) -> None:
        """Push as often as these say; where to is the same in them."""
        self._metrics_settings = settings
        if self._push is not None:
            self._push.reconfigure(settings)

    async def close(self) -> None:
        """Send what there is, unless nobody takes it, and end."""
        if self._scraped is not None:
            await self._scraped.close()
        if self.tracing is not None:
            await self.tracing.close()
        if self._push is not None:
            await self._push.close()


def _version() -> str:
    try:
        return version("scheduler-server")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "0"
