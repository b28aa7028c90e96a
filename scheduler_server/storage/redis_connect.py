"""A client for an address: one attempt each, every wait bounded. What comes of a failure is decided elsewhere."""

from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import RedisClusterException, RedisError
from redis.retry import Retry
from redis.sentinel import Sentinel

from scheduler_server.storage.redis_url import Kind, RedisAddress

FAILURES = (RedisError, RedisClusterException, OSError)
"""What any use of a client may raise. redis-py's errors of a cluster are no RedisError."""

_SENTINEL_TIMEOUT_S = 1.0
"""For each Sentinel: they stand near, and the next is asked when one does not answer."""

Client = Any
"""`redis.Redis` or `redis.cluster.RedisCluster`: their stubs disagree about what one command answers."""


def connect(address: RedisAddress, timeout_s: float) -> Client:
    """A client whose connections, and each answer on them, take at most `timeout_s`. Blocks for Sentinel and Cluster.

    redis-py's own retries are off: they would multiply every wait, and a snapshot is tried again as a whole.

    Raises one of FAILURES, as every use of the client does.
    """
    options: dict[str, Any] = {
        "username": address.username or None,
        "password": address.password or None,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "health_check_interval": 0,
        "retry": Retry(NoBackoff(), 0),
    }
    if address.tls:
        options |= {"ssl": True, **{name: _tls_value(name, value) for name, value in address.tls_options}}
    if address.kind is Kind.SOCKET:
        return redis.Redis(unix_socket_path=address.path, db=address.db, **options)
    if address.kind is Kind.CLUSTER:
        nodes = [ClusterNode(host, port) for host, port in address.hosts]  # type: ignore[no-untyped-call] # redis-py's
        return RedisCluster(startup_nodes=nodes, **options)
    if address.kind is Kind.SENTINEL:
        timeout = min(timeout_s, _SENTINEL_TIMEOUT_S)
        own = options | {
            "username": address.sentinel_username or None,
            "password": address.sentinel_password or None,
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
        }
        sentinel = Sentinel(list(address.hosts), sentinel_kwargs=own, **options)  # type: ignore[no-untyped-call] # redis-py's
        return sentinel.master_for(address.service, db=address.db)  # type: ignore[no-untyped-call] # redis-py's
    ((host, port),) = address.hosts
    # One connection, kept: taking it out of a pool for each command costs as much as the command.
    return redis.Redis(host=host, port=port, db=address.db, single_connection_client=True, **options)


def _tls_value(name: str, value: str) -> object:
    return value == "true" if name == "ssl_check_hostname" else value
