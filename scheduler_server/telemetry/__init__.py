"""What is measured and told?

Structured logs, metrics and traces.

Logging is the standard library's: every part says `logging.getLogger(__name__)` and knows nothing of this
folder. `configure` puts one bounded queue and one thread behind the root logger, so that a slow terminal or a
full pipe costs log records (counted and reported), never a decision.

Metrics are read, not recorded: `instruments` is the table of them, `readings` says where in the core each one stands,
`meter` makes OpenTelemetry instruments of the table, `exposition` the text that `scrape` serves to Prometheus. A metric
record costs 5 us, a third of a decision; an observable instrument costs nothing until somebody asks.

Histograms are the exception: the core and the calls keep them (`model.histogram`, `calls`), for 0.3 us a value, and
`histogram_readings` says where. `push` sends all of it to an OTLP collector as well.

Traces are made after the fact: `task_spans` hears what becomes of tasks, `tracing` queues sketches of spans, and
`span_export` makes and sends them on a thread of its own.

May import: the core (`assignment` and below) to look at it, never to change it; opentelemetry and prometheus_client.
"""

from scheduler_server.telemetry.line_format import JsonLines, TextLines
from scheduler_server.telemetry.logs import Logs, configure
from scheduler_server.telemetry.repeats import Every, every

__all__ = ["Every", "JsonLines", "Logs", "TextLines", "configure", "every"]
