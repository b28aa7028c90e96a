"""The instruments of what is sent to a collector: telemetry that is lost has to be seen somewhere else."""

from scheduler_server.telemetry.instrument import Instrument, Kind, label

NO_PUSH = "`metrics.otlp_endpoint` is empty"
NO_TRACES = "`traces.otlp_endpoint` is empty"
SPAN_ENDS = ("exported", "dropped", "failed")
PUSH_ENDS = ("done", "failed")

ROWS = (
    Instrument(
        "scheduler.metrics.pushes",
        Kind.COUNTER,
        "{push}",
        "times that these metrics were sent to the OTLP collector, and how that went",
        (label("result", PUSH_ENDS),),
        absent=NO_PUSH,
    ),
    Instrument(
        "scheduler.traces.spans",
        Kind.COUNTER,
        "{span}",
        "spans made: exported; dropped for want of room; failed, because the collector did not take them",
        (label("result", SPAN_ENDS),),
        absent=NO_TRACES,
    ),
)
