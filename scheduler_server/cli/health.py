"""`scheduler-server health`: ask a running server whether it serves."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc


def main(argv: Sequence[str]) -> int:
    """0 when the service is SERVING, 1 when it is not or cannot be asked."""
    parser = argparse.ArgumentParser(prog="scheduler-server health", description=__doc__)
    parser.add_argument("--address", default="127.0.0.1:50051", help="host:port (default %(default)s)")
    parser.add_argument("--service", default="", help="service to ask for; empty means the whole server")
    parser.add_argument("--timeout", type=float, default=3.0, help="seconds to wait (default %(default)s)")
    given = parser.parse_args(argv)
    with grpc.insecure_channel(given.address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            response = stub.Check(health_pb2.HealthCheckRequest(service=given.service), timeout=given.timeout)
        except grpc.RpcError as error:
            code = getattr(error, "code", lambda: grpc.StatusCode.UNKNOWN)().name
            sys.stderr.write(f"scheduler-server health: {given.address}: {code}\n")
            return 1
    name = health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)
    sys.stdout.write(f"{name}\n")
    return 0 if response.status == health_pb2.HealthCheckResponse.SERVING else 1
