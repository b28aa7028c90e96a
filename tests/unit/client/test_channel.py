"""What the channel promises, as published."""

import json

import pytest

from scheduler_api.v1 import schedule_service_pb2
from scheduler_server.client import DEADLINES_S, SERVICE_CONFIG, service_config
from scheduler_server.client.channel import channel_options, metadata_source

SERVICE = schedule_service_pb2.DESCRIPTOR.services_by_name["ScheduleService"]


def test_the_published_policy_is_the_one_in_use() -> None:
    assert json.loads(service_config()) == SERVICE_CONFIG
    assert dict(channel_options())["grpc.service_config"] == service_config()


def test_each_idempotent_method_is_retried_and_no_stream_is() -> None:
    (policy,) = SERVICE_CONFIG["methodConfig"]
    named = {(entry["service"], entry["method"]) for entry in policy["name"]}
    unary = {m.name for m in SERVICE.methods if not (m.client_streaming or m.server_streaming)}
    assert named == {(SERVICE.full_name, method) for method in unary}
    assert set(DEADLINES_S) == unary


def test_the_policy_retries_only_what_passes_by_itself() -> None:
    (policy,) = SERVICE_CONFIG["methodConfig"]
    assert policy["retryPolicy"] == {
        "maxAttempts": 4,
        "initialBackoff": "0.05s",
        "maxBackoff": "1s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
    }
    assert SERVICE_CONFIG["retryThrottling"] == {"maxTokens": 100, "tokenRatio": 0.1}


def test_waiting_for_a_connection_is_for_every_method_and_keeps_the_retries() -> None:
    config = json.loads(service_config(wait_for_ready=True))
    methods, rest = config["methodConfig"]
    assert methods == SERVICE_CONFIG["methodConfig"][0] | {"waitForReady": True}
    assert rest == {"name": [{}], "waitForReady": True}
    assert dict(channel_options(wait_for_ready=True))["grpc.service_config"] == json.dumps(config)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.ping_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 5_000),
    ],
)
def test_a_dead_connection_is_noticed_and_a_server_that_is_back_is_found_soon(option: str, value: int) -> None:
    assert dict(channel_options())[option] == value


def test_options_of_the_caller_add_and_override_once_each() -> None:
    options = channel_options(extra=[("grpc.keepalive_time_ms", 5), ("grpc.primary_user_agent", "me")])
    assert ("grpc.keepalive_time_ms", 5) in options
    assert ("grpc.primary_user_agent", "me") in options
    assert len(dict(options)) == len(options)


def test_a_token_comes_after_the_callers_metadata() -> None:
    assert metadata_source("abc", [("x", "1")])() == (("x", "1"), ("authorization", "Bearer abc"))
    assert metadata_source(None, [("x", "1")])() == (("x", "1"),)
