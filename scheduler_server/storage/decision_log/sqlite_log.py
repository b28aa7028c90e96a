"""The embedded decision log: one SQLite file."""

import os
from pathlib import Path

import msgspec

from scheduler_server.storage.decision_log.port import Retention, Size
from scheduler_server.storage.decision_log.questions import Questions
from scheduler_server.storage.decision_log.rows import Batch
from scheduler_server.storage.decision_log.sqlite_reading import SqliteReading
from scheduler_server.storage.decision_log.sqlite_writing import SqliteWriting

_RECIPE = msgspec.msgpack.Encoder()
_READ = msgspec.msgpack.Decoder(tuple[bytes, Retention, float])


class SqliteLog(Questions):
    """A `DecisionLog` in one file, WAL. A damaged file is set aside as `<name>.damaged`, and a new one begun."""

    backend = "sqlite"

    def __init__(
        self,
        path: Path,
        *,
        retention: Retention = Retention(),  # noqa: B008 -- a value
        timeout_s: float = 10.0,
        alone: bool = False,
    ) -> None:
        """Nothing is opened yet. `timeout_s` bounds a question.

        `alone`: no event loop waits for the interpreter while this writes.
        """
        self._made_from = (os.fsencode(path), retention, timeout_s)  # a name may be of bytes that are no text
        self.location = str(path)
        self._writing = SqliteWriting(path, retention, alone=alone)
        self._reading = SqliteReading(path, timeout_s)
        super().__init__(self._reading)

    def recipe(self) -> bytes:
        """See Portable."""
        return _RECIPE.encode(self._made_from)

    @classmethod
    def of_recipe(cls, recipe: bytes) -> "SqliteLog":
        """What the recipe is of, for a process of its own."""
        path, retention, timeout_s = _READ.decode(recipe)
        return cls(Path(os.fsdecode(path)), retention=retention, timeout_s=timeout_s, alone=True)

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
