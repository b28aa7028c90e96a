"""`scheduler-server health`: ask a running server whether it serves."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from scheduler_server.credentials import CredentialError, tls


def main(argv: Sequence[str]) -> int:
    """0 when the service is SERVING, 1 when it is not or cannot be asked."""
    parser = argparse.ArgumentParser(prog="scheduler-server health", description=__doc__)
    parser.add_argument("--address", default="127.0.0.1:50051", help="host:port (default %(default)s)")
    parser.add_argument("--service", default="", help="service to ask for; empty means the whole server")
    parser.add_argument("--timeout", type=float, default=3.0, help="seconds to wait (default %(default)s)")
    parser.add_argument("--ca-file", metavar="PEM", help="TLS, trusting these authorities")
    parser.add_argument("--cert-file", metavar="PEM", help="our certificate, where the server asks for one")
    parser.add_argument("--key-file", metavar="PEM", help="its key")
    parser.add_argument(
        "--tls-name", metavar="NAME", help="name in the server's certificate, where it is not the address"
    )
    given = parser.parse_args(argv)
    try:
        channel = _channel(given)
    except CredentialError as error:
        sys.stderr.write(f"scheduler-server health: {error}\n")
        return 2
    with channel:
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


def _channel(given: argparse.Namespace) -> grpc.Channel:
    if not (given.ca_file or given.cert_file or given.key_file):
        return grpc.insecure_channel(given.address)
    options = [("grpc.ssl_target_name_override", given.tls_name)] if given.tls_name else []
    return grpc.secure_channel(given.address, tls(given.ca_file, given.cert_file, given.key_file), options)
