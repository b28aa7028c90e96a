"""What ClickHouse says, in the words of the log."""

import pytest
from clickhouse_driver import errors

from scheduler_server.storage.decision_log import LogFault
from scheduler_server.storage.decision_log.clickhouse_client import Connection
from scheduler_server.storage.decision_log.clickhouse_url import parse

_STACK = " Stack trace:\n\n0. DB::Exception::Exception() @ 0x1"


@pytest.mark.parametrize(
    ("error", "fault", "said"),
    [
        (errors.ServerException("DB::Exception: Cannot reserve 1.00 MiB, not enough space", 243), "DISK_FULL", "243"),
        (
            # The disk filled up while a part was being written, not before.
            errors.ServerException("Cannot write to file: errno: 28, strerror: No space left on device" + _STACK, 75),
            "DISK_FULL",
            "has no room left: Cannot write to file",
        ),
        (errors.ServerException("DB::Exception: ann: Not enough privileges" + _STACK, 497), "REFUSED", "refused: ann"),
        (errors.ServerException("Timeout exceeded", 159), "TOO_SLOW", "Timeout"),
        (errors.NetworkError("gone"), "UNREACHABLE", "cannot be reached"),
        (EOFError(), "UNREACHABLE", "the connection was closed"),
        (TimeoutError(), "TOO_SLOW", "did not answer in time"),
        (errors.TypeMismatchError("no"), "UNSUITABLE_ROW", "cannot take a value"),
        (RuntimeError("odd"), "IO", "failed: RuntimeError: odd"),
    ],
)
def test_each_has_its_word_and_a_line_without_a_stack_or_a_secret(error: Exception, fault: str, said: str) -> None:
    told = Connection(parse("clickhouse://ann:s3cret@h:1/x"), timeout_s=1, connect_timeout_s=1)._error(error)
    assert told.reason is LogFault[fault]
    assert said in str(told)
    assert "\n" not in str(told)
    assert "Stack" not in str(told)
    assert "s3cret" not in str(told)
