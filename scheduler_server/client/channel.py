"""What does the connection promise? Retries, deadlines, keepalive, sizes, and who is calling.

`service_config()` is published for every language: hand the same JSON to any gRPC client.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

import grpc

SERVICE: Final = "scheduler_api.v1.ScheduleService"

DEADLINES_S: Final = {
    "Assign": 2.0,
    "AssignBatch": 10.0,
    "ReportOutcome": 5.0,
    "GetTask": 2.0,
    "CancelTask": 2.0,
}
"""How long each call may take in all, retries included, unless it says otherwise; `wait` adds to Assign's.
Not in the service config: there it would also cut short the calls that ask for more."""
ANY_DEADLINE_S: Final = 10.0
"""The same for calls of raw stubs by `call`."""

MAX_MESSAGE_BYTES: Final = 80 * 1024 * 1024
"""A batch is 1,000 items with at most 64 KiB of payload or result each, which is 62.5 MiB, and their
descriptions."""
MAX_METADATA_BYTES: Final = 256 * 1024
"""Errors travel in trailers, and grpc's 8 KiB would replace a refusal that names 64 capabilities of 256
characters."""
KEEPALIVE_MS: Final = 60_000
"""A quiet connection is tried this often. The server allows it from 10 s up."""
KEEPALIVE_TIMEOUT_MS: Final = 10_000
"""A connection that does not answer for this long is given up."""
FIRST_RECONNECT_MS: Final = 200
"""First pause between attempts to connect; a restart of the server takes a second or two. gRPC's own is 1 s."""
LAST_RECONNECT_MS: Final = 5_000
"""Longest such pause: how late a server that was away for long is found again. gRPC's own is 2 minutes."""

SERVICE_CONFIG: Final[dict[str, Any]] = {
    "methodConfig": [
        {
            # Each is idempotent: Assign by (tenant, task_id, attempt), reports by lease, the others by
            # nature.
            "name": [{"service": SERVICE, "method": method} for method in DEADLINES_S],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.05s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                # RESOURCE_EXHAUSTED is not here: only RetryInfo knows when a slot is free (`patience`).
                # CANCELLED: what gRPC says to a call that meets a server which is just closing its connections.
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
            },
        }
    ],
    # Per server: a failure costs 1 token, a success gives 0.1 back, and below half there are no retries. So a
    # burst of 50 failures is retried, and a server that is down for long sees at most a tenth more calls.
    "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1},
}
"""The published retry policy."""


def service_config(*, wait_for_ready: bool = False) -> str:
    """The published service config as JSON.

    With `wait_for_ready` calls wait for a connection until their deadline; without, they fail as UNAVAILABLE
    after the retries.
    """
    if not wait_for_ready:
        return json.dumps(SERVICE_CONFIG)
    methods = [{**config, "waitForReady": True} for config in SERVICE_CONFIG["methodConfig"]]
    return json.dumps({**SERVICE_CONFIG, "methodConfig": [*methods, {"name": [{}], "waitForReady": True}]})


def channel_options(*, wait_for_ready: bool = False, extra: Sequence[tuple[str, Any]] = ()) -> list[tuple[str, Any]]:
    """The channel's options; `extra` adds to them and overrides."""
    options: dict[str, Any] = {
        "grpc.service_config": service_config(wait_for_ready=wait_for_ready),
        "grpc.enable_retries": 1,
        "grpc.keepalive_time_ms": KEEPALIVE_MS,
        "grpc.keepalive_timeout_ms": KEEPALIVE_TIMEOUT_MS,
        "grpc.keepalive_permit_without_calls": 1,
        "grpc.initial_reconnect_backoff_ms": FIRST_RECONNECT_MS,
        "grpc.max_reconnect_backoff_ms": LAST_RECONNECT_MS,
        # Keepalive alone noticed a black-holed connection only after a minute.
        "grpc.http2.ping_timeout_ms": KEEPALIVE_TIMEOUT_MS,
        "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
        "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
        "grpc.max_metadata_size": MAX_METADATA_BYTES,
        "grpc.absolute_max_metadata_size": MAX_METADATA_BYTES,
    }
    return list((options | dict(extra)).items())


Token = str | Callable[[], str]
"""A bearer token, or what reads it anew for each call (a file that is rotated)."""
Metadata = tuple[tuple[str, str | bytes], ...]


def metadata_source(token: Token | None, metadata: Sequence[tuple[str, str | bytes]]) -> Callable[[], Metadata]:
    """What gives each call its metadata.

    Without TLS a token can be read on the way: use it on loopback only.
    """
    fixed = tuple(metadata)
    if token is None:
        return lambda: fixed
    read = token if callable(token) else lambda: token
    return lambda: (*fixed, ("authorization", f"Bearer {read()}"))


def open_channel(
    target: str, credentials: grpc.ChannelCredentials | None, options: list[tuple[str, Any]]
) -> grpc.Channel:
    """A channel; plaintext without credentials."""
    if credentials is None:
        return grpc.insecure_channel(target, options)
    return grpc.secure_channel(target, credentials, options)


def open_aio_channel(
    target: str, credentials: grpc.ChannelCredentials | None, options: list[tuple[str, Any]]
) -> grpc.aio.Channel:
    """The same for asyncio; belongs to the running loop."""
    if credentials is None:
        return grpc.aio.insecure_channel(target, options)
    return grpc.aio.secure_channel(target, credentials, options)
