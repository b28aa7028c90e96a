"""The decision log that the settings name. Nothing is connected here: the writer does that, and tries again."""

from pathlib import Path

from scheduler_server.history.settings import HistorySettings
from scheduler_server.storage.decision_log import DecisionLog, SqliteLog
from scheduler_server.storage.decision_log.clickhouse_url import parse

FILE = "decisions.sqlite"

OFF = "history.enabled is false"
NOWHERE = "history.url and storage.state_folder are empty"


def open_log(settings: HistorySettings, folder: Path | None) -> DecisionLog | None:
    """The log, or None where none is to be kept."""
    if not settings.enabled or (not settings.url and folder is None):
        return None
    if not settings.url and folder is not None:
        return SqliteLog(folder / FILE, retention=settings.retention, timeout_s=settings.timeout_s)
    from scheduler_server.storage.decision_log.clickhouse_log import ClickHouseLog  # noqa: PLC0415 -- a driver that most servers never need

    return ClickHouseLog(parse(settings.url), retention=settings.retention, timeout_s=settings.timeout_s)


def why_none(settings: HistorySettings) -> str:
    """Why there is none."""
    return NOWHERE if settings.enabled else OFF
