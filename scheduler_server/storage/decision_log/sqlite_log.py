"""The embedded decision log: one SQLite file."""

from pathlib import Path

from scheduler_server.storage.decision_log.port import Retention, Size
from scheduler_server.storage.decision_log.questions import Questions
from scheduler_server.storage.decision_log.rows import Batch
from scheduler_server.storage.decision_log.sqlite_reading import SqliteReading
from scheduler_server.storage.decision_log.sqlite_writing import SqliteWriting


class SqliteLog(Questions):
    """A `DecisionLog` in one file, WAL. A damaged file is set aside as `<name>.damaged`, and a new one begun."""

    backend = "sqlite"

    def __init__(self, path: Path, *, retention: Retention = Retention(), timeout_s: float = 10.0) -> None:  # noqa: B008 -- a value
        """Nothing is opened yet. `timeout_s` bounds a question."""
        self.location = str(path)
        self._writing = SqliteWriting(path, retention)
        self._reading = SqliteReading(path, lambda: self._writing.edition, timeout_s)
        super().__init__(self._reading)

    def prepare(self) -> list[str]:
        """See DecisionLog."""
        return self._writing.prepare()

    def write(self, batch: Batch) -> list[str]:
        """See DecisionLog."""
        return self._writing.write(batch)

    def tidy(self, now: float) -> bool:
        """See DecisionLog."""
        return self._writing.tidy(now)

    def close(self) -> None:
        """See DecisionLog."""
        self._writing.close()

    def size(self) -> Size:
        """See DecisionLog."""
        return Size(int(self._reading.ask("SELECT count(*) FROM decisions")[0][0]), self._reading.size_bytes())

    def close_reading(self) -> None:
        """See DecisionLog."""
        self._reading.close()
