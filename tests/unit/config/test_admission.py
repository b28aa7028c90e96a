"""Settings of ejections and ramps: what is out of range is refused by name, value and limit."""

import pytest

from scheduler_server.config import ConfigError, load
from scheduler_server.settings import Settings


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("ejection.max_share", "1.1", "1"),
        ("ejection.certainty", "999", "1000"),
        ("ejection.tolerated", "0", "0.001"),
        ("ejection.growth", "0.9", "1"),
        ("ejection.trial_tasks", "0", "1"),
        ("ejection.longest_s", "29", "first_s (30)"),
        ("ramp.first_share", "-0.1", "0"),
        ("ramp.tasks", "0", "1"),
        ("ramp.over_s", "86401", "86400"),
        ("health.slow_below", "1.1", "1"),
    ],
)
def test_settings_out_of_range_are_refused_by_name_value_and_limit(name: str, value: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(Settings, [f"--{name.replace('.', '-').replace('_', '-')}={value}"], {})
    assert name in str(caught.value)
    assert said in str(caught.value)
