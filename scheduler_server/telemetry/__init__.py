"""What is measured and told?

Structured logs, and metrics; traces later.

Logging is the standard library's: every part says `logging.getLogger(__name__)` and knows nothing of this
folder. `configure` puts one bounded queue and one thread behind the root logger, so that a slow terminal or a
full pipe costs log records (counted and reported), never a decision.

Metrics are read, not recorded: `instruments` is the table of them, `readings` says where in the core each one stands,
`meter` makes OpenTelemetry instruments of the table, `exposition` the text that `scrape` serves to Prometheus. A metric
record costs 5 us, a third of a decision; an observable instrument costs nothing until somebody asks.

May import: the core (`assignment` and below) to look at it, never to change it; opentelemetry and prometheus_client.
"""

from scheduler_server.telemetry.line_format import JsonLines, TextLines
from scheduler_server.telemetry.logs import Logs, configure
from scheduler_server.telemetry.repeats import Every, every

__all__ = ["Every", "JsonLines", "Logs", "TextLines", "configure", "every"]
