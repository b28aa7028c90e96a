"""The instruments of calls, under gRPC's own names."""

from scheduler_server.telemetry.calls import METHODS, STATUSES
from scheduler_server.telemetry.instrument import Instrument, Kind, label

_METHOD = label("grpc.method", METHODS)

ROWS = (
    Instrument(
        "grpc.server.call.started",
        Kind.COUNTER,
        "{call}",
        "calls that have begun, streams included; without those that have ended, the open ones",
        (_METHOD,),
    ),
    Instrument(
        "grpc.server.call.duration",
        Kind.HISTOGRAM,
        "s",
        "how long calls took that have ended, by status, from the first line of the method to its answer: without"
        " transport, and without what waits before it",
        (_METHOD, label("grpc.status", STATUSES)),
        absent="no call of this method has ended so",
    ),
)
