"""`schedctl health`: does it serve? What probes ask, by grpc.health.v1."""

import argparse
from typing import Any

from scheduler_server.schedctl.work import Command, Work


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "service", nargs="?", default="", metavar="SERVICE", help="one of its services (default: the whole server)"
    )


def _run(work: Work) -> int:
    import grpc  # noqa: PLC0415 -- half the start-up
    from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: PLC0415 -- the same

    from scheduler_server.client import error_from_call  # noqa: PLC0415 -- the same

    connection = work.connection
    stub: Any = health_pb2_grpc.HealthStub(connection.client.channel)
    request = health_pb2.HealthCheckRequest(service=work.given.service)
    try:
        response = stub.Check(request, timeout=work.place.timeout_s, metadata=connection.client.metadata())
    except grpc.RpcError as error:
        raise error_from_call(error) from error
    said = health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)
    serving = response.status == health_pb2.HealthCheckResponse.SERVING
    if work.json:
        work.paper.json({"status": said})
    else:
        work.paper.line((said.lower().replace("_", " "), "good" if serving else "bad"))
    return 0 if serving else 1


COMMAND = Command(options=_options, run=_run)
