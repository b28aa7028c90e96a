"""What is measured and told?

Structured logs now; every instrument's name, unit and meaning, and traces, later.

Logging is the standard library's: every part says `logging.getLogger(__name__)` and knows nothing of this
folder. `configure` puts one bounded queue and one thread behind the root logger, so that a slow terminal or a
full pipe costs log records (counted and reported), never a decision. May import: the standard library and
`model`.
"""

from scheduler_server.telemetry.line_format import JsonLines, TextLines
from scheduler_server.telemetry.logs import Logs, configure
from scheduler_server.telemetry.repeats import Every, every

__all__ = ["Every", "JsonLines", "Logs", "TextLines", "configure", "every"]
