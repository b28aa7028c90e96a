"""The connection's settings: how a dead server is noticed, and what may pass."""

from collections.abc import Callable
from typing import Final, TypeAlias

import grpc

MAX_MESSAGE_BYTES = 16 << 20  # payloads are 64 KiB by default; servers may be configured for more

# Keepalive alone noticed a black-holed stream after 60 s, with the ping timeout also set after 0.8 s.
OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.enable_retries", 0),  # a stream is resumed by its worker, not replayed by its transport
    ("grpc.use_local_subchannel_pool", 1),  # each attempt connects anew: ours is the only backoff
)


AnyCredentials: TypeAlias = grpc.ChannelCredentials | Callable[[], grpc.ChannelCredentials] | None
"""TLS, or what makes it anew for each stream (files that are rotated), or plaintext."""


def dial(
    address: str,
    credentials: AnyCredentials = None,
    call_credentials: grpc.CallCredentials | None = None,
) -> grpc.Channel:
    """A fresh channel, not connected yet. Without credentials it is plaintext. Raises CredentialError."""
    if callable(credentials):
        credentials = credentials()
    if credentials is None:
        return grpc.insecure_channel(address, options=OPTIONS)
    if call_credentials is not None:
        credentials = grpc.composite_channel_credentials(credentials, call_credentials)
    return grpc.secure_channel(address, credentials, options=OPTIONS)
