"""Where a collector is, and how its failures are told."""

import logging

import pytest

from scheduler_server.config import ConfigError, load, render_config
from scheduler_server.settings import Settings
from scheduler_server.telemetry.otlp import (
    Reports,
    endpoint_fault,
    exporter_arguments,
    headers_of,
    quiet_exporter,
    release_exporter,
)


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:4317", "https://collector", "http://[::1]:4317/", "HTTP://collector.monitoring:1"]
)
def test_a_url_with_host_and_port_is_an_endpoint(endpoint: str) -> None:
    assert endpoint_fault(endpoint) is None


@pytest.mark.parametrize(
    ("endpoint", "says"),
    [
        ("collector:4317", "is not a URL"),
        ("127.0.0.1:4317", "is not a URL"),
        ("grpc://collector:4317", "is not a URL"),
        ("http://", "is not a URL"),
        ("http://collector:0", "is not a URL"),
        ("http://collector:65536", "is not a URL"),
        ("http://[::1:4317", "is not a URL"),
        ("http://collector:4318/v1/metrics", "has a path"),
        ("http://me:secret@collector", "has a user name"),
    ],
)
def test_anything_else_is_refused_with_the_reason(endpoint: str, says: str) -> None:
    fault = endpoint_fault(endpoint)
    assert fault is not None
    assert says in fault
    assert "secret" not in fault


def test_an_endpoint_without_a_port_is_the_convention() -> None:
    assert exporter_arguments("http://[::1]", "", "", 1.0)["endpoint"] == "[::1]:4317"
    assert exporter_arguments("https://far:1", "", "", 1.0)["insecure"] is False


def test_headers_are_names_and_decoded_values() -> None:
    assert headers_of("") == ()
    assert headers_of(" Authorization = Bearer%20a%3Db , x-tenant=t,") == (
        ("authorization", "Bearer a=b"),
        ("x-tenant", "t"),
    )


@pytest.mark.parametrize("text", ["hunter2", "=hunter2", "na me=hunter2", "a=ok,b=hunter2%0A", "a=%C3%A9hunter2"])
def test_headers_that_cannot_be_are_told_without_their_values(text: str) -> None:
    with pytest.raises(ValueError, match="entry") as error:
        headers_of(text)
    assert "hunter2" not in str(error.value)


def test_a_configuration_never_shows_headers() -> None:
    loaded = load(Settings, [], {"SCHEDULER_TRACES_OTLP_HEADERS": "authorization=hunter2"})
    assert loaded.config.traces.otlp_headers == "authorization=hunter2"
    assert "hunter2" not in render_config(loaded)
    with pytest.raises(ConfigError) as error:
        load(Settings, ["--metrics-otlp-headers", "hunter2"], {})
    [fault] = error.value.faults
    assert str(fault).startswith("metrics.otlp_headers")
    assert "hunter2" not in str(fault)


# ---------------------------------------------------------------------- the variables that everybody knows


def endpoint(argv: list[str], environ: dict[str, str]) -> tuple[str, str]:
    loaded = load(Settings, argv, environ)
    return loaded.config.metrics.otlp_endpoint, str(loaded.origins["metrics.otlp_endpoint"])


def test_opentelemetrys_own_variables_count_where_nothing_of_ours_says_anything() -> None:
    general = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://general"}
    own = {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://metrics"}
    ours = {"SCHEDULER_METRICS_OTLP_ENDPOINT": "http://ours"}
    assert endpoint([], {})[0] == ""
    assert endpoint([], general) == ("http://general", "environment OTEL_EXPORTER_OTLP_ENDPOINT")
    assert endpoint([], general | own)[0] == "http://metrics"
    assert endpoint([], general | own | ours)[0] == "http://ours"
    assert endpoint(["--metrics-otlp-endpoint", "http://flag"], general | own | ours)[0] == "http://flag"
    assert endpoint([], general | {"SCHEDULER_METRICS_OTLP_ENDPOINT": ""})[0] == "", "empty keeps it off"
    assert endpoint([], {"OTEL_EXPORTER_OTLP_ENDPOINT": ""})[0] == "", "an empty one is as none"


def test_a_fault_in_such_a_variable_names_it() -> None:
    with pytest.raises(ConfigError) as error:
        load(Settings, [], {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "collector:4317"})
    [fault] = error.value.faults
    assert str(fault).startswith("traces.otlp_endpoint")
    assert "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" in str(fault)


# ---------------------------------------------------------------------- failures


def test_a_failure_is_told_once_with_the_exporters_last_words(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    exporter = logging.getLogger("opentelemetry.exporter.otlp.proto.grpc.exporter")
    reports = Reports("metrics", "http://far")
    quiet_exporter()
    try:
        for _ in range(3):
            exporter.error("StatusCode.UNAVAILABLE:\n nobody there")
            reports.failed()
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "http://far does not take metrics" in caplog.text
        assert "StatusCode.UNAVAILABLE: nobody there" in caplog.text
        reports.done()
        reports.done()
        assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    finally:
        release_exporter()
    assert not exporter.filters or all("LastWords" not in type(each).__name__ for each in exporter.filters)
