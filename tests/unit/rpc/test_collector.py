"""When the oldest generation is collected."""

import pytest

from scheduler_server.rpc.collector import is_due

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("since_s", "quiet_s", "grown_bytes", "due"),
    [
        (300.0, 1.0, 0, True),
        (299.9, 1.0, 0, False),
        (300.0, 0.9, 0, False),
        (3_600.0, 0.0, 0, True),
        (3_599.9, 0.0, 0, False),
        (10.0, 0.0, 64 * MIB, True),
        (10.0, 0.0, 64 * MIB - 1, False),
        (10.0, 0.0, -64 * MIB, False),
    ],
)
def test_in_quiet_now_and_then_in_work_once_an_hour_or_when_memory_has_grown(
    since_s: float, quiet_s: float, grown_bytes: int, due: bool
) -> None:
    assert is_due(since_s, quiet_s, grown_bytes) is due
