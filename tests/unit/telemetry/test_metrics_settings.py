"""Where metrics are served is checked before anything is started."""

import pytest

from scheduler_server.config import ConfigError, load
from scheduler_server.settings import PROFILES, Settings
from scheduler_server.telemetry.settings import MetricsSettings, host_and_port


@pytest.mark.parametrize(
    ("listen", "host", "port"),
    [
        ("127.0.0.1:9464", "127.0.0.1", 9464),
        ("localhost:0", "localhost", 0),
        ("0.0.0.0:65535", "0.0.0.0", 65_535),  # noqa: S104 -- data
        ("[::1]:9464", "::1", 9464),
    ],
)
def test_an_address_has_two_parts(listen: str, host: str, port: int) -> None:
    assert host_and_port(listen) == (host, port)
    assert not list(MetricsSettings(listen=listen).faults())


@pytest.mark.parametrize(
    "listen",
    ["9464", ":9464", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:x", "127.0.0.1:९",
     "::1:9464", "[::1:9464", "::1]:9464", "[]:9464", "[[::1]]:9464", "a b:1", "http://127.0.0.1:9464"],
)  # fmt: skip
def test_what_is_no_address_is_a_fault_of_that_field(listen: str) -> None:
    [(field, message)] = MetricsSettings(listen=listen).faults()
    assert field == "listen"
    assert repr(listen) in message


def test_by_default_there_is_no_endpoint() -> None:
    assert Settings().metrics.listen == ""
    assert not list(MetricsSettings().faults())


def test_a_wrong_address_is_told_by_its_full_name() -> None:
    with pytest.raises(ConfigError) as told:
        load(Settings, ["--metrics-listen", "9464"], {}, profiles=PROFILES)
    assert any("metrics.listen" in str(fault) for fault in told.value.faults)


def test_an_address_may_come_from_the_environment() -> None:
    loaded = load(Settings, [], {"SCHEDULER_METRICS_LISTEN": "127.0.0.1:9464"}, profiles=PROFILES)
    assert loaded.config.metrics.listen == "127.0.0.1:9464"
