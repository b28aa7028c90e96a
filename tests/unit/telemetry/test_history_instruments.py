"""The instruments of the decision log name its tables."""

from scheduler_server.storage.decision_log import Table
from scheduler_server.telemetry.history_instruments import TABLES


def test_the_tables_are_those_of_the_log() -> None:
    assert tuple(table.value for table in Table) == TABLES
