"""The fault campaign in short: a few faults of each kind on real processes under load (make faults: all of them)."""

from collections import Counter
from pathlib import Path

import pytest

from tests.faults.campaign import carry_out
from tests.faults.plan import SHORT, draw
from tests.faults.report import table


@pytest.mark.slow
async def test_whoever_dies_nothing_accepted_is_lost_and_nothing_begins_twice_unasked(tmp_path: Path) -> None:
    result = await carry_out(tmp_path, draw(1, SHORT), 1, workers=5, rate_per_s=12.0)
    assert not result.violations, "\n".join(map(str, result.violations)) + "\n" + table(result)
    done = Counter(event["kind"] for event in result.history.named("fault"))
    assert done == {kind.value: count for kind, count in SHORT.items()}
    assert any(len(began) > 1 for began in result.history.began.values()), "no fault hit a task that ran"
    assert len(result.history.accepted) > 100  # there was load
